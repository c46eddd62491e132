"""Trainer: its steps against hand-written loops, early stopping, determinism, and bad input."""

import copy
import itertools
import math
from functools import partial

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn
from torch.nn import functional

from jointrain import (
    Alternating,
    Callback,
    HardSharing,
    InvalidInputError,
    Joint,
    Mixture,
    Network,
    Separate,
    Task,
    TensorData,
    Trainer,
)
from jointrain.balancing import MoDo, balancer_from_name
from jointrain.networks import NumericEmbeddings
from jointrain.training import (
    Batch,
    MixtureLoader,
    Phase,
    Phases,
    Schedule,
    TrainingSettings,
    resolve_device,
)
from jointrain.training._losses import validation_losses
from jointrain.training._penalties import weight_matrices

NAN = math.nan
SGD = partial(torch.optim.SGD, lr=0.1)
NUMBER, KIND = Task.regression("number"), Task.multiclass("kind", 3)


def _network(dropout=0.0, dtype=torch.float64):
    trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout))
    return HardSharing(trunk, {"number": nn.Linear(8, 1), "kind": nn.Linear(8, 3)}).to(dtype)


def _data(n=32, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator, dtype=dtype)
    kind = torch.randint(0, 3, (n,), generator=generator)
    return TensorData(x, {"number": x.sum(1) + kind, "kind": kind})


def _trainer(network=None, **settings):
    settings = {"optimizer": SGD, "epochs": 1, "device": "cpu"} | settings
    return Trainer(network or _network(), [NUMBER, KIND], **settings)


def _losses(network, data):
    outputs = network(data.inputs)
    return {
        "number": functional.mse_loss(outputs["number"][:, 0], data.targets["number"]),
        "kind": functional.cross_entropy(outputs["kind"], data.targets["kind"]),
    }


def _copies(parameters):
    return [parameter.detach().clone() for parameter in parameters]


def _weights(network):
    return [p.detach().clone() for p in network.parameters()]


def _assert_same_bits(ours, theirs):
    for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(a, b)


class _KeepGradients(Callback):
    def __init__(self):
        self.gradients = []

    def on_step_end(self, trainer, step, losses):
        self.gradients.append(
            [None if p.grad is None else p.grad.clone() for p in trainer.network.parameters()]
        )


def _gradients(data, network=None, **settings):
    """Return the gradients that one full-batch step of the trainer sees."""
    seen = _KeepGradients()
    _trainer(network, steps=1, callbacks=[seen], **settings).fit(data)
    return seen.gradients[0]


