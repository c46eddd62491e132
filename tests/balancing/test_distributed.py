from __future__ import annotations

import pytest

from jointrain.balancing import BALANCERS
from tests.balancing import _replicas as replicas
from tests.balancing._replicas import WRAPPERS, distances
from tests.processes import Processes

METHODS = sorted(BALANCERS)
REFUSED_OVER_SHARDS = {
    *("auto-lambda", "forum", "moml"),
    *("modo", "sdmgrad"),
    *("samo", "f-mtl"),
    "consmtl",
}


@pytest.fixture(scope="module")
def two():
    processes = Processes(2)
    yield processes
    processes.close()


@pytest.fixture(scope="module")
def four():
    processes = Processes(4)
    yield processes
    processes.close()


def assert_as_one_process(found, refused=frozenset()):
    for name, result in found.items():
        if name in refused:
            assert "is not exact for parameters that `fully_shard` manages" in result
            continue
        assert not isinstance(result, str), (name, result)
        away, apart = result
        assert away < 1e-5, (name, away)
        assert apart == 0, (name, apart)


IN_HALF_PRECISION = {"sharded, bf16", "sharded, bf16, sent in bf16"}
EXACT = set(WRAPPERS) - IN_HALF_PRECISION


@pytest.mark.parametrize("wrapper", sorted(EXACT - {"ddp", "sharded"}))
def test_each_kind_of_copies_equals_one_process(two, wrapper):
    for found in two.run(distances, ["equal", "famo", "upgrad", "graddrop"], wrapper):
        assert_as_one_process(found)


@pytest.mark.integration
@pytest.mark.parametrize("wrapper", sorted(EXACT))
def test_every_method_on_four_processes_equals_one(four, wrapper):
    refused = REFUSED_OVER_SHARDS if "sharded" in wrapper else set()
    for found in four.run(distances, METHODS, wrapper):
        assert_as_one_process(found, refused)


# one method of each kind; GradDrop's own draws follow the order of the shards
KINDS = ["equal", "uncertainty", "upgrad", "gradnorm", "trimmed-mean", "moco"]


@pytest.mark.parametrize(
    "wrapper, limit",
    [("sharded, offloaded", 1e-5), *((wrapper, 0.01) for wrapper in sorted(IN_HALF_PRECISION))],
)
def test_over_shards_with_policies_a_method_makes_of_plain_passes_what_it_should(
    two, wrapper, limit
):
    for found in two.run(replicas.from_plain_passes, KINDS, wrapper):
        for name, away in found.items():
            assert away < limit, name
    for found in two.run(distances, sorted(REFUSED_OVER_SHARDS), wrapper):
        assert_as_one_process(found, REFUSED_OVER_SHARDS)


@pytest.mark.parametrize("wrapper", sorted(IN_HALF_PRECISION))
def test_gathered_in_half_precision_it_is_close_to_one_process_and_its_rounding_is_known(
    two, wrapper
):
    for found in two.run(distances, [*KINDS, "graddrop", "famo"], wrapper):
        for name, (away, apart) in found.items():
            assert away < (0.1 if name == "famo" else 0.03), name
            assert apart == 0, name
    assert all(seen == [2.0**-14] for seen in two.run(replicas.rounding_seen, wrapper))


# --- steps that are not the same everywhere ------------------------------------------------------


def assert_close(found, limit=1e-5):
    for away, apart in found:
        assert away < limit
        assert apart == 0


