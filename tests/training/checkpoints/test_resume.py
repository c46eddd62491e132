"""A run that is interrupted after any step and goes on elsewhere ends with the same bits."""

import copy
import os
import pickle
import shutil
import signal

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from jointrain import (
    Alternating,
    Callback,
    CSVLogger,
    HardSharing,
    InvalidInputError,
    Joint,
    Merge,
    Task,
    TensorData,
    Trainer,
)
from jointrain.balancing import balancer_from_name
from jointrain.training import Checkpoints, CrossFittedWeights
from tests.training.checkpoints.runs import (
    assert_same,
    assert_same_end,
    cases,
    every_checkpoint,
    fit,
    resumed_from,
    rows,
    trainer,
)


@pytest.mark.parametrize("name", cases())
def test_a_run_resumed_after_any_step_is_the_run(name, tmp_path):
    case = cases()[name]
    plain = trainer(case)
    fit(plain, case)
    whole = trainer(case)
    checkpoints = every_checkpoint(whole, case, tmp_path / "all")
    assert_same_end(whole, plain)
    assert len(checkpoints) >= 6
    for checkpoint in checkpoints:
        assert_same_end(resumed_from(checkpoint, case, tmp_path / "one"), whole)


class _Signal(Callback):
    """Asks for a checkpoint before the first step of a run."""

    def on_fit_start(self, trainer):
        os.kill(os.getpid(), signal.SIGUSR1)


def _begun(case, folder, **more):
    """Return the end of a run whose checkpoints are those of its signals."""
    made = trainer(case, [_Signal()], checkpoints=Checkpoints(folder, every="9h", keep=99))
    fit(made, case, **more)
    return made


@pytest.mark.parametrize("name", cases())
def test_a_run_told_to_save_before_its_first_step_goes_on(name, tmp_path):
    case = cases()[name]
    whole = _begun(case, tmp_path / "run")
    before, *_ = sorted((tmp_path / "run").glob("step-*"))
    assert_same_end(resumed_from(before, case, tmp_path / "one"), whole)