# --- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, {"number": 0.3, "kind": 2.0}, {"kind": 0.5}])
def test_the_joint_gradient_is_that_of_the_weighted_sum(weights):
    network, data = _network(), _data()
    by_hand = copy.deepcopy(network)
    losses = _losses(by_hand, data)
    total = sum((weights or {}).get(name, 1.0) * loss for name, loss in losses.items())
    expected = torch.autograd.grad(total, list(by_hand.parameters()))
    for ours, theirs in zip(_gradients(data, network, weights=weights), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("l1, l2", [(0.1, 0.0), (0.0, 0.2), (0.1, 0.2)])
def test_penalties_have_the_gradient_of_the_penalised_loss(l1, l2):
    network, data = _network(), _data()
    by_hand = copy.deepcopy(network)
    matrices = [p for p in by_hand.parameters() if p.ndim > 1]
    total = sum(_losses(by_hand, data).values())
    total = total + l1 * sum(p.abs().sum() for p in matrices)
    total = total + l2 * sum(p.square().sum() for p in matrices)
    expected = torch.autograd.grad(total, list(by_hand.parameters()))
    for ours, theirs in zip(_gradients(data, network, l1=l1, l2=l2), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_a_penalty_leaves_out_what_the_step_does_not_reach():
    network = _network()
    before = _copies(network.task_parameters("kind"))
    schedule = Alternating("random", {"number": 1.0, "kind": 0.0})
    _trainer(network, schedule=schedule, l1=0.1, l2=0.1, steps=3).fit(_data())
    assert all(map(torch.equal, before, network.task_parameters("kind")))


@pytest.mark.parametrize("settings", [{}, {"gradient_clip": 0.3}])
@pytest.mark.parametrize("schedule", [Joint, partial(Alternating, "round_robin")])
def test_grouped_heads_are_penalised_as_separate_ones(schedule, settings):
    names = [f"t{i}" for i in range(16)]
    x = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
    data = TensorData(x, {name: x.sum(1) + 3 * i for i, name in enumerate(names)})

    def predicted(group_from):
        torch.manual_seed(0)
        heads = {name: nn.Linear(6, 1) for name in names}
        trainer = Trainer(
            HardSharing(nn.Linear(4, 6), heads, group_from=group_from),
            [Task.regression(name) for name in names],
            schedule=schedule(), epochs=4, batch_size=8, device="cpu", l1=0.02, l2=0.05,
            optimizer=partial(torch.optim.SGD, lr=0.005), **settings,
        )  # fmt: skip
        trainer.fit(data)
        return trainer.predict(x)

    torch.testing.assert_close(predicted(16), predicted(None))


def test_neither_biases_nor_normalisation_are_penalised_whatever_their_shape():
    norm = nn.Sequential(nn.Unflatten(1, (4, 6)), nn.LayerNorm([4, 6]), nn.Flatten())
    trunk = nn.Sequential(NumericEmbeddings(4, kind="linear", width=6), norm)
    network = HardSharing(trunk, {"number": nn.Linear(24, 1)})
    matrices = weight_matrices(network)
    names = {name for name, p in network.named_parameters() if id(p) in matrices}
    assert names == {"trunk.0.layers.linear.weight", "heads.layers.0.weight"}


def test_the_gradient_is_clipped_to_its_whole_norm():
    network, data = _network(), _data()
    free = _gradients(data, copy.deepcopy(network))
    norm = torch.cat([g.flatten() for g in free]).norm()
    clipped = _gradients(data, copy.deepcopy(network), gradient_clip=float(norm) / 4)
    for ours, theirs in zip(clipped, free, strict=True):
        torch.testing.assert_close(ours, theirs / 4, rtol=1e-5, atol=1e-9)
    untouched = _gradients(data, network, gradient_clip=float(norm) * 2)
    for ours, theirs in zip(untouched, free, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


class _Table(nn.Module):
    def __init__(self, sparse):
        super().__init__()
        self.rows = nn.Embedding(10, 4, sparse=sparse)

    def forward(self, ids):
        return self.rows(ids)


@pytest.mark.parametrize(
    "settings",
    [
        {"gradient_clip": 0.1},
        {"l2": 0.1},
        {"l1": 0.1, "gradient_clip": 0.1},
        {"non_finite": "skip", "non_finite_limit": 1},
    ],
)
def test_a_table_of_sparse_gradients_is_clipped_and_penalised_by_rows(settings):
    # every row is looked up at each step, so that a dense table is penalised alike
    ids = torch.arange(10).repeat(2)
    data = TensorData(ids, {"number": ids / 2})

    def trained(sparse):
        torch.manual_seed(0)
        network = HardSharing(_Table(sparse), {"number": nn.Linear(4, 1)})
        options = {"optimizer": SGD, "epochs": 5, "batch_size": 20, "device": "cpu"} | settings
        Trainer(network, [NUMBER], **options).fit(data)
        return network.state_dict()

    torch.testing.assert_close(trained(True), trained(False))


def test_rows_without_a_label_do_not_train_their_task():
    network, data = _network(), _data(20)
    number, kind = data.targets["number"].clone(), data.targets["kind"].clone()
    number[5:12] = NAN
    kind[10:] = -100
    by_hand = copy.deepcopy(network)
    outputs = by_hand(data.inputs)
    kept = ~number.isnan()
    total = functional.mse_loss(outputs["number"][kept, 0], number[kept])
    total = total + functional.cross_entropy(outputs["kind"][:10], kind[:10])
    expected = torch.autograd.grad(total, list(by_hand.parameters()))
    masked = TensorData(data.inputs, {"number": number, "kind": kind})
    for ours, theirs in zip(_gradients(masked, network), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 100))
def test_rows_without_any_label_change_nothing(extra, batch_size, seed):
    data = _data(15, seed)
    unlabelled = TensorData(
        torch.cat([data.inputs, torch.randn(extra, 4, dtype=torch.float64)]),
        {
            "number": torch.cat([data.targets["number"], torch.full((extra,), NAN)]),
            "kind": torch.cat([data.targets["kind"], torch.full((extra,), -100)]),
        },
    )
    for schedule in (Joint(), Alternating("round_robin")):
        torch.manual_seed(seed)
        network = _network()
        other = copy.deepcopy(network)
        settings = {"schedule": schedule, "batch_size": batch_size, "epochs": 2}
        left = _trainer(network, **settings).fit(data)
        right = _trainer(other, **settings).fit(unlabelled)
        assert left == right
        _assert_same_bits(network, other)


# --- schedules and layouts against hand-written loops --------------------------------------------


def test_joint_training_equals_a_loop_by_hand_to_the_bit():
    network, data = _network(), _data()
    by_hand = copy.deepcopy(network)
    _trainer(network, optimizer=torch.optim.AdamW, steps=20).fit(data)
    optimizer = torch.optim.AdamW(by_hand.parameters())
    for _ in range(20):
        losses = _losses(by_hand, data)
        optimizer.zero_grad()
        (losses["number"] + losses["kind"]).backward()
        optimizer.step()
    _assert_same_bits(network, by_hand)


@pytest.mark.parametrize("layout", ["one", "per_task", "per_group"])
def test_alternating_training_equals_a_loop_by_hand_to_the_bit(layout):
    network, data = _network(), _data()
    by_hand = copy.deepcopy(network)
    _trainer(
        network,
        schedule=Alternating("round_robin"),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        optimizer_layout=layout,
        steps=21,
    ).fit(data)
    trunk = list(by_hand.trunk.parameters())
    heads = [by_hand.task_parameters(name) for name in ("number", "kind")]
    adam = partial(torch.optim.Adam, lr=0.01)
    if layout == "one":
        optimizers = [[adam(by_hand.parameters())]] * 2
    elif layout == "per_task":
        optimizers = [[adam(trunk + head)] for head in heads]
    else:
        shared = adam(trunk)
        optimizers = [[shared, adam(head)] for head in heads]
    for step in range(21):
        by_hand.zero_grad()
        _losses(by_hand, data)[("number", "kind")[step % 2]].backward()
        for optimizer in optimizers[step % 2]:
            optimizer.step()
    _assert_same_bits(network, by_hand)


def test_a_task_alone_trains_like_a_network_of_its_own():
    network, data = _network(), _data()
    by_hand = copy.deepcopy(network)
    trainer = Trainer(network, [KIND], schedule=Separate(), optimizer=SGD, steps=5, device="cpu")
    trainer.fit(TensorData(data.inputs, {"kind": data.targets["kind"]}))
    optimizer = SGD(by_hand.parameters())
    for _ in range(5):
        optimizer.zero_grad()
        _losses(by_hand, data)["kind"].backward()
        optimizer.step()
    _assert_same_bits(network, by_hand)


def test_each_task_may_have_a_data_set_of_its_own():
    network, first, second = _network(), _data(20, 1), _data(30, 2)
    by_hand = copy.deepcopy(network)
    sources = {
        "kind": TensorData(second.inputs, {"kind": second.targets["kind"]}),
        "number": TensorData(first.inputs, {"number": first.targets["number"]}),
    }
    trainer = _trainer(network, steps=4)
    trainer.fit(sources, sources)
    optimizer = SGD(by_hand.parameters())
    for _ in range(4):
        optimizer.zero_grad()
        (_losses(by_hand, first)["number"] + _losses(by_hand, second)["kind"]).backward()
        optimizer.step()
    for ours, theirs in zip(network.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    results = trainer.evaluate(sources)
    assert list(results) == ["number", "kind"]
    with torch.no_grad():
        accuracy = (network(second.inputs)["kind"].argmax(1) == second.targets["kind"]).double()
    assert results["kind"]["accuracy"] == pytest.approx(accuracy.mean().item())


class _Subsets(Schedule):
    """Trains the two tasks together, then one of them, or as it is said."""

    def __init__(self, *given):
        self.given = given or [("number", "kind"), ("kind",)]

    def steps(self, labels, generator):
        return itertools.cycle(self.given)

    def steps_per_epoch(self, batches, together):
        return together


def test_a_schedule_may_name_any_subset_of_the_tasks():
    class Keep(Callback):
        def __init__(self):
            self.trained = []

        def on_step_end(self, trainer, step, losses):
            self.trained.append(tuple(losses))

    keep = Keep()
    _trainer(schedule=_Subsets(), steps=3, callbacks=[keep]).fit(_data())
    assert keep.trained == [("number", "kind"), ("kind",), ("number", "kind")]


def test_one_name_is_a_step_and_what_is_no_task_is_refused():
    data = _data()
    mixture = Mixture({"number": data.only(["number"]), "kind": data.only(["kind"])}, batch_size=8)
    trainer = _trainer(schedule=_Subsets("kind"), epochs=1)
    assert list(trainer.fit(data)[0].training) == ["kind"]
    for step, message in (
        (("numbr", "kind"), r"chose 'numbr', which is no task \(did you mean 'number'"),
        ((), "chose no task"),
    ):
        schedule = _Subsets(("kind",), step)
        with pytest.raises(InvalidInputError, match=rf"_Subsets\(\) {message}"):
            _trainer(schedule=schedule, steps=2).fit(data)
        with pytest.raises(InvalidInputError, match=message):
            list(MixtureLoader(mixture, [NUMBER, KIND], schedule=schedule))
        with pytest.raises(InvalidInputError, match=message):
            mixture.plan(2, schedule=schedule)


def test_a_head_that_is_not_trained_stays_as_it_was():
    network, data = _network(), _data()
    before = _copies(network.task_parameters("number"))
    trainer = Trainer(network, [KIND], weights={"kind": 2.0}, epochs=2, device="cpu")
    trainer.fit(data)
    assert all(map(torch.equal, before, network.task_parameters("number")))


# --- batches -------------------------------------------------------------------------------------


class _CountRows(Network):
    """Counts how often each row goes through; the output is a parameter."""

    def __init__(self, names, rows):
        super().__init__({name: nn.Linear(1, 1) for name in names})
        self.counts = {name: torch.zeros(rows, dtype=torch.long) for name in names}

    def features(self, inputs, tasks):
        for name in tasks if self.training else ():
            self.counts[name][inputs[:, 0].long()] += 1
        return dict.fromkeys(tasks, torch.zeros_like(inputs))

    def parts(self):
        return []


@given(st.integers(1, 40), st.integers(1, 20), st.data())
def test_an_epoch_shows_each_labelled_row_once(n, batch_size, draw):
    flags = st.lists(st.booleans(), min_size=n, max_size=n).filter(any)
    labelled = {name: torch.tensor(draw.draw(flags)) for name in "ab"}
    targets = {name: torch.zeros(n).masked_fill(~rows, NAN) for name, rows in labelled.items()}
    data = TensorData(torch.arange(n, dtype=torch.float32)[:, None], targets)
    tasks = [Task.regression(name) for name in "ab"]
    for schedule in (Joint(), Alternating("round_robin")):
        network = _CountRows("ab", n)
        record = Trainer(
            network, tasks, schedule=schedule, batch_size=batch_size, epochs=1, device="cpu"
        ).fit(data)
        if isinstance(schedule, Joint):
            either = labelled["a"] | labelled["b"]
            assert torch.equal(network.counts["a"], either.long())
            assert record[-1].step == math.ceil(int(either.sum()) / batch_size)
        else:
            steps = [math.ceil(int(labelled[name].sum()) / batch_size) for name in "ab"]
            assert record[-1].step == sum(steps)
            if steps[0] == steps[1]:
                assert all(torch.equal(network.counts[k], labelled[k].long()) for k in "ab")


# --- learning rate, stopping, records ------------------------------------------------------------


def test_the_learning_rate_warms_up_and_falls_along_a_cosine():
    class Rates(Callback):
        def __init__(self):
            self.rates = []

        def on_step_end(self, trainer, step, losses):
            self.rates.append(trainer.optimizers.all[0].param_groups[0]["lr"])

    rates = Rates()
    _trainer(steps=20, warm_up=0.2, decay="cosine", callbacks=[rates]).fit(_data())
    assert rates.rates[:4] == pytest.approx([0.1 * (i + 1) / 5 for i in range(4)])
    assert rates.rates[4:] == pytest.approx(
        [0.05 * (1 + math.cos(math.pi * i / 16)) for i in range(16)]
    )


def test_a_callback_may_set_a_constant_learning_rate():
    class Halve(Callback):
        def on_step_end(self, trainer, step, losses):
            for group in trainer.optimizers.all[0].param_groups:
                group["lr"] /= 2

    trainer = _trainer(steps=3, callbacks=[Halve()])
    trainer.fit(_data())
    assert trainer.optimizers.all[0].param_groups[0]["lr"] == pytest.approx(0.0125)


class _KeepWeights(Callback):
    def __init__(self):
        self.weights = []

    def on_epoch_end(self, trainer, record):
        self.weights.append(copy.deepcopy(trainer.network.state_dict()))


def test_early_stopping_restores_the_best_weights():
    # random targets: the network learns them by heart, and validation gets worse
    data = _data(24)
    noise = torch.randn(48, dtype=torch.float64)
    train = TensorData(data.inputs, {"number": noise[:24], "kind": data.targets["kind"]})
    other = _data(24, 5)
    check = TensorData(other.inputs, {"number": noise[24:], "kind": other.targets["kind"]})
    keep = _KeepWeights()
    network = _network()
    trainer = _trainer(network, epochs=400, patience=15, callbacks=[keep])
    history = trainer.fit(train, check)
    scores = [record.score for record in history]
    best = min(range(len(scores)), key=scores.__getitem__)
    assert len(history) == best + 1 + 15 < 400
    assert [record.epoch for record in history if record.best][-1] == best + 1
    for name, value in network.state_dict().items():
        assert torch.equal(value, keep.weights[best][name])
    assert not network.training
    losses = _losses(network, check)
    for name, loss in history[best].validation.items():
        assert loss == pytest.approx(losses[name].item(), rel=1e-9)


def test_the_score_is_the_mean_of_the_losses_relative_to_before_training():
    network, data = _network(), _data()
    with torch.no_grad():
        before = {name: float(loss) for name, loss in _losses(network, data).items()}
    (record,) = _trainer(network).fit(data, data)
    expected = sum(record.validation[name] / before[name] for name in before) / 2
    assert record.score == pytest.approx(expected)


def test_without_validation_the_last_weights_stay():
    keep = _KeepWeights()
    network = _network()
    history = _trainer(network, epochs=3, callbacks=[keep]).fit(_data())
    for name, value in network.state_dict().items():
        assert torch.equal(value, keep.weights[-1][name])
    assert all(record.score is None and not record.best for record in history)
    assert all(record.validation == {} for record in history)


def test_a_task_without_validation_labels_is_left_out_of_the_score():
    data = _data()
    targets = {"number": data.targets["number"], "kind": torch.full((32,), -100)}
    history = _trainer(epochs=2).fit(data, TensorData(data.inputs, targets))
    assert [list(record.validation) for record in history] == [["number"], ["number"]]
    assert all(math.isfinite(record.score) for record in history)
    nothing = {"number": torch.full((32,), NAN), "kind": torch.full((32,), -100)}
    with pytest.warns(UserWarning, match="no label of tasks 'number', 'kind', so nothing is scor"):
        history = _trainer(epochs=2).fit(data, TensorData(data.inputs, nothing))
    assert [record.score for record in history] == [None, None]


@pytest.mark.parametrize(
    "settings", [{"patience": 3}, {"task_patience": 3, "when_converged": "freeze"}]
)
def test_patience_is_refused_where_no_task_has_a_validation_label(settings):
    data = _data()
    held_out = {**data.targets, "number": torch.full((32,), NAN)}
    trainer = _trainer(auxiliary=["kind"], **settings)
    said = f"no label of task 'number', and `{next(iter(settings))}` waits"
    with pytest.raises(InvalidInputError, match=said):
        trainer.fit(data, TensorData(data.inputs, held_out))


def test_a_dense_task_without_a_pixel_with_a_validation_label_is_told_of():
    network = HardSharing(nn.Conv2d(3, 2, 1), {"depth": nn.Conv2d(2, 1, 1)})
    trainer = Trainer(network, [Task.dense("depth")], epochs=1, device="cpu")
    pictures, depth = torch.randn(2, 3, 4, 4), torch.rand(2, 4, 4) + 0.1
    with pytest.warns(UserWarning, match="the validation data have no label of task 'depth'"):
        trainer.fit(
            TensorData(pictures, {"depth": depth}),
            TensorData(pictures, {"depth": torch.full_like(depth, NAN)}),
        )


def test_validation_in_parts_equals_validation_at_once(monkeypatch):
    network, data = _network(), _data(30)
    data.targets["number"][7:15] = NAN
    trainer = _trainer(network)
    sets = trainer._sets(data, "validation")
    at_once = validation_losses(network, trainer.tasks, sets.once())
    monkeypatch.setattr("jointrain.training.sampling._batches.EVALUATION_ROWS", 4)
    in_parts = validation_losses(network, trainer.tasks, sets.once())
    assert in_parts == pytest.approx(at_once, rel=1e-12)


def test_the_record_of_an_epoch_holds_the_mean_training_losses():
    network, data = _network(), _data()
    with torch.no_grad():
        expected = {name: float(loss) for name, loss in _losses(network, data).items()}
    (record,) = _trainer(network).fit(data)
    assert record.training == pytest.approx(expected)
    assert (record.epoch, record.step) == (1, 1)


def test_steps_override_epochs_and_a_cut_epoch_is_recorded():
    trainer = _trainer(batch_size=8, steps=10, epochs=1)
    history = trainer.fit(_data(32))
    assert [(record.epoch, record.step) for record in history] == [(1, 4), (2, 8), (3, 10)]
    assert trainer.history == history


def test_callbacks_run_in_order():
    log = []

    class Log(Callback):
        def __init__(self, name):
            self.name = name

        def on_fit_start(self, trainer):
            log.append((self.name, "start"))

        def on_step_end(self, trainer, step, losses):
            assert all(not loss.requires_grad for loss in losses.values())
            log.append((self.name, "step", step))

        def on_epoch_end(self, trainer, record):
            assert trainer.history[-1] is record
            log.append((self.name, "epoch", record.epoch))

        def on_fit_end(self, trainer):
            assert not trainer.network.training
            log.append((self.name, "end"))

    _trainer(batch_size=16, epochs=2, callbacks=[Log("a"), Log("b"), Callback()]).fit(_data(32))
    events = [
        ("start",), ("step", 1), ("step", 2), ("epoch", 1),
        ("step", 3), ("step", 4), ("epoch", 2), ("end",),
    ]  # fmt: skip
    assert log == [(name, *event) for event in events for name in "ab"]


# --- determinism ---------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [Joint(), Alternating(), Alternating("proportional")])
def test_the_same_seed_gives_the_same_bits_and_another_differs(schedule):
    start = _network(dropout=0.5)

    def run(seed, noise):
        network = copy.deepcopy(start)
        torch.manual_seed(noise)  # must not matter
        trainer = _trainer(network, schedule=schedule, batch_size=8, epochs=3, seed=seed)
        history = trainer.fit(_data(), _data(10, 1))
        return network, history

    first, history = run(1, noise=5)
    second, same_history = run(1, noise=6)
    assert history == same_history
    _assert_same_bits(first, second)
    other, _ = run(2, noise=5)
    assert any(not torch.equal(a, b) for a, b in zip(_weights(first), _weights(other), strict=True))


@pytest.mark.parametrize(
    "settings", [{"batch_size": 8}, {"schedule": Alternating()}], ids=["batches", "order of tasks"]
)
def test_the_seed_chooses(settings):
    start = _network()
    outcomes = []
    for seed in (1, 1, 2):
        network = copy.deepcopy(start)
        _trainer(network, epochs=10, seed=seed, **settings).fit(_data())
        outcomes.append(network.trunk[0].weight.detach())
    assert torch.equal(outcomes[0], outcomes[1])
    assert not torch.equal(outcomes[0], outcomes[2])


def test_training_leaves_the_global_random_state_alone():
    trainer = _trainer(_network(dropout=0.5), batch_size=8)
    before = torch.get_rng_state()
    trainer.fit(_data())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_training_leaves_the_random_state_of_the_gpu_alone(device):
    trainer = _trainer(_network(dropout=0.5), device=device)
    torch.rand(3, device="cuda")
    before = torch.cuda.get_rng_state()
    trainer.fit(_data())
    assert torch.equal(torch.cuda.get_rng_state(), before)


LOOKED_AT = TensorData(torch.eye(32)[:, :3], {"r": torch.arange(32.0) / 32})


class _Look(Callback):
    """Looks at the network after each step."""

    def __init__(self, look):
        self.look = look

    def on_step_end(self, trainer, step, losses):
        self.look(trainer)


class _Noise(nn.Module):
    """Draws random numbers in evaluation mode, too."""

    def forward(self, x):
        return x + torch.randn_like(x)


@pytest.mark.parametrize("phases", [False, True])
@pytest.mark.parametrize(
    "look", [lambda one: one.predict(LOOKED_AT.inputs), lambda one: one.evaluate(LOOKED_AT)]
)
def test_a_look_at_the_network_in_a_callback_changes_nothing(look, phases):
    def trained(*callbacks):
        torch.manual_seed(0)
        layers = [nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), _Noise()]
        network = HardSharing(nn.Sequential(*layers), {"r": nn.Linear(8, 1)})
        schedule = Phases([Phase(name="first", epochs=2, freeze=("trunk.1",))]) if phases else None
        trainer = Trainer(
            network, [Task.regression("r")], schedule=schedule, epochs=2, batch_size=8,
            callbacks=callbacks, device="cpu",
        )  # fmt: skip
        trainer.fit(LOOKED_AT)
        return trainer.network.state_dict()

    torch.testing.assert_close(trained(_Look(look)), trained(), rtol=0, atol=0)


def test_dropout_is_on_in_training_only():
    network, data = _network(dropout=0.9), _data()
    trainer = _trainer(network, epochs=2)
    trainer.fit(data, data)
    first = trainer.predict(data.inputs)
    assert torch.equal(first["number"], trainer.predict(data.inputs)["number"])

    class Training(Callback):
        def on_step_end(self, trainer, step, losses):
            assert trainer.network.training

    _trainer(network, epochs=3, callbacks=[Training()]).fit(data, data)


# --- devices -------------------------------------------------------------------------------------


def test_training_runs_on_the_device_under_test(device):
    network, data = _network(dropout=0.1, dtype=torch.float32), _data(64, dtype=torch.float32)
    trainer = _trainer(network, device=device, batch_size=16, epochs=20, optimizer=SGD)
    history = trainer.fit(data, data)
    assert history[-1].score < 0.7
    assert {p.device.type for p in network.parameters()} == {device.type}
    assert trainer.predict(data.inputs)["kind"].device.type == "cpu"
    assert trainer.evaluate(data)["number"]["R2"] > 0.3


def test_auto_takes_a_gpu_if_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device(torch.device("cpu")) == torch.device("cpu")


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InvalidInputError, match="'cuda' was asked for, but torch finds 0 GPUs"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InvalidInputError, match="'cuda:2' was asked for, but torch finds 2 GPUs"):
        resolve_device("cuda:2")


def test_an_unknown_device_is_refused():
    with pytest.raises(InvalidInputError, match="`device` must be auto, cpu or cuda, got 'gpu'"):
        resolve_device("gpu")


# --- predict and evaluate ------------------------------------------------------------------------


def test_predictions_and_metrics_of_labelled_rows():
    network, data = _network(), _data()
    trainer = _trainer(network)
    predictions = trainer.predict(data.inputs)
    with torch.no_grad():
        outputs = network(data.inputs)
    torch.testing.assert_close(predictions["number"], outputs["number"][:, 0])
    torch.testing.assert_close(predictions["kind"], outputs["kind"].softmax(1))
    torch.testing.assert_close(trainer.predict(data.inputs, logits=True), dict(outputs))
    assert list(trainer.predict(data.inputs, ["kind"])) == ["kind"]

    data.targets["number"][10:] = NAN
    results = trainer.evaluate(data)
    errors = (outputs["number"][:10, 0] - data.targets["number"][:10]).square().mean().sqrt()
    assert results["number"]["RMSE"] == pytest.approx(errors.item())
    assert list(results["kind"]) == ["accuracy", "macro-F1", "log-loss"]


def test_an_unknown_task_is_refused_at_prediction():
    with pytest.raises(InvalidInputError, match=r"'kidn' is none of the tasks.*did you mean"):
        _trainer().predict(_data().inputs, ["kidn"])


# --- auxiliary tasks -----------------------------------------------------------------------------


def test_an_auxiliary_task_trains_like_the_others():
    one, data = _network(), _data()
    two = copy.deepcopy(one)
    _trainer(one, epochs=5).fit(data)
    _trainer(two, epochs=5, auxiliary=["kind"]).fit(data)
    _assert_same_bits(one, two)


def test_an_auxiliary_task_counts_in_no_score():
    data = _data()
    history = _trainer(epochs=3, auxiliary="kind").fit(data, data)
    initial = history[0].validation["number"] / history[0].score
    for record in history:
        assert record.score == pytest.approx(record.validation["number"] / initial)
        assert "kind" in record.validation


def test_auxiliary_tasks_may_be_absent_from_validation_and_evaluation():
    data = _data()
    only = TensorData(data.inputs, {"number": data.targets["number"]})
    trainer = _trainer(epochs=2, auxiliary=["kind"])
    assert [list(r.validation) for r in trainer.fit(data, only)] == [["number"]] * 2
    assert list(trainer.evaluate(only)) == ["number"]
    assert [list(r.validation) for r in trainer.fit(data, {"number": only})] == [["number"]] * 2
    with pytest.raises(InvalidInputError, match="training data have no target of task 'kind'"):
        trainer.fit(only)
    with pytest.raises(InvalidInputError, match="evaluation data have no target of task 'kind'"):
        trainer.evaluate(only, ["kind"])


def test_auxiliary_tasks_are_predicted_only_where_asked_for():
    data, trainer = _data(), _trainer(auxiliary=["kind"])
    assert list(trainer.predict(data.inputs)) == ["number"]
    assert list(trainer.predict(data.inputs, ["kind", "number"])) == ["kind", "number"]
    assert list(trainer.evaluate(data)) == ["number"]
    assert list(trainer.evaluate(data, ["kind"])) == ["kind"]
    with pytest.raises(InvalidInputError, match=r"'kidn' is none of the tasks.*did you mean"):
        trainer.evaluate(data, ["kidn"])


def test_a_balancer_with_held_out_losses_needs_those_of_auxiliary_tasks():
    data = _data()
    only = TensorData(data.inputs, {"number": data.targets["number"]})
    balancer = balancer_from_name("auto_lambda")
    trainer = _trainer(auxiliary=["kind"], balancer=balancer)
    with pytest.raises(InvalidInputError, match="give task 'kind' validation data"):
        trainer.fit(data, only)
    with pytest.raises(InvalidInputError, match=r"held-out losses; give fit\(\) validation data"):
        trainer.fit(data)


# --- optimisers in alternation -------------------------------------------------------------------


def test_one_optimiser_mixes_the_tasks_momenta_and_one_per_task_keeps_them_apart():
    # one shared weight w; the loss of task i is (w - y_i)^2 / 2, so its gradient is w - y_i
    class OneWeight(Network):
        def __init__(self):
            super().__init__({"a": nn.Identity(), "b": nn.Identity()})
            self.w = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def features(self, inputs, tasks):
            return dict.fromkeys(tasks, self.w.expand(len(inputs), 1))

        def parts(self):
            return []

    def half_square(output, target):
        return (output[:, 0] - target).square() / 2

    tasks = [Task(name, "custom", loss_function=half_square, size=1) for name in ("a", "b")]
    x = torch.ones(1, 1, dtype=torch.float64)
    data = TensorData(x, {"a": x[:, 0], "b": -x[:, 0]})

    def run(layout):
        network = OneWeight()
        Trainer(
            network, tasks, schedule=Alternating("round_robin"), optimizer_layout=layout, steps=3,
            optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.5), device="cpu",
        ).fit(data)  # fmt: skip
        return network.w.item()

    # by hand, w = 0; a: m = -1, w = 0.1; b: gradient 1.1; then a again
    # one: m = -0.5 + 1.1 = 0.6, w = 0.04; a: m = 0.3 - 0.96 = -0.66, w = 0.106
    assert run("one") == pytest.approx(0.106)
    # per task: b: m = 1.1, w = -0.01; a: m = -0.5 - 1.01 = -1.51, w = 0.141
    assert run("per_task") == pytest.approx(0.141)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"warm_up": 1.5}, r"`warm_up` must lie in \[0, 1\], got 1.5"),
        ({"decay": "linear"}, "`decay` must be one of cosine, none, got 'linear'"),
        ({"gradient_clip": 0.0}, "`gradient_clip` must be positive, got 0.0"),
        ({"l1": -1.0}, "`l1` must be at least 0, got -1.0"),
        ({"l2": NAN}, "`l2` must be at least 0, got nan"),
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"epochs": 0}, "`epochs` must be at least 1, got 0"),
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"patience": 0}, "`patience` must be at least 1, got 0"),
        ({"weights": {"knid": 1.0}}, "`weights` names 'knid', which is no task.*did you mean"),
        ({"weights": {"kind": -1.0}}, "weight of task 'kind' must be >= 0, got -1.0"),
        ({"weights": {"kind": NAN}}, "weight of task 'kind' must be >= 0, got nan"),
        ({"weights": {"kind": 0.0, "number": 0.0}}, "at least one task must have a weight above 0"),
        (
            {"optimizer_layout": "two"},
            "`optimizer_layout` must be one of one, per_task, per_group, got 'two'",
        ),
        ({"auxiliary": ["kidn"]}, "`auxiliary` names 'kidn', which is no task.*did you mean"),
        ({"auxiliary": ["kind", "number"]}, "all tasks are auxiliary; at least one must not be"),
        ({"device": "gpu"}, "`device` must be auto, cpu or cuda, got 'gpu'"),
    ],
)
def test_a_bad_setting_is_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        _trainer(**settings)


