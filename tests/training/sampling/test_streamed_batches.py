"""Batches of a stream of rows, as a trainer draws them."""

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from jointrain.data import RowStream, TensorData, TypedRows
from jointrain.errors import InvalidInputError
from jointrain.networks import MLP, HardSharing
from jointrain.task import Task
from jointrain.training import Alternating, Callback, Trainer
from jointrain.training.checkpoints import Checkpoints
from jointrain.training.sampling import TaskSets

TASKS = [Task("a", "regression"), Task("b", "binary", (0, 1))]
ROWS = 90


def values():
    """Return inputs and targets of all rows, some labels of `b` missing."""
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, 3)).astype(np.float32)
    a = x @ np.array([1, 2, 0], np.float32)
    b = np.where(random.random(ROWS) < 0.3, np.nan, x[:, 2] > 0)
    return x, a, b.astype(np.float32)


def stream(workers=1, pieces=(30, 0, 25, 35)):
    x, a, b = values()
    starts = np.cumsum([0, *pieces])

    def read(number):
        rows = np.arange(starts[number], starts[number + 1])
        flags = np.ones(len(rows), dtype=bool)
        return TypedRows(pl.DataFrame({"row": rows}), np.zeros((len(rows), 0)), None, ~flags, flags)

    def encode(typed):
        rows = typed.frame["row"].to_numpy()
        return TensorData(
            torch.from_numpy(x[rows]),
            {"a": torch.from_numpy(a[rows]), "b": torch.from_numpy(b[rows])},
        )

    labels = {"a": ROWS, "b": int(np.isfinite(b).sum())}
    return RowStream(read, encode, pieces, labels, 3, buffer_rows=40, workers=workers)


def network():
    torch.manual_seed(0)
    return HardSharing(
        MLP(3, width=8, depth=1, dropout=0.0), {task.name: nn.Linear(8, 1) for task in TASKS}
    )


def opened(data, batch_size=16):
    by_name = {task.name: task for task in TASKS}
    cpu = torch.device("cpu")
    return TaskSets.of(data, by_name, "training", batch_size=batch_size, device=cpu)


def test_a_trainer_sees_every_row_once_an_epoch_and_labels_are_counted():
    sets = opened(stream())
    assert sets.labels == {"a": ROWS, "b": int(np.isfinite(values()[2]).sum())}
    assert sets.together == 6
    a = values()[1]
    for _ in range(2):
        drawn = [batch for _ in range(6) for batch in sets.draw(["a", "b"])]
        seen = torch.cat([batch.data.targets["a"] for batch in drawn])
        assert seen.sort().values.tolist() == sorted(a.tolist())
    assert drawn[0].complete == (True, False)
    assert drawn[0].present.tolist() == [True, True]
    sets.close()


def test_evaluation_goes_through_all_rows_in_order():
    seen = torch.cat([batch.data.inputs for batch in opened(stream()).once()])
    assert (seen.numpy() == values()[0]).all()


def test_a_step_on_a_stream_equals_one_on_the_same_rows_in_memory():
    x, a, b = values()
    data = TensorData(torch.from_numpy(x), {"a": torch.from_numpy(a), "b": torch.from_numpy(b)})
    losses = []
    for given in (stream(), data):
        trainer = Trainer(network(), TASKS, epochs=3, batch_size=1000, device="cpu")
        losses.append([record.training for record in trainer.fit(given)])
    for one, other in zip(*losses, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("schedule", [None, Alternating()])
@pytest.mark.parametrize("workers", [0, 3])
def test_a_run_that_is_stopped_in_an_epoch_goes_on_with_the_same_bits(tmp_path, schedule, workers):
    class Stop(Exception):
        pass

    def trainer(folder=None, stop=None):
        class Stopper(Callback):
            def on_step_end(self, trainer, step, losses):
                if step == stop:
                    raise Stop

        points = None if folder is None else Checkpoints(folder, every=1)
        return Trainer(
            network(), TASKS, schedule=schedule, epochs=2, batch_size=16, device="cpu",
            checkpoints=points, callbacks=[Stopper()],
        )  # fmt: skip

    whole = trainer()
    whole.fit(stream())
    with pytest.raises(Stop):
        trainer(tmp_path, stop=5).fit(stream())
    resumed = trainer(tmp_path)
    # another number of workers reads the rows in the same order
    resumed.fit(stream(workers), resume=True)
    for name, weight in whole.network.state_dict().items():
        assert (resumed.network.state_dict()[name] == weight).all(), name
    assert resumed.history == whole.history


def test_a_task_without_labels_in_the_stream_is_refused():
    tasks = [*TASKS, Task("c", "regression")]
    made = HardSharing(MLP(3, width=8, depth=1), {task.name: nn.Linear(8, 1) for task in tasks})
    with pytest.raises(InvalidInputError, match="'c'"):
        Trainer(made, tasks, epochs=1, device="cpu").fit(stream())