@pytest.mark.parametrize("name", cases())
def test_a_resumed_run_told_to_save_before_its_first_step_goes_on(name, tmp_path):
    case = cases()[name]
    whole = trainer(case)
    *checkpoints, _ = every_checkpoint(whole, case, tmp_path / "all")
    for checkpoint in (checkpoints[0], checkpoints[len(checkpoints) // 2], checkpoints[-1]):
        again = tmp_path / checkpoint.name
        again.mkdir()
        stored = again / checkpoint.name
        stored.write_bytes(checkpoint.read_bytes())
        _begun(case, again, resume=True)
        assert_same_end(resumed_from(stored, case, tmp_path / "one"), whole)


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_go_on_in_their_order_with_other_numbers_of_workers(workers, tmp_path):
    name = "mixture, drawn"
    whole = trainer(cases()[name])
    files = every_checkpoint(whole, cases()[name], tmp_path / "all", every=4)
    made = resumed_from(files[1], cases(workers)[name], tmp_path / "one")
    assert_same_end(made, whole)


class _Counts(Callback):
    def __init__(self):
        self.steps = []
        self.starts = 0

    def on_fit_start(self, trainer):
        self.starts += 1

    def on_step_end(self, trainer, step, losses):
        self.steps.append(step)

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        assert self.starts == 0
        self.steps = list(state["steps"])


def test_callbacks_and_logs_go_on(tmp_path):
    case = cases()["phases"]
    log, counts = CSVLogger(tmp_path / "log.csv", every=1), _Counts()
    whole = trainer(case, [log, counts])
    files = every_checkpoint(whole, case, tmp_path / "all", every=5)
    written = (tmp_path / "log.csv").read_bytes()
    for file in files:
        # as it was when the run was killed: further than the checkpoint
        (tmp_path / "again.csv").write_bytes(written + b"1,2,3\n")
        again, goes_on = CSVLogger(tmp_path / "again.csv", every=1), _Counts()
        resumed_from(file, case, tmp_path / "one", callbacks=[goes_on, again])
        assert goes_on.steps == counts.steps
        if file != files[-1]:
            assert (tmp_path / "again.csv").read_bytes() == written


def test_weights_of_two_halves_go_on(tmp_path):
    case = cases()["joint"]
    kept = CrossFittedWeights(rows(9, 8), 5)
    files = every_checkpoint(trainer(case, [kept]), case, tmp_path / "all", every=2)
    for file in files[:-1]:
        again = CrossFittedWeights(rows(9, 8), 5)
        resumed_from(file, case, tmp_path / "one", callbacks=[again])
        assert_same(list(again.states), list(kept.states))


def test_a_schedule_without_a_place_is_refused_in_words(tmp_path):
    class Own(Joint):
        def steps(self, labels, generator):
            while True:
                yield tuple(labels)

    case = cases()["joint"] | {"schedule": Own()}
    made = trainer(case)
    fit(made, case)
    with pytest.raises(InvalidInputError, match="the steps of Own can't be saved"):
        every_checkpoint(trainer(case), case, tmp_path)


# --- ending, copying, beginning anew -------------------------------------------------------------


class _Stop(Callback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer, step, losses):
        if step == self.step:
            trainer.stop()


@pytest.mark.parametrize("name", ["joint", "alternating", "phases", "mixture", "merged"])
def test_a_callback_ends_the_training(name):
    case = cases()[name]
    made, whole = trainer(case, [_Stop(4)]), trainer(case)
    fit(made, case)
    fit(whole, case)
    steps = [record.step for record in made.history if record.training]
    assert steps[-1] == 4
    assert made.history[-1].score is not None
    assert len(made.history) < len(whole.history)


@pytest.mark.parametrize("name", ["alternating", "uncertainty", "mixture", "phases", "merged"])
def test_a_fitted_trainer_is_copied_and_pickled_and_trains_on(name):
    case = cases()[name]
    made = trainer(case)
    fit(made, case)
    others = [copy.deepcopy(made), pickle.loads(pickle.dumps(made))]
    fit(made, case)
    for other in others:
        fit(other, case)
        assert_same_end(other, made)


class _Keep(Callback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer, step, losses):
        if step == self.step:
            self.state, self.copy = trainer.state_dict(), copy.deepcopy(trainer)


@pytest.mark.parametrize("name", ["joint", "alternating", "phases", "mixture", "merged"])
def test_a_state_from_the_midst_of_a_run_goes_on(name):
    case = cases()[name]
    keep = _Keep(5)
    whole, other = trainer(case, [keep]), trainer(case)
    fit(whole, case)
    other.load_state_dict(keep.state)
    fit(other, case, resume=True)
    assert_same_end(other, whole)
    # a copy from the midst of it can be trained, too
    fit(keep.copy, case)
    assert keep.copy.history


@pytest.mark.parametrize("name", ["alternating", "phases", "mixture"])
def test_a_run_that_a_callback_ended_can_go_on_or_begin_anew(name):
    case = cases()[name]
    made, whole = trainer(case, [_Stop(3)]), trainer(case)
    fit(made, case)
    fit(whole, case)
    made.callbacks = ()
    fit(made, case, restart=True)
    assert_same_end(made, whole)
    fit(made, case)
    assert len(made.history) == len(whole.history)


@pytest.mark.parametrize("name", ["alternating", "uncertainty", "rlw", "phases", "merged"])
def test_restart_begins_anew(name):
    case = cases()[name]
    first, second = trainer(case), trainer(case)
    fit(first, case)
    fit(second, case)
    fit(second, case, restart=True)
    assert_same_end(second, first)


@pytest.mark.parametrize("name", ["joint", "alternating", "mixture"])
def test_a_second_fit_trains_on(name):
    case = cases()[name]
    made = trainer(case)
    fit(made, case)
    state = made.optimizers.state_dict()[0]["state"][0]["step"].clone()
    fit(made, case)
    assert made.optimizers.state_dict()[0]["state"][0]["step"] == 2 * state


class _Annealed(nn.Linear):
    """Keeps how often it was called in training in a buffer that is not stored."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.calls += self.training
        return super().forward(x) * (1 + 0.1 * self.calls)


class _Counted(nn.Linear):
    """Keeps how often it was called in training as extra state, which is no tensor."""

    calls = 0

    def forward(self, x):
        self.calls += self.training
        return super().forward(x) * (1 + 0.1 * self.calls)

    def get_extra_state(self):
        return {"calls": self.calls}

    def set_extra_state(self, state):
        self.calls = state["calls"]


@pytest.mark.parametrize(
    "layer, options",
    [
        (_Annealed, {}),
        (_Counted, {}),
        (_Counted, {"non_finite": "rollback", "non_finite_limit": 2}),
    ],
)
def test_what_a_module_counts_goes_on(layer, options, tmp_path):
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    data = TensorData(x, {"a": x.sum(1)})

    def made(folder):
        torch.manual_seed(0)
        network = HardSharing(layer(4, 3), {"a": nn.Linear(3, 1)})
        return Trainer(
            network, [Task.regression("a")], epochs=4, batch_size=8, patience=4, device="cpu",
            checkpoints=Checkpoints(folder, every=1, keep=100), **options,
        )  # fmt: skip

    whole = made(tmp_path / "whole")
    whole.fit(data, data)
    assert whole.network.trunk.calls
    written = sorted((tmp_path / "whole").glob("*.safetensors"))
    assert len(written) == 12
    for number, path in enumerate(written):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(path, folder)
        again = made(folder)
        again.fit(data, data, resume=True)
        assert again.network.trunk.calls == whole.network.trunk.calls
        assert torch.equal(again.network.trunk.weight, whole.network.trunk.weight)
    again.fit(data, data, restart=True)
    assert torch.equal(again.network.trunk.weight, whole.network.trunk.weight)


@pytest.mark.parametrize("name", ["upgrad", "imtl-g", "nash-mtl", "moco"])
def test_the_factors_of_tasks_in_float16_go_on(name, tmp_path):
    # the length of one task's gradient is a thousandth of the other's
    case = cases()["joint"] | {
        "balancer": lambda: balancer_from_name(name),
        "precision": "fp16",
        "weights": {"number": 1e-3},
    }
    whole = trainer(case)
    for checkpoint in every_checkpoint(whole, case, tmp_path / "all"):
        assert_same_end(resumed_from(checkpoint, case, tmp_path / "one"), whole)


class _Watch(Callback):
    """Keeps the trainer's state after each step and each epoch."""

    def __init__(self):
        self.states = []

    def on_step_end(self, trainer, step, losses):
        self.states.append(trainer.state_dict())

    def on_epoch_end(self, trainer, record):
        self.states.append(trainer.state_dict())


class _Balanced(Callback):
    """Keeps what the balancer made of the last step of each epoch."""

    def __init__(self):
        self.found = []

    def on_epoch_end(self, trainer, record):
        self.found.append(None if trainer.balanced is None else vars(trainer.balanced))


@pytest.mark.parametrize("name", ["uncertainty", "pcgrad", "nash-mtl, kept", "graddrop", "moco"])
def test_what_a_balancer_made_of_the_last_step_goes_on(name):
    case = cases()[name]
    watch, made = _Watch(), _Balanced()
    whole = trainer(case, [watch, made])
    fit(whole, case)
    for state in watch.states:
        again = _Balanced()
        other = trainer(case, [again])
        other.load_state_dict(state)
        fit(other, case, resume=True)
        assert_same_end(other, whole)
        left = len(again.found)
        assert_same(again.found, made.found[len(made.found) - left :])


def test_weights_of_an_epoch_whose_last_steps_are_left_out_go_on(tmp_path):
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    rows_of = [(row, row.sum(), row[0]) for row in x]
    rows_of[6] = (x[6].fill_(torch.inf), x[0].sum(), x[0, 0])  # in the last batch of each epoch

    def made(folder):
        torch.manual_seed(0)
        heads = {"a": nn.Linear(8, 1), "b": nn.Linear(8, 1)}
        return Trainer(
            HardSharing(nn.Linear(4, 8), heads), [Task.regression("a"), Task.regression("b")],
            balancer=balancer_from_name("upgrad"), epochs=2, device="cpu", non_finite="skip",
            non_finite_limit=9, checkpoints=Checkpoints(folder, every=1, keep=100),
        )  # fmt: skip

    whole = made(tmp_path / "whole")
    whole.fit(DataLoader(rows_of, 2))
    assert [record.skipped for record in whole.history] == [1, 1]
    assert all(record.weights for record in whole.history)
    for number, path in enumerate(sorted((tmp_path / "whole").glob("*.safetensors"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(path, folder)
        again = made(folder)
        again.fit(DataLoader(rows_of, 2), resume=True)
        assert again.history == whole.history


def test_a_state_of_a_release_without_what_a_balancer_made_loads():
    case = cases()["pcgrad"]
    watch = _Watch()
    whole = trainer(case, [watch])
    fit(whole, case)
    state = watch.states[1]
    del state["stretch"]["session"]["balanced"]
    other = trainer(case)
    other.load_state_dict(state)
    fit(other, case, resume=True)
    assert_same_end(other, whole)


class _Every(Callback):
    """Keeps the trainer's state at each call, by the hook that kept it."""

    def __init__(self):
        self.states = []

    def _keep(self, trainer, hook):
        self.states.append((hook, trainer.state_dict()))

    def on_fit_start(self, trainer):
        self._keep(trainer, "fit start")

    def on_step_end(self, trainer, step, losses):
        self._keep(trainer, "step")

    def on_epoch_end(self, trainer, record):
        self._keep(trainer, record.phase or "epoch")


_CALLED = {
    "joint": {},
    "alternating": {},
    "in turn, per task": {},
    "mixture, drawn": {},
    "streams": {},
    "early stopping": {"patience": 1, "epochs": 30},
    "frozen when converged": {"epochs": 30},
    "lowered when converged": {"patience": 1, "epochs": 30},
    "averaged, bf16": {"patience": 1, "epochs": 30},
    "phases": {},
    "merged": {},
    "merged, all options": {},
}


@pytest.mark.parametrize("name", _CALLED)
def test_a_state_that_any_hook_takes_goes_on(name):
    case = cases()[name] | _CALLED[name]
    every = _Every()
    whole = trainer(case, [every])
    fit(whole, case)
    for hook, state in every.states:
        other = trainer(case)
        other.load_state_dict(state)
        fit(other, case, resume=True)
        assert len(other.history) == len(whole.history), hook
        assert_same_end(other, whole)


def test_a_state_of_a_merge_without_tuned_heads_goes_on():
    case = cases()["merged"] | {"schedule": Merge("ties")}
    every = _Every()
    whole = trainer(case, [every])
    fit(whole, case)
    hook, state = every.states[-1]
    assert hook == "merge"
    other = trainer(case)
    other.load_state_dict(state)
    fit(other, case, resume=True)
    assert_same_end(other, whole)
    assert other.merged == whole.merged


@pytest.mark.parametrize("name", ["joint", "mixture, drawn", "phases", "merged"])
def test_a_state_taken_as_a_resumed_run_starts_goes_on(name):
    case = cases()[name]
    every = _Every()
    whole = trainer(case, [every])
    fit(whole, case)
    for _, state in every.states[:: max(1, len(every.states) // 5)]:
        again = _Every()
        second = trainer(case, [again])
        second.load_state_dict(state)
        fit(second, case, resume=True)
        assert again.states[0][0] == "fit start"
        third = trainer(case)
        third.load_state_dict(again.states[0][1])
        fit(third, case, resume=True)
        assert_same_end(third, whole)


def _own_order():
    """Return a loader that draws the order of its rows from a generator of its own."""
    generator = torch.Generator().manual_seed(1)
    data = rows()
    pairs = [
        (data.inputs[i], {name: target[i] for name, target in data.targets.items()})
        for i in range(len(data))
    ]
    return DataLoader(pairs, 5, shuffle=True, generator=generator)


@pytest.mark.parametrize(
    ("options", "also_validates"),
    [
        ({"schedule": Merge("mean", head_epochs=1), "epochs": 2}, False),
        # a pass ends in the midst of an epoch, and validation draws from the same generator
        ({"schedule": Alternating("round_robin"), "epochs": 2}, True),
    ],
)
def test_a_loaders_own_generator_goes_on(options, also_validates):
    case = cases()["joint"] | options

    def fitted(made, **more):
        loader = _own_order()
        made.fit(loader, loader if also_validates else rows(9, 8), **more)

    watch = _Watch()
    whole = trainer(case, [watch])
    fitted(whole)
    for state in watch.states:
        other = trainer(case)
        other.load_state_dict(state)
        fitted(other, resume=True)
        assert_same_end(other, whole)