@pytest.mark.parametrize("left_out", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", ["equal", "log", "upgrad", "trimmed-mean"])
def test_unequal_rows_and_tasks_that_a_process_lacks(two, name, wrapped, left_out):
    assert_close(two.run(replicas.step_of_unequal_rows, name, wrapped, left_out))


def test_a_process_may_have_no_task_at_all(two):
    assert_close(two.run(replicas.step_with_a_process_without_tasks))


@pytest.mark.parametrize(
    "case, words",
    [
        ("other weights", "don't hold copies of one network"),
        ("other tasks, no module", "Pass `module=`"),
        ("other tasks, guided heads", "needs the losses of the same tasks on every process"),
        ("other method", "called `backward` differently"),
        ("rows on one", "`rows` was given on some processes only"),
        ("a loss is NaN", "The loss of task 'a' is nan"),
        ("an own gradient is NaN", "The gradients of the tasks ['b'] are NaN"),
        ("an own gradient is NaN, moco", "The gradients of the tasks ['b'] are NaN"),
        ("an own gradient is NaN, of shards", "The gradients of the tasks ['b'] are NaN"),
    ],
)
def test_what_processes_cannot_do_together_is_refused_on_all(two, case, words):
    for message in two.run(replicas.message_of, case):
        assert words in message


def test_where_one_process_fails_the_others_do_not_wait(two):
    own, other = two.run(replicas.message_of, "one fails")
    assert "has no graph" in own
    assert "Rank 0 could not take the step" in other


def test_balancers_go_on_from_one_state(two):
    for found in two.run(replicas.seeds_of_their_own):
        assert found == (0, 0)


def test_batches_accumulate_over_processes(two):
    assert_close(two.run(replicas.accumulated))


@pytest.mark.parametrize(
    "wrapper, several",
    [("find_unused", False), ("find_unused", True), ("sharded", False)],
)
def test_a_loaded_balancer_knows_its_parameters_again(two, wrapper, several):
    assert_close(two.run(replicas.reloaded, wrapper, several))


@pytest.mark.parametrize("kind", ["the wrapper", "a task is lacking", "skip"])
def test_what_no_sync_holds_back_is_sent_with_the_next_batch(two, kind):
    for away, apart, sent in two.run(replicas.held_back, kind):
        assert away < 1e-6
        assert apart == 0
        assert sent == 0


@pytest.mark.parametrize("name", ["upgrad", "imtl-g", "trimmed-mean"])
def test_float16_keeps_the_digits_of_a_gradient_a_million_times_shorter(two, name):
    for away, apart in two.run(replicas.factors_in_float16, name):
        assert max(away) < (0.1 if name == "trimmed-mean" else 0.03), away
        assert apart == 0


def test_processes_agree_by_one_small_message(two):
    """Beside gradients: two digests, 32 losses, 32 numbers of rows; the wrapper sends its own."""
    agreed = [("all_gather", 576)]
    for found in two.run(replicas.messages, "equal"):
        assert found == agreed
    for found in two.run(replicas.messages, "upgrad"):
        assert found[:1] == agreed
        assert {call for call, _ in found[1:]} == {"all_reduce"}


@pytest.mark.parametrize("name", ["equal", "upgrad", "graddrop"])
def test_sparse_tables_over_processes(two, name):
    assert_close(two.run(replicas.sparse_tables, name))


@pytest.mark.parametrize("wrapped", [False, True])
def test_penalties_over_processes(two, wrapped):
    assert_close(two.run(replicas.penalised, wrapped))


# --- gradients that are sent during the pass ------------------------------------------------------


def test_sums_are_sent_in_one_order_whatever_comes_first(two):
    for off, under_way in two.run(replicas.sums_of_any_order):
        assert off == 0
        assert under_way == 0  # the first place has no gradient on one of them


@pytest.mark.parametrize("case", ["plain", "a hook", "skip"])
def test_gradients_are_sent_while_others_are_computed(two, case):
    for before, away, apart in two.run(replicas.sent_before_the_last, case):
        assert before > 5
        assert away < 1e-6
        assert apart == 0


@pytest.mark.parametrize("case", ["a task is lacked", "an operation that sends"])
def test_where_graphs_differ_or_send_by_themselves_gradients_are_sent_after_the_pass(two, case):
    for before, away, apart in two.run(replicas.sent_before_the_last, case):
        assert before == 0
        assert away < 1e-6
        assert apart == 0


@pytest.mark.parametrize(
    "function, arguments",
    [
        (replicas.distance, ("uncertainty", "plain")),
        (replicas.step_of_unequal_rows, ("log", False)),
        (replicas.sparse_tables, ("equal",)),
        (replicas.penalised, (False,)),
    ],
)
def test_parameters_sent_one_by_one_make_no_difference(two, function, arguments):
    assert_close(two.run(replicas.in_small_buckets, function, *arguments))


def test_the_trainer_refuses_several_processes(two):
    for message in two.run(replicas.trainer_message):
        assert message.startswith("Trainer trains on one process")


@pytest.mark.integration
def test_the_group_of_the_wrapper_is_that_of_the_step(four):
    assert max(four.run(replicas.two_groups)) < 1e-5


@pytest.mark.integration
@pytest.mark.parametrize("name", ["equal", "upgrad", "trimmed-mean"])
def test_unequal_rows_on_four_processes(four, name):
    assert_close(four.run(replicas.step_of_unequal_rows, name, True))
