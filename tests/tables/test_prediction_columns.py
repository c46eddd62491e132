"""Names of the columns of predictions: none stands for two things."""

import numpy as np

from jointrain.tables._calibration import Calibration
from jointrain.tables._conformal import Residuals
from jointrain.tables._table_predictor import TablePredictor
from jointrain.task import Task

RESIDUALS = Residuals.of(np.zeros(50), np.linspace(-1, 1, 50))


class Fixed(TablePredictor):
    """Predicts the same for every row."""

    calibration = Calibration(
        residuals={
            name: Residuals.of(np.zeros(50), np.linspace(-1, 1, 50)) for name in ("n", "n_low")
        }
    )

    @property
    def predicted_tasks(self):
        return (
            Task.binary("t", classes=("a", "b")),
            Task.binary("t=a", classes=("u", "v")),
            Task.regression("n"),
            Task.regression("n_low"),
        )

    def predict(self, frame):
        return {
            "t": np.array([0.25, 0.75]),
            "t=a": np.array([0.9, 0.1]),
            "n": np.array([5.0, 6.0]),
            "n_low": np.array([7.0, 8.0]),
        }


def test_a_target_named_like_a_probability_or_an_interval_keeps_its_column():
    table = Fixed().predict_table(None, intervals=0.5)
    assert len(set(table.columns)) == len(table.columns) == 4 + 4 + 4
    assert table["t"].to_list() == ["a", "b"]
    assert table["t=a"].to_list() == ["v", "u"]
    assert table["t=a (probability)"].to_list() == [0.75, 0.25]
    assert table["t=a=u"].to_numpy().round(6).tolist() == [0.1, 0.9]
    assert table["n_low"].to_list() == [7, 8]
    assert (table["n_low (interval)"] < table["n"]).all()
    assert (table["n_low_low"] < table["n_low"]).all()
