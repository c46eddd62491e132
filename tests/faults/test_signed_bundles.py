"""Bundles whose arrays and values are damaged with sense, and signed again as an attacker would."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from jointrain import (
    InvalidInputError,
    Recipe,
    SupervisedTable,
    fit_table,
    load_bundle,
    load_penguins,
    save_bundle,
)
from jointrain.cli import run
from jointrain.tables._blended_model import BlendedModel, fit_baseline_to

sys.path.insert(0, str(Path(__file__).parent))

import mutants

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")

NAMES = [
    "extra trees", "gradient boosting", "linear", "constant", "random forest joint",
    *(name for name in ("lightgbm", "catboost") if find_spec(name)),
]  # fmt: skip
"""The components, in the order of their folders; behind them the networks."""

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def blend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle with a component of each kind."""
    folder = tmp_path_factory.mktemp("blend")
    load_penguins().write_csv(folder / "penguins.csv")
    table = SupervisedTable.prepare(load_penguins(), ["species", "sex", "body_mass_g"])
    classes = table.only(["species", "sex"])
    components: dict[str, Any] = {
        name: fit_baseline_to(name, classes if name.endswith(" joint") else table, 1)
        for name in NAMES
    }
    components["networks"] = fit_table(table, Recipe(width=8, epochs=1, bins=4), seed=1)
    weights = {}
    for task in table.tasks:
        of_task = [name for name, one in components.items() if task in one.tasks]
        weights[task.name] = {name: 1 / len(of_task) for name in of_task}
    save_bundle(BlendedModel(table.tasks, table.columns, components, weights), folder / "model")
    return folder / "model"


def _changed(blend: Path, folder: Path, component: str, change: Callable[[Arrays], Any]) -> Path:
    """Return a copy of the bundle in which the arrays of a component's models are others."""
    path = Path(shutil.copytree(blend, folder / "model"))
    file = path / "components" / str(NAMES.index(component)) / "baseline.safetensors"
    arrays = load(file.read_bytes())
    arrays = change(arrays) or arrays
    file.write_bytes(save({name: np.ascontiguousarray(value) for name, value in arrays.items()}))
    mutants.sign(path)
    return path


def _set(name: str, place: Any, value: Any) -> Callable[[Arrays], Any]:
    def change(arrays: Arrays) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name][place] = value

    return change


def _replaced(**others: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Any]:
    """Return a change of whole arrays of the first model."""

    def change(arrays: Arrays) -> None:
        for key, other in others.items():
            arrays[f"0.{key}"] = other(arrays[f"0.{key}"])

    return change


def _a_leaf_that_splits(arrays: Arrays) -> None:
    """Make the first leaf a node whose children are the root: a way without an end."""
    leaf = int(np.flatnonzero(arrays["0.feature"] == -1)[0])
    for name, value in (("feature", 0), ("left", 0), ("right", 0)):
        arrays[f"0.{name}"] = arrays[f"0.{name}"].copy()
        arrays[f"0.{name}"][leaf] = value


def _flipped(arrays: Arrays) -> None:
    """Flip bits of each array as a damaged disk would."""
    random = np.random.default_rng(0)
    for name, array in arrays.items():
        data = bytearray(array.tobytes())
        for place in random.integers(len(data), size=3):
            data[place] ^= 0xFF
        arrays[name] = np.frombuffer(bytes(data), array.dtype).reshape(array.shape)


def _no_nodes(arrays: Arrays) -> None:
    for name in ("feature", "threshold", "left", "right", "value", "outputs"):
        arrays[f"0.{name}"] = arrays[f"0.{name}"][:0]
    arrays["0.starts"] = arrays["0.starts"][:1]


def _two_million_trees(arrays: Arrays) -> None:
    """Make each node a tree."""
    arrays["0.starts"] = np.arange(2_000_001, dtype=np.int64)
    arrays["0.outputs"] = np.zeros(2_000_000, dtype=np.int64)
    for name, value in (("feature", -1), ("left", -1), ("right", -1), ("threshold", 0)):
        arrays[f"0.{name}"] = np.full(2_000_000, value, arrays[f"0.{name}"].dtype)
    arrays["0.value"] = np.zeros((2_000_000, 1))


def _a_chain(arrays: Arrays) -> None:
    """Make the only tree one of 100,000 levels."""
    levels = 100_000
    nodes = 2 * levels + 1
    inner = np.arange(nodes) % 2 == 0
    inner[-1] = False
    arrays["0.starts"] = np.array([0, nodes])
    arrays["0.outputs"] = np.zeros(1, dtype=np.int64)
    arrays["0.feature"] = np.where(inner, 0, -1).astype(np.int32)
    arrays["0.left"] = np.where(inner, np.arange(nodes) + 1, -1).astype(np.int32)
    arrays["0.right"] = np.where(inner, np.arange(nodes) + 2, -1).astype(np.int32)
    arrays["0.threshold"] = np.zeros(nodes)
    arrays["0.value"] = np.zeros((nodes, arrays["0.value"].shape[1]))


