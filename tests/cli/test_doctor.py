"""`jointrain doctor` tells what a report of a fault needs."""

import json
import platform
from importlib.metadata import PackageNotFoundError

import torch

from jointrain import __version__
from jointrain.cli import _doctor, run


def test_versions_devices_and_cores(capsys):
    assert run(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["jointrain"] == __version__
    assert told["python"].startswith(platform.python_version())
    assert told["packages"]["torch"] == torch.__version__
    assert told["devices"].split(", ")[0] == "cpu"
    assert told["cores"] >= 1
    assert "catboost" in told["extras"]["boosting"]
    assert not {"test", "dev"} & set(told["extras"])


def test_what_an_extra_lacks_is_named(capsys, monkeypatch):
    def version(package):
        if package == "catboost":
            raise PackageNotFoundError(package)
        return "1.2.3"

    monkeypatch.setattr(_doctor, "version", version)
    assert run(["doctor"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["boosting", "lacks", "catboost"] in lines
    assert ["torchmetrics", "torchmetrics", "1.2.3"] in lines


def test_a_package_for_other_machines_is_not_asked_for(monkeypatch):
    machine = "platform_machine == 'x86_64'"
    lines = [
        "torch>=2.6",
        f"xgboost-cpu>=3.0; (sys_platform == 'linux' and {machine}) and extra == 'xgboost'",
        f"xgboost>=3.0; (sys_platform != 'linux' or not {machine}) and extra == 'xgboost'",
        "jointrain[plots]; extra == 'test'",
    ]
    monkeypatch.setattr(_doctor, "requires", lambda package: lines)
    monkeypatch.setattr(_doctor.sys, "platform", "linux")
    monkeypatch.setattr(_doctor.platform, "machine", lambda: "x86_64")
    assert list(_doctor._told()["extras"]["xgboost"]) == ["xgboost-cpu"]
    monkeypatch.setattr(_doctor.sys, "platform", "darwin")
    assert list(_doctor._told()["extras"]["xgboost"]) == ["xgboost"]
