"""Which room may import which: docs/architecture.md as a test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import jointrain

SOURCE = Path(jointrain.__file__).parent
TESTS = Path(__file__).parent

ROOMS = (
    "errors",
    "options",
    "system",
    "charts",
    "metrics",
    "task",
    "balancing",
    "networks",
    "data",
    "training",
    "baselines",
    "experiments",
    "tables",
    "studies",
    "reports",
    "bundle",
    "serving",
    "exporting",
    "estimators",
    "testing",
    "integrations",
    "cli",
    "__main__",
)
"""A room imports those before it."""

NOT = {
    ("balancing", "task"),
    ("balancing", "metrics"),
    ("networks", "balancing"),
    ("data", "networks"),
    ("data", "balancing"),
    ("reports", "cli"),
}
"""Earlier rooms that a room does without all the same."""


def _modules() -> dict[str, Path]:
    return {
        ".".join(("jointrain", *file.relative_to(SOURCE).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): file
        for file in SOURCE.rglob("*.py")
    }


MODULES = _modules()


def _imports(name: str) -> Iterator[str]:
    """Yield the modules of jointrain that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("jointrain."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jointrain"):
            assert node.module
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            named = [one.value for one in node.args if isinstance(one, ast.Constant)]
            yield from (one for one in named if str(one).startswith("jointrain."))


IMPORTS = {name: set(_imports(name)) for name in MODULES}


def _room(module: str) -> str:
    return [*module.split("."), ""][1]


def test_all_rooms_are_known():
    assert {_room(name) for name in MODULES} - {""} == set(ROOMS)


def test_a_room_imports_earlier_rooms_only():
    wrong = [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        for other in others
        if _room(name) and _room(other) and _room(name) != _room(other)
        if ROOMS.index(_room(other)) > ROOMS.index(_room(name))
        or (_room(name), _room(other)) in NOT
    ]
    assert not wrong


def test_no_room_reaches_into_the_private_file_of_another():
    wrong = [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        for other in others
        if any(part.startswith("_") for part in other.split(".")[2:])
        if _room(other) != _room(name)
    ]
    assert not wrong


def _sub_room(module: str) -> str:
    """Return the folder within `balancing` that a module lies in, if it does."""
    parts = module.split(".")
    folder = ".".join(parts[:3])
    is_folder = folder in MODULES and MODULES[folder].name == "__init__.py"
    return folder if parts[1:2] == ["balancing"] and is_folder else ""


def test_no_room_reaches_into_the_private_file_of_a_room_within_balancing():
    wrong = [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        for other in others
        if _sub_room(other) and other != _sub_room(other) and _sub_room(other) != _sub_room(name)
    ]
    assert not wrong


def test_no_circle_of_imports():
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


TESTED_IN = {
    "balancing/aggregation/*": "conformance/test_every_method.py",
    "balancing/weighting/*": "conformance/test_every_method.py",
    "balancing/pipelines/*": "balancing/test_backward.py",
    "balancing/engine/_agreement*": "balancing/test_distributed.py",
    "balancing/engine/_comparison.py": "balancing/test_distributed.py",
    "balancing/engine/_messages*": "balancing/test_distributed.py",
    "balancing/engine/_distributed.py": "balancing/test_distributed.py",
    "balancing/engine/_ranks.py": "balancing/test_distributed.py",
    "balancing/engine/_replicas.py": "balancing/test_distributed.py",
    "balancing/engine/_sharded.py": "balancing/test_distributed.py",
    "balancing/engine/_boundary.py": "balancing/engine/test_graph.py",
    "balancing/engine/_gradients.py": "balancing/engine/test_rows.py",
    "balancing/engine/_prepare.py": "balancing/engine/test_step.py",
    "balancing/engine/_sparse.py": "balancing/test_kinds_of_graph.py",
    "system/stop_signals.py": "faults/test_processes.py",
    "balancing/_process*": "balancing/test_distributed.py",
    "balancing/_task_scales.py": "conformance/test_half_precision.py",
    "balancing/_*": "balancing/test_backward.py",
    "baselines/*": "baselines/test_baselines.py",
    "bundle/*": "bundle/test_bundle.py",
    "charts/*": "charts/test_charts.py",
    "cli/*": "cli/test_commands.py",
    "data/_arrow_files.py": "data/test_table_source.py",
    "data/_blocks.py": "data/test_encoder.py",
    "data/_compression.py": "data/test_table_source.py",
    "data/_date_reading.py": "data/test_date_text.py",
    "data/_dialect.py": "data/test_separated_text.py",
    "data/_number_reading.py": "data/test_number_text.py",
    "data/_plain_blocks.py": "data/test_plain_encoder.py",
    "data/streaming/*": "data/streaming/test_streamed_table.py",
    "data/*": "data/test_tables.py",
    "estimators/*": "estimators/test_estimators.py",
    "experiments/_any_experiment.py": "studies/test_study.py",
    "experiments/_fold.py": "studies/test_study.py",
    "experiments/_recipe_runs.py": "studies/test_study.py",
    "experiments/_job_*.py": "studies/test_study.py",
    "experiments/*": "experiments/test_experiment.py",
    "exporting/*": "exporting/test_export.py",
    "networks/_joined_rows.py": "training/test_ranks.py",
    "networks/_table_settings.py": "networks/test_registry.py",
    "reports/*": "reports/test_summary.py",
    "reports/page/*": "reports/page/test_page.py",
    "serving/*": "serving/test_app.py",
    "studies/searches/_affinity_plot.py": "studies/searches/test_affinity.py",
    "studies/searches/_gain_predictor.py": "studies/searches/test_group.py",
    "studies/searches/_own_blocks.py": "studies/searches/test_share.py",
    "studies/searches/_split_networks.py": "studies/searches/test_share.py",
    "studies/_decision.py": "reports/test_answer.py",
    "studies/_cuts.py": "studies/test_budget.py",
    "studies/_pace.py": "studies/test_budget.py",
    "studies/*": "studies/test_study.py",
    "system/folder_classes.py": "balancing/test_names.py",
    "system/worker_processes.py": "faults/test_processes.py",
    "system/executors/_extras.py": "system/executors/test_dask.py",
    "tables/_blended_model.py": "studies/test_shipped_model.py",
    "tables/_fit_table.py": "tables/test_table_model.py",
    "tables/_network_runs.py": "tables/test_table_model.py",
    "tables/_rows_as_trained.py": "cli/test_commands.py",
    "tables/_table_predictor.py": "tables/test_table_model.py",
    "tables/_training_reference.py": "cli/test_evaluate.py",
    "tables/_fold_runs.py": "studies/test_study.py",
    "tables/_table_experiment.py": "studies/test_study.py",
    "task/*": "task/test_task.py",
    "testing/*": "conformance/test_every_method.py",
    "training/_placement.py": "training/test_ranks.py",
    "training/_sharding.py": "training/test_ranks.py",
    "training/checkpoints/_shard_files.py": "training/test_ranks.py",
    "training/population/*": "training/population/test_population.py",
    "training/sampling/_batch.py": "training/sampling/test_batches.py",
    "training/sampling/_row_shares.py": "training/test_ranks.py",
    "training/pretraining/*": "training/pretraining/test_pretrain.py",
    "training/_run_checkpoints.py": "training/checkpoints/test_checkpoints.py",
    "training/*": "training/test_trainer.py",
}
"""Where a module is tested that has no test file of its own; the first pattern that fits counts."""


def test_every_module_is_tested_somewhere():
    files = [file.relative_to(SOURCE) for file in SOURCE.rglob("*.py")]
    homeless = []
    for file in files:
        if file.name in ("__init__.py", "__main__.py") or not file.parent.name:
            continue
        own = TESTS / file.parent / f"test_{file.stem.lstrip('_')}.py"
        named = next((test for pattern, test in TESTED_IN.items() if file.match(pattern)), None)
        if not own.exists() and (named is None or not (TESTS / named).exists()):
            homeless.append(file.as_posix())
    assert not homeless


def test_what_the_pages_import_has_a_page_in_the_reference():
    docs = TESTS.parent / "docs"
    nav = (docs.parent / "mkdocs.yml").read_text()
    used = {
        match[1]
        for page in (docs.parent / "README.md", *docs.glob("*.md"))
        for match in re.finditer(r"^from jointrain\.([\w.]+) import", page.read_text(), re.M)
    }
    # the names of the inner folders are those of the room, too
    inner = ("balancing.", "integrations.")
    lacking = [one for one in used if f"reference/{one}.md" not in nav]
    assert [one for one in lacking if not one.startswith(inner)] == []
