"""`jointrain export` as a user runs it."""

import pytest

from jointrain.bundle import save_bundle
from jointrain.cli import run
from tests.exporting.test_export import blend, fit_networks, table as plain_table
from tests.serving._models import model, table

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dated = model()
    table().write_csv("table.csv")
    return save_bundle(dated, "model")


@pytest.mark.integration
def test_int8_tells_what_it_costs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plain_table().write_csv("table.csv")
    save_bundle(fit_networks(), "model")
    check = ["--check", "table.csv", "--quantize", "int8"]
    assert run(["export", "model", "--out", "model.onnx", *check]) == 0
    printed = capsys.readouterr().out
    assert "What 8 bits cost" in printed
    costs = printed.partition("What 8 bits cost")[2]
    for words in ("price", "RMSE", "rooms", "dear", "ROC-AUC", "style", "log-loss"):
        assert words in costs


# without networks, as torch's exporter takes seconds
def test_a_file_is_written_and_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plain_table().write_csv("table.csv")
    save_bundle(blend(("constant", "linear"), networks=False), "model")
    assert run(["export", "model", "--out", "model.onnx", "--check", "table.csv"]) == 0
    printed = capsys.readouterr().out
    assert "Exported: model.onnx" in printed
    assert "300 rows: the largest difference to predict" in printed
    assert run(["export", "model", "--out", "model.onnx"]) == 2
    assert "model.onnx exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--format", "onx"], "format must be one of onnx, torch-export"),
        (["--quantize", "int8"], "name a table with the targets by --check"),
        (["--categories", "words"], "--categories must be text or codes"),
        (["--out", "no/model.onnx"], "can't be written"),
        ([], "column 'sold' is datetime"),
    ],
)
def test_what_is_wrong_is_one_line(bundle, flags, said, capsys):
    assert run(["export", "model", "--out", "model.onnx", *flags]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["model", "table.csv"]