@pytest.mark.parametrize(
    "tasks, message",
    [
        ([], "needs at least one task"),
        ([KIND, KIND], "must have different names"),
        ([Task.regression("kin")], "the network has no task 'kin'.*did you mean 'kind'"),
    ],
)
def test_tasks_that_do_not_fit_the_network_are_refused(tasks, message):
    with pytest.raises(InvalidInputError, match=message):
        Trainer(_network(), tasks, device="cpu")


def _with(**targets):
    data = _data()
    return TensorData(data.inputs, dict(data.targets) | targets)


@pytest.mark.parametrize(
    "data, message",
    [
        (
            {"number": _data(), "kidn": _data()},
            "training data for 'kidn', which is none of the tasks.*did you mean 'kind'",
        ),
        ({"number": _data()}, "task 'kind' has no training data"),
        (
            TensorData(_data().inputs, {"numbr": _data().targets["number"]}),
            "training data have no target of task 'number'.*did you mean 'numbr'",
        ),
        (_with(number=torch.full((32,), NAN)), "'number' has no label in the training data"),
        (_with(kind=torch.full((32,), 3)), "target of task 'kind' holds 3"),
        (_with(number=torch.zeros(32, 2)), "target of task 'number' must hold 1 value a row"),
        ((_data().inputs, _data().targets), "training data must be TensorData, .* got tuple"),
        ({"number": _data(), "kind": _data().inputs}, "data set of kind: .*got Tensor; give Tens"),
    ],
)
def test_data_that_do_not_fit_the_tasks_are_refused(data, message):
    with pytest.raises(InvalidInputError, match=message):
        _trainer().fit(data)


