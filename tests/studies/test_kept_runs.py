"""Runs that a study keeps, read without the study."""

from pathlib import Path

import polars as pl
import pytest

from jointrain import InvalidInputError, Task
from jointrain.studies import KeptRuns, write_runs
from jointrain.studies._run_store import RunStore


def job(name: str, seed: int, value: float) -> list[dict]:
    row = {
        "recipe": name, "seed": seed, "fold": 0, "task": "y", "metric": "RMSE", "value": value,
        "train_rows": 8, "test_rows": 2, "seconds": 1.0,
    }  # fmt: skip
    return [{"name": name, "seed": seed, "fold": 0, "rows": [row]}]


def test_a_run_that_was_made_again_counts_once_and_as_it_was_last(tmp_path: Path):
    described = {"recipes": ["separate", "joint"], "baselines": [], "folds": 1, "seeds": 2}
    store = RunStore.open(tmp_path, described)
    with store.session():
        for key, result in {
            "first": job("separate", 0, 1.0) + job("joint", 0, 2.0),
            "second": job("separate", 0, 1.5) + job("separate", 1, 3.0),
        }.items():
            store.finish(store.claim([key]), result)
    kept = KeptRuns.of_store(tmp_path)
    assert (kept.done, kept.planned, kept.finished) == (3, 4, False)
    found = kept.table.filter(pl.col("recipe") == "separate").sort("seed")
    assert found["value"].to_list() == [1.5, 3.0]


def test_a_study_that_goes_on_with_more_is_not_finished(tmp_path: Path):
    described = {"recipes": ["separate"], "baselines": ["linear"], "folds": 1, "seeds": 1}

    def go_on(seeds: int, baselines: list[str], results: dict[str, list[dict]]) -> KeptRuns:
        asked = {**described, "baselines": baselines, "seeds": seeds}
        store = RunStore.open(tmp_path, asked, free=("seeds", "baselines"))
        with store.session():
            for key, result in results.items():
                store.finish(store.claim([key]), result)
        return KeptRuns.of_store(tmp_path)

    first = {"a": job("separate", 0, 1.0), "b": job("linear", 0, 2.0)}
    assert go_on(1, ["linear"], first).finished
    kept = go_on(3, ["constant"], {"c": job("separate", 2, 1.5)})
    assert (kept.done, kept.planned, kept.recipes) == (2, 6, ("separate", "constant"))
    assert not kept.finished
    # as it was last asked for, whatever else is there
    kept = go_on(1, ["linear"], {})
    assert (kept.done, kept.planned, kept.finished) == (2, 2, True)
    assert kept.table["seed"].to_list() == [0, 0]


def test_folds_that_are_no_number_are_refused_in_words(tmp_path: Path):
    described = {"recipes": ["separate"], "baselines": [], "folds": "a", "seeds": 2}
    store = RunStore.open(tmp_path, described)
    with store.session():
        store.finish(store.claim(["first"]), job("separate", 0, 1.0))
    with pytest.raises(InvalidInputError, match="did not write"):
        KeptRuns.of_store(tmp_path)


@pytest.mark.parametrize("name", ["recipe", "task", "metric", "fold", "seed"])
def test_rows_that_do_not_say_of_what_they_are_are_refused_in_words(tmp_path: Path, name: str):
    described = {"recipes": ["separate"], "baselines": [], "folds": 1, "seeds": 1}
    result = job("separate", 0, 1.0)
    result[0]["rows"][0][name] = None
    store = RunStore.open(tmp_path, described)
    with store.session():
        store.finish(store.claim(["first"]), result)
    with pytest.raises(InvalidInputError, match="did not write"):
        KeptRuns.of_store(tmp_path)
    path = tmp_path / "results.parquet"
    pl.DataFrame(result[0]["rows"]).write_parquet(path)
    with pytest.raises(InvalidInputError, match="damaged, or of another version"):
        KeptRuns.of_table(path)


def test_runs_of_loops_without_row_numbers_are_judged(tmp_path: Path):
    rows = [
        {"recipe": name, "seed": 0, "fold": fold, "task": "y", "metric": "RMSE",
         "value": value + 0.01 * fold, "train_rows": 0, "test_rows": 0}
        for name, value in (("separate", 1.0), ("joint", 0.5)) for fold in range(3)
    ]  # fmt: skip
    KeptRuns(pl.DataFrame(rows), ("separate", "joint"), 6, 6).judged("separate")
    some = [{**row, "test_rows": row["fold"]} for row in rows]
    with pytest.raises(InvalidInputError, match="0 test rows"):
        KeptRuns(pl.DataFrame(some), ("separate", "joint"), 6, 6).judged("separate")


def _of_two_metrics() -> pl.DataFrame:
    values = {
        "separate": {"ROC-AUC": 0.8, "log-loss": 0.5},
        "joint": {"ROC-AUC": 0.85, "log-loss": 0.55},
    }
    return pl.DataFrame(
        [
            {"recipe": name, "seed": 0, "fold": fold, "task": "y", "metric": metric,
             "value": value + 0.001 * fold * len(name), "train_rows": 8, "test_rows": 2}
            for name, by_metric in values.items()
            for metric, value in by_metric.items()
            for fold in range(3)
        ]
    )  # fmt: skip


def test_a_written_table_is_judged_by_the_metric_that_decides(tmp_path: Path):
    path = tmp_path / "results.parquet"
    task = Task.binary("y").judged_by("log-loss")
    write_runs(_of_two_metrics(), [task], path)
    kept = KeptRuns.of_table(path)
    assert kept.table["metric"].unique().to_list() == ["log-loss"]
    assert kept.judged("separate").comparisons["joint"]["y"].change < 0


def test_an_older_table_is_judged_by_the_first_metric_with_a_note(tmp_path: Path):
    path = tmp_path / "results.parquet"
    _of_two_metrics().write_parquet(path)
    kept = KeptRuns.of_table(path)
    assert kept.table["metric"].unique().to_list() == ["ROC-AUC"]
    assert "y by ROC-AUC" in kept.judged("separate").notes[0]
    _of_two_metrics().filter(metric="ROC-AUC").write_parquet(path)
    assert KeptRuns.of_table(path).notes == ()
