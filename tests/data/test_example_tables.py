"""Tables that come with jointrain."""

import polars as pl

from jointrain import SupervisedTable, load_energy_efficiency


def test_the_energy_efficiency_table_has_its_targets_and_features():
    frame = load_energy_efficiency()
    assert frame.shape == (768, 10)
    assert frame.null_count().sum_horizontal().item() == 0
    assert all(dtype.is_numeric() for dtype in frame.dtypes)
    # figures of the source's first row, and its largest loads
    assert frame.row(0) == (0.98, 514.5, 294, 110.25, 7, 2, 0, 0, 15.55, 21.33)
    assert frame.select(pl.max("heating_load", "cooling_load")).row(0) == (43.1, 48.03)
    table = SupervisedTable.prepare(frame, ["heating_load", "cooling_load"])
    assert [task.kind for task in table.tasks] == ["regression", "regression"]
    assert len(table.columns) == 8
