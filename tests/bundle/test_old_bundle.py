"""Bundles of jointrain 0.1 become bundles of today with the same predictions; no code is run."""

import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jointrain import InvalidInputError, load_bundle, save_bundle
from jointrain.bundle import _old_bundle, convert_bundle, describe_bundle
from jointrain.bundle._old_files import read_skops
from jointrain.cli import run
from jointrain.system.stored_files import DamagedError
from jointrain.tables import TableModel

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

import mutants

NAMES = ("networks", "blend")


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """Return a folder of bundles that jointrain 0.1 wrote, and of what it predicts."""
    return mutants.old_bundles(tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="module")
def rows(old):
    return pl.read_parquet(old / "rows.parquet")


@pytest.fixture(scope="module")
def new(old):
    return {name: convert_bundle(old / name, old / f"new-{name}") for name in NAMES}


def _files_of(folder):
    folder = Path(folder)
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


@pytest.mark.parametrize("name", NAMES)
def test_predictions_and_intervals_are_those_of_before(old, new, rows, name, tmp_path):
    model = load_bundle(new[name])
    found, expected = model.predict_table(rows, 0.9), pl.read_csv(old / f"{name}.csv")
    assert found.columns == expected.columns
    for column in expected:
        if column.dtype == pl.String:
            assert found[column.name].to_list() == column.to_list()
        else:
            np.testing.assert_allclose(found[column.name], column, rtol=1e-9, atol=1e-12)
    again = load_bundle(save_bundle(model, tmp_path / "again"))
    assert again.predict_table(rows, 0.9).equals(found)


def test_what_was_told_of_the_model_is_told_still(old, new):
    told = describe_bundle(new["blend"])
    before = json.loads((old / "blend" / "bundle.json").read_bytes())
    for key in ("columns", "components", "weights", "packages", "metrics", "notes"):
        assert told[key] == before[key]
    assert told["metrics"]["sex"] == {"accuracy": 0.5, "ROC-AUC": None}
    apart = list(load_bundle(new["blend"]).components.values())[-1]
    assert isinstance(apart, TableModel)
    assert apart.recipe.optimizer_layout == "per_task"