# what crashed the libraries that read trees before, in arrays of today
TWINS: dict[str, tuple[str, Callable[[Arrays], Any], str]] = {
    "child out of range": ("lightgbm", _set("0.left", 0, 1_000_000), "do not form a tree"),
    "root as its own child": ("lightgbm", _set("0.left", 0, 0), "do not form a tree"),
    "way without an end": ("lightgbm", _a_leaf_that_splits, "do not form a tree"),
    "a billion leaves": (
        "lightgbm", _set("0.starts", slice(1, None), 10**9), "do not fill its arrays",
    ),
    "counts that wrap around": (
        "extra trees", _set("0.starts", slice(1, None, 2), -(2**63)), "do not fill its arrays",
    ),
    "no nodes": ("gradient boosting", _no_nodes, "has not 1 to"),
    "flipped bits": ("catboost", _flipped, "baseline"),
}  # fmt: skip

MORE: dict[str, tuple[str, Callable[[Arrays], Any], str]] = {
    "two million trees": ("gradient boosting", _two_million_trees, "has not 1 to 1,000,000"),
    "100,000 levels": ("extra trees", _a_chain, "more than 4096 levels"),
    "input that is not there": ("lightgbm", _set("0.feature", 0, 2**31 - 1), "input that is not"),
    "negative input": ("lightgbm", _set("0.feature", 0, -2), "input that is not there"),
    "output that is not there": ("lightgbm", _set("0.outputs", 0, 2**62), "output that is not"),
    "negative output": ("lightgbm", _set("0.outputs", 0, -1), "output that is not there"),
    "start below 0": ("extra trees", _set("0.starts", 0, -1), "do not fill its arrays"),
    "empty tree": ("extra trees", _set("0.starts", 1, 0), "do not fill its arrays"),
    "threshold NaN": ("extra trees", _set("0.threshold", 0, np.nan), "no number"),
    "leaf infinite": ("extra trees", _set("0.value", 0, np.inf), "no number"),
    "leaf overflows the sum": (
        "gradient boosting", _set("0.value", slice(None), 1.7e308), "is no number",
    ),
    "two parents": (
        "extra trees", lambda arrays: _set("0.right", 0, arrays["0.left"][0])(arrays),
        "do not form a tree",
    ),
    "child above its parent": ("random forest joint", _set("joint.left", 2, 1), "do not form a"),
    "values of other width": (
        "lightgbm", _replaced(value=lambda value: np.zeros((len(value), 64))), "output that",
    ),
    "values of width 0": (
        "lightgbm", _replaced(value=lambda value: value[:, :0]), "a value for each node",
    ),
    "children as 64 bits": (
        "lightgbm", _replaced(left=lambda left: left.astype(np.int64)), "'left' has another type",
    ),
    "thresholds as 16 bits": (
        "extra trees", _replaced(threshold=lambda t: t.astype(np.float16)), "another type",
    ),
    "features as one number": (
        "extra trees", _replaced(feature=lambda f: f[0]), "baseline",
    ),
    "depth of 2**62": ("catboost", _set("0.depth", 0, 2**62), "more levels than are there"),
    "depth below 0": ("catboost", _set("0.depth", 0, -1), "more levels than are there"),
    "leaves missing": ("catboost", _replaced(value=lambda v: v[:-1]), "a value for each leaf"),
    "border NaN": ("catboost", _set("0.border", (0, 0), np.nan), "no number"),
    "level of no input": ("catboost", _set("0.feature", (0, 0), -1), "input that is not there"),
    "scale 0": ("linear", _set("0.scale", 0, 0), "number of inputs"),
    "scale that overflows": ("linear", _set("0.scale", slice(None), 5e-324), "baseline"),
    "coefficients NaN": ("linear", _set("0.coefficients", (0, 0), np.nan), "no number"),
    "lines of no output": (
        "linear",
        _replaced(coefficients=lambda c: c[:0], intercept=lambda i: i[:0]),
        "baseline",
    ),
    "another model's name": (
        "linear", lambda arrays: {f"9.{name}": array for name, array in arrays.items()}, "baseline",
    ),
}  # fmt: skip


