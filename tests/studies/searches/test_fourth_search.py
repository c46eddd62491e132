"""A search of one's own, over networks, is as small as can be and has all that the others have."""

import inspect
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Unpack

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from jointrain import SupervisedTable, Task, TensorData
from jointrain.errors import InvalidInputError
from jointrain.experiments import SEPARATE, AnyExperiment, Experiment, Folds, Recipe
from jointrain.networks import HardSharing, Network
from jointrain.reports import (
    PAGE,
    CandidateWords,
    SearchReport,
    report_search,
    search_figures,
    write_page,
)
from jointrain.studies.searches import (
    RecipeSearchResult,
    SearchOptions,
    apart,
    open_search,
    search_weights,
)
from tests.studies._tables import QUICK, mixed_table

NETWORKS = ("mmoe", "cgc", "cross-stitch")
FEW = {"folds": 2, "seeds": 1, "workers": 1}


def search_networks(
    experiment: AnyExperiment | SupervisedTable,
    recipe: Recipe | None = None,
    networks: Sequence[str | Callable[..., Network]] = NETWORKS,
    **options: Unpack[SearchOptions],
) -> RecipeSearchResult:
    """Search for the network with the best cross-validated metrics.

    Args:
        experiment: A table, or an `Experiment`; all its rows are inner rows.
        recipe: What to train, but for the network, which is the plain choice.
        networks: The others, by name or as what makes them.
        **options: How it is measured, see `SearchOptions`.

    Raises:
        InvalidInputError: The recipe trains tasks separately, or a number is outside its range.
    """
    why_not = "separate models share no network"
    recipe, evaluator = open_search(experiment, recipe, why_not, trials=len(networks), **options)
    plain = replace(recipe, name="hard-sharing")
    evaluator.run_first([apart(recipe), plain], plain.name)
    left = [
        replace(recipe, name=getattr(one, "__name__", str(one)), network=one) for one in networks
    ]
    for count in evaluator.batches(len(networks), 2, "networks"):
        evaluator.run(left[:count])
        left = left[count:]
    choices = [name for name in evaluator.names if name != SEPARATE]
    found = evaluator.candidates(SEPARATE, plain.name, choices)
    return RecipeSearchResult(found, evaluator.recipes)


def report_networks(result: RecipeSearchResult) -> SearchReport:
    """Return the report of a search for a network."""
    words = CandidateWords(
        "Networks", "network", "networks", do="Share by {}".format, flag="--network {}".format
    )
    return report_search(result, words)


def test_it_is_sixty_lines():
    made = [search_networks, report_networks]
    assert sum(len(inspect.getsource(one).splitlines()) for one in made) <= 60


@pytest.fixture(scope="module")
def found():
    return search_networks(mixed_table(), QUICK, **FEW)


def test_it_chooses_among_recipes(found):
    assert found.candidates.names == (SEPARATE, "hard-sharing", *NETWORKS)
    assert found.candidates.choices == ("hard-sharing", *NETWORKS)
    scores = {name: found.candidates.score(name) for name in found.candidates.choices}
    assert found.chosen == max(scores, key=scores.get)
    assert found.recipe() == found.recipe(found.chosen) == found.recipes[found.chosen]
    assert found.recipe("mmoe") == replace(QUICK, name="mmoe", network="mmoe")
    assert found.recommended in found.candidates.choices


def test_its_frame_and_chart_are_those_of_all_searches(found):
    frame = found.to_frame()
    weights = search_weights(mixed_table(), QUICK, trials=1, **FEW).to_frame()
    assert frame.schema == weights.schema
    assert len(frame) == 5 * 3
    assert frame.filter(pl.col("recommended"))["candidate"].unique().to_list() == [
        found.recommended
    ]
    assert found.plot().to_dict()
    assert "<" in found._repr_html_()


def test_its_report_has_answer_tables_json_and_page(found, tmp_path):
    report = report_networks(found)
    assert report.answer[0].startswith(f"Share by {found.recommended}: ")
    assert report.flag == f"--network {found.recommended}"
    assert {row[0] for row in report.tables[0][2]} == set(found.candidates.names)
    assert json.loads(json.dumps(report.json))["recommended"] == found.recommended
    assert "## Networks" in report.markdown("which network?")
    write_page(search_figures(report, "which network?"), tmp_path)
    page = (tmp_path / PAGE).read_text()
    assert report.answer[0] in page
    assert all(name in page for name in NETWORKS)


def test_workers_and_executors_change_no_bit(found):
    for how in ({"workers": 2}, {"workers": None, "executor": ThreadPoolExecutor(1)}):
        again = search_networks(mixed_table(), QUICK, **FEW | how)
        assert again.candidates.table.equals(found.candidates.table)


def test_it_tells_its_progress_and_what_is_known(found):
    told, interim = [], []
    search_networks(
        mixed_table(), QUICK, ("mmoe",), importance={"price": 0.0}, margin=2.0,
        progress=lambda done, total: told.append((done, total)), on_interim=interim.append, **FEW,
    )  # fmt: skip
    assert told[-1] == (2, 2)
    assert interim


def test_a_budget_ends_it_with_a_note(here):
    found = search_networks(
        mixed_table(), QUICK, **FEW | {"budget": 1e-3, "started": time.monotonic()}
    )
    assert found.candidates.names == (SEPARATE, "hard-sharing")
    assert "budget of 0.001 s: 0 of 3 networks were measured" in found.candidates.notes
    assert found.recommended == "hard-sharing"
    report = report_networks(found)
    assert "too few folds to decide" in report.answer[0]
    assert report.json["notes"] == list(found.candidates.notes)


def test_a_large_budget_finds_the_same(here, found):
    again = search_networks(mixed_table(), QUICK, **FEW | {"budget": 1000.0})
    assert again.candidates.names == found.candidates.names
    for name in found.candidates.names:
        np.testing.assert_allclose(
            again.candidates.values(name, "price", "RMSE"),
            found.candidates.values(name, "price", "RMSE"),
            rtol=1e-4,
        )


def one_layer(tasks):
    return HardSharing(nn.Linear(4, 8), {task.name: nn.Linear(8, 1) for task in tasks})


def broken(tasks):
    if len(tasks) == 1:
        return one_layer(tasks)
    raise RuntimeError("no room")


def own(network):
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    data = TensorData(x, {"a": x.sum(1), "b": x[:, 0]})
    return Experiment([Task.regression("a"), Task.regression("b")], network, data, Folds(2))


def test_a_candidate_that_fails_is_left_out_with_its_error():
    found = search_networks(
        own(one_layer), Recipe(epochs=2), (broken, one_layer), seeds=1, workers=1
    )
    assert found.candidates.choices == ("hard-sharing", "one_layer")
    (note,) = found.candidates.notes
    assert note.startswith("recipe broken failed and was left out: ")
    assert note.endswith("RuntimeError: no room")
    assert "broken" not in found.recipes
    assert len(found.to_frame()) == 3 * 2


def test_a_plain_choice_that_fails_is_said():
    recipe = Recipe(network=broken, epochs=2)
    with pytest.raises(InvalidInputError, match=r"recipe 'hard-sharing' failed, with .*: no room"):
        search_networks(own(one_layer), recipe, (one_layer,), seeds=1, workers=1)


def test_what_is_no_search_is_refused():
    with pytest.raises(InvalidInputError, match="separate models share no network; give a recipe"):
        search_networks(mixed_table(), apart(QUICK), **FEW)
    with pytest.raises(InvalidInputError, match="`trials` must be at least 1, got 0"):
        search_networks(mixed_table(), QUICK, (), **FEW)