def test_validation_and_evaluation_data_are_checked_too():
    with pytest.raises(InvalidInputError, match="task 'kind' has no validation data"):
        _trainer().fit(_data(), {"number": _data()})
    with pytest.raises(InvalidInputError, match="task 'kind' has no evaluation data"):
        _trainer().evaluate({"number": _data()})


def test_a_head_of_the_wrong_width_is_refused():
    heads = {"number": nn.Linear(4, 1), "kind": nn.Linear(4, 2)}
    trainer = _trainer(HardSharing(nn.Identity(), heads).double())
    with pytest.raises(InvalidInputError, match="task 'kind' must give 3 numbers, got 2"):
        trainer.fit(_data())


def test_a_lazy_layer_must_have_been_called():
    network = HardSharing(nn.LazyLinear(8), {"number": nn.Linear(8, 1)})
    with pytest.raises(InvalidInputError, match=r"'trunk.weight' .* lazy .* call the network once"):
        Trainer(network, [NUMBER])
    network(torch.zeros(2, 4))
    data = TensorData(torch.zeros(8, 4), {"number": torch.zeros(8)})
    Trainer(network, [NUMBER], epochs=1).fit(data)


def test_patience_without_validation_data_is_refused():
    with pytest.raises(InvalidInputError, match="`patience` needs validation data"):
        _trainer(patience=3).fit(_data())