def _cases(cases: dict[str, tuple[str, Callable[[Arrays], Any], str]]) -> list[Any]:
    skip = {
        name: pytest.mark.skipif(not find_spec(name), reason=f"{name} is not installed")
        for name in ("lightgbm", "catboost")
    }
    return [
        pytest.param(*case, id=name, marks=skip.get(case[0], ())) for name, case in cases.items()
    ]


@pytest.mark.parametrize("component, change, message", _cases(TWINS | MORE))
def test_damaged_models_are_refused_in_one_line(blend, tmp_path, component, change, message):
    path = _changed(blend, tmp_path, component, change)
    with pytest.raises(InvalidInputError, match=message) as caught:
        load_bundle(path)
    assert "is damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["0/baseline.safetensors", "0/new.safetensors", "7"])
def test_one_file_under_many_names_is_not_held_as_often(blend, tmp_path, name):
    path = Path(shutil.copytree(blend, tmp_path / "model")) / "components"
    place = path / name
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(path / "1" / "baseline.safetensors" if "/" in name else path / "1")
    content = json.loads((blend / "bundle.json").read_bytes())
    content["digests"] = {
        f"components/{file.relative_to(path)}": "" for file in path.rglob("*") if file.is_file()
    } | {"weights.safetensors": ""}
    (path.parent / "bundle.json").write_text(json.dumps(content))
    mutants.sign(path.parent)
    with pytest.raises(InvalidInputError, match=r"link|not those that were saved"):
        load_bundle(path.parent)


def test_a_file_that_is_not_listed_is_not_read(blend, tmp_path):
    path = Path(shutil.copytree(blend, tmp_path / "model"))
    with (path / "components" / "0" / "more.safetensors").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InvalidInputError, match="not those that were saved"):
        load_bundle(path)


@pytest.mark.parametrize("name", ["weights.safetensors", "components/1/encoder.json"])
def test_a_file_that_was_hardly_written_is_not_read(blend, tmp_path, name):
    path = Path(shutil.copytree(blend, tmp_path / "model"))
    with (path / name).open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(InvalidInputError, match="was never written but for a part"):
        load_bundle(path)


def test_a_bundle_of_schema_one_is_refused_whatever_it_holds(tmp_path):
    (tmp_path / "bundle.json").write_text('{"schema_version": 1, "parts": 7}')
    (tmp_path / "encoder.skops").write_bytes(b"PK")
    with pytest.raises(InvalidInputError, match=r"jointrain 0\.1 wrote it.*fit the model again"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_texts_of_a_stranger_are_no_commands_of_a_terminal(blend, tmp_path, capsys, more):
    path = Path(shutil.copytree(blend / "components" / str(len(NAMES)), tmp_path / "model"))
    content = json.loads((path / "bundle.json").read_bytes())
    hostile = "\x1b[2J\x9b31m\x07"
    content["notes"]["metrics"] = content["recipe"]["name"] = hostile
    content["packages"]["torch"] = hostile
    (path / "bundle.json").write_text(json.dumps(content))
    mutants.sign(path)
    assert run(["inspect", str(path), *more]) == 0
    shown = capsys.readouterr().out
    assert not {*shown} & {*hostile} - {*"[2J31m"}
    if more:
        assert json.loads(shown)["notes"]["metrics"] == hostile
    else:
        assert shown.count(r"\x1b[2J\x9b31m\x07") >= 2


def _limited(arguments: list[str]) -> tuple[int, str]:
    """Return exit code and standard error of a command that has 10 seconds and 2 GiB."""
    limits = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_CPU, (10, 10)); "
        "resource.setrlimit(resource.RLIMIT_DATA, (2**31, 2**31)); "
        "from jointrain.cli import run; sys.exit(run(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", limits, *arguments],
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    return done.returncode, done.stderr


# seven damages, each read by two processes of their own
@pytest.mark.integration
@pytest.mark.parametrize("component, change, message", _cases(TWINS))
def test_commands_say_so_in_one_line(blend, tmp_path, component, change, message):
    path = _changed(blend, tmp_path, component, change)
    rows, out = str(blend.parent / "penguins.csv"), tmp_path / "out.csv"
    for arguments in (
        ["inspect", str(path)],
        ["predict", str(path), rows, "--out", str(out)],
    ):
        code, said = _limited(arguments)
        assert code == 2, said
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        assert message in said
    assert not out.exists()


@pytest.mark.integration
def test_the_bundle_itself_is_read_within_the_limits(blend, tmp_path):
    rows, out = str(blend.parent / "penguins.csv"), str(tmp_path / "out.csv")
    assert _limited(["inspect", str(blend)])[0] == 0
    assert _limited(["predict", str(blend), rows, "--out", out])[0] == 0
    assert len(json.dumps(Path(out).read_text())) > 10_000