def test_the_command(old, rows, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(old / "blend", "answer/bundle")
    assert run(["convert", "answer", "new"]) == 0
    assert capsys.readouterr().out == "Converted: new\n"
    assert _files_of("answer/bundle") == _files_of(old / "blend")
    rows.write_csv("rows.csv")
    assert run(["predict", "new", "rows.csv", "--out", "found.csv"]) == 0
    assert run(["inspect", "new"]) == 0
    assert "Written by: jointrain 0.1.0" in capsys.readouterr().out
    assert run(["convert", "answer", "new"]) == 2
    assert capsys.readouterr().err == (
        "error: new exists; choose another folder or replace it with --force\n"
    )
    assert run(["convert", "answer", "new", "--force"]) == 0


def test_a_last_row_of_sums_is_predicted_too(new, rows, tmp_path, capsys):
    first = rows.select("island", pl.col(pl.Float64, pl.Int64)).drop_nulls().head(6)
    whole = pl.concat([first, first.sum().with_columns(island=pl.lit(None, pl.String))])
    whole.write_csv(tmp_path / "t.csv")
    whole.write_parquet(tmp_path / "t.parquet")
    for table in ("t.csv", "t.parquet"):
        capsys.readouterr()
        command = ["predict", str(new["blend"]), str(tmp_path / table), "--out", "-"]
        assert run([*command, "--keep", "island"]) == 0
        shown = capsys.readouterr()
        assert len(pl.read_csv(io.StringIO(shown.out))) == 7
        assert "the last row is no case to predict" in shown.err


def test_loading_an_old_bundle_names_the_command(old, capsys):
    assert run(["inspect", str(old / "blend")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"jointrain convert {old / 'blend'} NEW writes it anew" in said


def test_a_bundle_of_today_needs_no_conversion(new, tmp_path):
    with pytest.raises(InvalidInputError, match="which this jointrain loads as it is"):
        convert_bundle(new["networks"], tmp_path / "again")
    with pytest.raises(InvalidInputError, match="is no bundle"):
        convert_bundle(tmp_path / "nowhere", tmp_path / "again")


def _refused(folder, match):
    """Convert a damaged bundle, signed again."""
    mutants.sign(folder)
    with pytest.raises(InvalidInputError, match=match) as caught:
        convert_bundle(folder, folder.parent / "new")
    assert "\n" not in str(caught.value)
    assert not (folder.parent / "new").exists()


def _zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def _npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.fixture
def copy(old, tmp_path):
    return {name: Path(shutil.copytree(old / name, tmp_path / name)) for name in NAMES}


def test_an_archive_of_pickles_is_none(copy):
    class Ran:
        def __reduce__(self):
            return (print, ("code was run",))

    array = np.empty(1, dtype=object)
    array[0] = Ran()
    node = {"__loader__": "NdArrayNode", "type": "numpy", "file": "0.npy"}
    schema = {"__loader__": "DictNode", "content": {"text": node, "arrays": node}}
    files = {"schema.json": json.dumps(schema), "0.npy": _npy(array)}
    _zip(copy["networks"] / "encoder.skops", files)
    _refused(copy["networks"], "an array of objects")


@pytest.mark.parametrize("header", [b"{'descr': '<f8', ", b"(" * 900, b"{}", b"1" * 90])
def test_an_array_without_a_header_is_refused(header):
    packed = io.BytesIO()
    node = {"__loader__": "NdArrayNode", "type": "numpy", "file": "0.npy"}
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("schema.json", json.dumps(node))
        archive.writestr("0.npy", array)
    with pytest.raises((DamagedError, ValueError)):
        read_skops(packed.getvalue())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit a process")
def test_memory_is_limited(copy):
    node = {"__loader__": "NdArrayNode", "type": "numpy", "file": "0.npy"}
    schema = {"__loader__": "ListNode", "content": [node] * 4000}
    files = {"schema.json": json.dumps(schema), "0.npy": _npy(np.zeros(1 << 20, np.uint8))}
    _zip(copy["networks"] / "encoder.skops", files)
    _refused(copy["networks"], "memory")


def test_an_archive_that_unpacks_to_more_than_a_gibibyte_is_refused(copy):
    with (
        zipfile.ZipFile(copy["networks"] / "encoder.skops", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("schema.json", "w", force_zip64=True) as file,
    ):
        for _ in range(1025):
            file.write(bytes(1 << 20))
    _refused(copy["networks"], "unpacks to more than 1,073,741,824 bytes")


def test_time_is_limited(copy, monkeypatch):
    monkeypatch.setattr(_old_bundle, "_SECONDS", 0.01)
    _refused(copy["networks"], "takes more than 0.01 seconds; fit the model again")


def test_a_loop_among_nodes_of_a_forest_is_refused(copy):
    inner = copy["blend"] / "components" / "2"
    assert json.loads((inner / "baseline.json").read_bytes())["name"] == "random forest"
    with zipfile.ZipFile(inner / "baseline.skops") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    for name, data in files.items():
        if name.endswith(".npy"):
            array = np.load(io.BytesIO(data))
            if array.dtype.names:
                array["left_child"][0] = 0
                files[name] = _npy(array)
    _zip(inner / "baseline.skops", files)
    _refused(copy["blend"], "do not form a tree")


@pytest.mark.parametrize("name, was, put, match", [
    ("lightgbm", b"left_child=", b"left_child=0 ", "damaged|can't be converted"),
    ("lightgbm", b"\nnum_tree_per_iteration=", b"\nnum_tree_per_iteration=9", "of another kind"),
    ("lightgbm", b"decision_type=2", b"decision_type=1", "of another kind"),
    ("catboost", b"CBM1", b"CBM2", "no model of CatBoost"),
])  # fmt: skip
def test_changed_text_is_refused(copy, name, was, put, match):
    for inner in (copy["blend"] / "components").iterdir():
        told = inner / "baseline.json"
        if told.exists() and json.loads(told.read_bytes())["name"] == name:
            path = next(iter(sorted(inner.glob("0.*"))))
            data = path.read_bytes()
            assert was in data
            path.write_bytes(data.replace(was, put))
    _refused(copy["blend"], match)


def test_no_library_of_the_models_is_imported(old, tmp_path):
    program = f"""
import sys
from pathlib import Path
from jointrain.bundle._old_bundle import convert_here
Path({str(tmp_path)!r}, "new").mkdir()
convert_here(Path({str(old / "blend")!r}), Path({str(tmp_path)!r}, "new"))
print(*({{"sklearn", "skops", "lightgbm", "catboost"}} & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