def test_joint_steps_with_optimisers_per_task_are_refused_where_something_is_shared():
    with pytest.raises(InvalidInputError, match="optimisers per task need steps of one task each"):
        _trainer(optimizer_layout="per_task").fit(_data())


def test_joint_steps_that_would_come_later_are_refused_before_the_first_one():
    phases = Phases(
        (
            Phase(name="in turn", steps=1, schedule=Alternating()),
            Phase(name="heads", steps=1, freeze=("shared",)),
            Phase(name="together", steps=1),
        )
    )
    mixture = Mixture({("number", "kind"): _data()}, batch_size=8)
    for schedule, data in ((phases, _data()), (Joint(), mixture)):
        steps = _KeepGradients()
        trainer = _trainer(optimizer_layout="per_task", schedule=schedule, callbacks=[steps])
        with pytest.raises(InvalidInputError, match="optimisers per task need steps of one task"):
            trainer.fit(data)
        assert not steps.gradients
    fits = Phases(phases.phases[:2])
    _trainer(optimizer_layout="per_task", schedule=fits).fit(_data())


def test_separate_training_of_several_tasks_is_refused():
    with pytest.raises(InvalidInputError, match=r"Separate\(\) trains one task to a network"):
        _trainer(schedule=Separate()).fit(_data())


def test_a_loss_that_is_not_finite_is_refused():
    optimizer = partial(torch.optim.SGD, lr=1e30)
    with pytest.raises(InvalidInputError, match=r"loss of task 'number' is not finite by step \d+"):
        _trainer(optimizer=optimizer, epochs=50).fit(_data())
    data = _data()
    data.inputs[3, 1] = NAN
    with pytest.raises(InvalidInputError, match="loss of task 'number' is not finite by step 1;"):
        _trainer().fit(data)


def test_weights_that_a_last_step_has_spoilt_are_refused():
    optimizer = partial(torch.optim.SGD, lr=math.inf)
    with pytest.raises(InvalidInputError, match="the weights are not finite after the last step"):
        _trainer(optimizer=optimizer, steps=1).fit(_data())


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("upgrad", "r"),
        ("pcgrad", "r"),
        ("graddrop", "r"),
        # these go by the tasks' places, and the losses of a group come kind by kind
        *((name, "rb") for name in ("pcgrad", "gradvac", "rgw", "pcd", "rlw", "ldc-mtl")),
    ],
)
def test_a_balancer_treats_grouped_heads_as_separate_ones(name, kinds):
    names = [f"t{i}" for i in range(6)]
    make = {"r": Task.regression, "b": Task.binary}
    tasks = [make[kinds[i % len(kinds)]](task) for i, task in enumerate(names)]
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = {task.name: x[:, i % 4] ** (i + 1) for i, task in enumerate(tasks)}
    data = TensorData(
        x,
        {
            t.name: (values[t.name] > 0).double() if t.kind == "binary" else values[t.name]
            for t in tasks
        },
    )
    weights = []
    for group_from in (None, 2):
        torch.manual_seed(0)
        heads = {task: nn.Linear(8, 1) for task in names}
        trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
        network = HardSharing(trunk, heads, group_from=group_from).double()
        balancer = balancer_from_name(name)
        Trainer(network, tasks, balancer=balancer, optimizer=SGD, steps=5, device="cpu").fit(data)
        weights.append(
            [p.detach().clone() for p in network.shared_parameters()]
            + [p.detach().clone() for task in names for p in network.task_parameters(task)]
        )
    for separate, grouped in zip(*weights, strict=True):
        torch.testing.assert_close(grouped, separate, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("group_from", [None, 2])
@pytest.mark.parametrize("balancer", ["equal", "famo", "uw-so", "ldc-mtl", "mgda", "pcgrad"])
def test_a_balancer_does_not_see_a_task_of_weight_0(balancer, group_from):
    names = ["a", "b", "c", "d"]
    x = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
    data = TensorData(x, {name: x[:, i].square() for i, name in enumerate(names)})
    trunks, head = [], []
    for trained in (names, names[1:]):
        torch.manual_seed(0)
        heads = {name: nn.Linear(6, 1) for name in names}
        network = HardSharing(nn.Linear(4, 6), heads, group_from=group_from)
        head.append(_copies(network.task_parameters("a")))
        trainer = Trainer(
            network, [Task.regression(name) for name in trained],
            weights={name: float(name != "a") for name in trained},
            balancer=balancer_from_name(balancer), optimizer=partial(torch.optim.AdamW, lr=0.01),
            epochs=2, batch_size=12, device="cpu",
        )  # fmt: skip
        trainer.fit(data)
        trunks.append(_copies(network.trunk.parameters()))
        head.append(_copies(network.task_parameters("a")))
    torch.testing.assert_close(*trunks, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(head[1], head[0], rtol=0, atol=0)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_gradients_of_what_no_optimizer_holds_count_in_no_norm(accumulate):
    networks = [_network() for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    networks[0].trunk.requires_grad_(False)
    left_out = set(networks[1].trunk.parameters())
    for network in networks:
        before = _copies(network.trunk.parameters())
        _trainer(
            network,
            optimizer=lambda all_of_it: SGD([p for p in all_of_it if p not in left_out]),
            gradient_clip=0.1,
            l2=0.01,
            batch_size=8,
            accumulate=accumulate,
        ).fit(_data())
        assert all(map(torch.equal, before, network.trunk.parameters()))
    heads = [_copies(network.heads.parameters()) for network in networks]
    for frozen, kept in zip(*heads, strict=True):
        torch.testing.assert_close(kept, frozen, rtol=1e-12, atol=1e-14)
    assert all(p.grad is None for p in networks[1].trunk.parameters())


class _Unfreezes(Callback):
    def on_epoch_end(self, trainer, record):
        trainer.network.trunk.requires_grad_(True)


def test_what_is_unfrozen_after_the_trainer_was_made_is_refused():
    refused = pytest.raises(InvalidInputError, match=r"'trunk\.0\.weight' requires a gradient")
    network = _network()
    network.trunk.requires_grad_(False)
    trainer = _trainer(network, callbacks=[_Unfreezes()])
    with refused:  # in the midst of a run
        trainer.fit(_data())
    with refused:  # between two of them
        trainer.fit(_data())
    network.trunk.requires_grad_(False)
    phases = _trainer(network, schedule=Phases([Phase(name="all", epochs=1)]))
    network.trunk.requires_grad_(True)
    for made in (phases, _trainer(network)):  # phases make optimisers as they begin
        before = _copies(network.trunk.parameters())
        made.fit(_data())
        assert not any(map(torch.equal, before, network.trunk.parameters()))


def test_what_a_caller_gives_to_an_optimizer_is_moved():
    network = _network()
    network.trunk.requires_grad_(False)
    trainer = _trainer(network)
    network.trunk.requires_grad_(True)
    trainer.optimizers.all[0].add_param_group({"params": network.trunk.parameters()})
    before = _copies(network.trunk.parameters())
    trainer.fit(_data())
    assert not any(map(torch.equal, before, network.trunk.parameters()))


@pytest.mark.parametrize("balancer", [None, "equal", "famo", "imtl-g"])
@pytest.mark.parametrize("schedule", [Joint, partial(Alternating, "round_robin")])
def test_a_task_of_which_nothing_is_trained_takes_part_in_vain(schedule, balancer):
    network = _network()
    frozen = [*network.trunk.parameters(), *network.task_parameters("number")]
    for parameter in frozen:
        parameter.requires_grad_(False)
    before, head = _copies(frozen), _copies(network.task_parameters("kind"))
    _trainer(
        network,
        schedule=schedule(),
        balancer=None if balancer is None else balancer_from_name(balancer),
    ).fit(_data())
    assert all(map(torch.equal, before, frozen))
    assert not any(map(torch.equal, head, network.task_parameters("kind")))


@pytest.mark.parametrize("balancer", [None, "equal"])
def test_a_network_that_detaches_its_outputs_is_told(balancer):
    class Detached(nn.Linear):
        def forward(self, x):
            return super().forward(x).detach()

    heads = {"number": Detached(8, 1), "kind": nn.Linear(8, 3)}
    network = HardSharing(nn.Linear(4, 8), heads).double()
    balancer = None if balancer is None else balancer_from_name(balancer)
    trainer = _trainer(network, schedule=Alternating("round_robin"), balancer=balancer)
    with pytest.raises(InvalidInputError, match=r"loss of task 'number' has no gradient.*detach"):
        trainer.fit(_data())


@pytest.mark.parametrize("settings", [{}, {"l2": 0.05}, {"gradient_clip": 0.3}])
@pytest.mark.parametrize("absent", [1, 16, 17])
@pytest.mark.parametrize("balancer", ["equal", "imtl-g"])
def test_a_balanced_step_keeps_grouped_heads_without_a_label(balancer, absent, settings):
    names = [f"t{i}" for i in range(32)]
    x = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
    data = TensorData(x, {name: x.sum(1) + 3 * i for i, name in enumerate(names)})
    for name in names[:absent]:
        data.targets[name][4:] = NAN
    # two groups: of one output, and of two
    for name in names[16:]:
        data.targets[name] = torch.stack([data.targets[name]] * 2, 1)

    def predicted(group_from):
        torch.manual_seed(0)
        heads = {name: nn.Linear(6, 1 + i // 16) for i, name in enumerate(names)}
        trainer = Trainer(
            HardSharing(nn.Linear(4, 6), heads, group_from=group_from),
            [Task.regression(name, 1 + i // 16) for i, name in enumerate(names)],
            balancer=balancer_from_name(balancer), epochs=3, batch_size=4, device="cpu",
            optimizer=partial(torch.optim.Adam, lr=0.01), **settings,
        )  # fmt: skip
        trainer.fit(data)
        return trainer.predict(x)

    torch.testing.assert_close(predicted(16), predicted(None), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"refresh_every": 2}])
def test_grouped_heads_are_balanced_on_a_frozen_trunk_as_separate_ones(settings):
    names = [f"t{i}" for i in range(4)]
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data = TensorData(x, {name: x[:, i % 3] for i, name in enumerate(names)})
    found = []
    for group_from in (None, 2):
        torch.manual_seed(0)
        heads = {name: nn.Linear(5, 1) for name in names}
        network = HardSharing(nn.Linear(3, 5), heads, group_from=group_from).double()
        network.trunk.requires_grad_(False)
        options = {"optimizer": SGD, "steps": 3, "batch_size": 4, "device": "cpu"} | settings
        tasks = [Task.regression(name) for name in names]
        Trainer(network, tasks, balancer=balancer_from_name("upgrad"), **options).fit(data)
        found.append([p.detach() for name in names for p in network.task_parameters(name)])
    for separate, grouped in zip(*found, strict=True):
        torch.testing.assert_close(grouped, separate, rtol=1e-9, atol=1e-12)


def test_a_gradient_balancer_knows_the_heads_of_a_network_compiled_as_a_whole():
    networks = [_network() for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    torch.compiler.reset()
    with torch._functorch.config.patch(donated_buffer=False):
        compiled = torch.compile(networks[1], backend="aot_eager")
        for network in (networks[0], compiled):
            settings = {"optimizer": SGD, "epochs": 1, "device": "cpu", "batch_size": 16}
            balancer = balancer_from_name("upgrad")
            Trainer(network, [NUMBER, KIND], balancer=balancer, **settings).fit(_data())
    torch.compiler.reset()
    for one, other in zip(_weights(networks[0]), _weights(networks[1]), strict=True):
        torch.testing.assert_close(one, other)


# --- steps of one's own --------------------------------------------------------------------------


def test_a_step_before_fit_equals_a_step_by_hand():
    network, data = _network(), _data()
    expected = copy.deepcopy(network)
    batch = Batch(data, ("number", "kind"), (False, False))
    _trainer(network, optimizer=SGD).training_step([batch])
    optimizer = SGD(list(expected.parameters()))
    outputs = expected(data.inputs, ("number", "kind"))
    loss = sum(t.loss(outputs[t.name], data.targets[t.name]) for t in (NUMBER, KIND))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    for value, other in zip(network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(value, other)


def test_a_step_before_fit_says_that_it_needs_data():
    data = _data()
    batch = Batch(data, ("number", "kind"), (False, False))
    trainer = _trainer(balancer=MoDo())
    with pytest.raises(InvalidInputError, match=r"no data yet|none yet"):
        trainer.training_step([batch])
    trainer.begin(data, None)
    assert set(trainer.training_step([batch])) == {"number", "kind"}


def test_all_that_a_session_has_lies_in_plain_attributes():
    seen = []

    class Looks(Callback):
        def on_epoch_end(self, trainer, record):
            session = trainer.session
            seen.append((session.step, session.epoch_steps, session.best.value))
            assert session.history[-1] is record
            assert session.network is trainer.network

    trainer = _trainer(epochs=2, callbacks=[Looks()])
    trainer.fit(_data(), _data(seed=1))
    assert [step for step, _, _ in seen] == [seen[0][1], 2 * seen[0][1]]
    assert seen[-1][2] == min(record.score for record in trainer.history)


def test_an_unknown_option_is_refused():
    with pytest.raises(InvalidInputError, match=r"`epoch` is no option.*did you mean 'epochs'"):
        _trainer(epoch=3)
    assert _trainer(settings=TrainingSettings(l1=0.1), epochs=3).settings.l1 == 0.1
