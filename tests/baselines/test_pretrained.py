"""Baselines of pre-trained networks: without weights on disk they are refused, before training.

What they predict with weights can't be tried here: there are none. Packages of the same names and
arguments stand in for them.
"""

import sys

import numpy as np
import pytest

from jointrain.baselines import BASELINES, as_baseline, check_predicts, fit_baseline
from jointrain.errors import InvalidInputError, MissingDependencyError
from jointrain.task import Task

TASKS = (Task.regression("size"), Task.multiclass("kind", ("a", "b", "c")))

ESTIMATORS = """
import numpy as np
from sklearn.base import BaseEstimator

class _Model(BaseEstimator):
    def __init__(self, *, model_path=None, device=None, random_state=None{more}):
        self.model_path, self.device, self.random_state = model_path, device, random_state
{kept}
    def fit(self, X, y):
        assert open(self.model_path).read() == "weights", "it would be downloaded"
        self.classes = len(np.unique(y))
        return self

    def predict(self, X):
        return X[:, 0]

    def predict_proba(self, X):
        return np.full((len(X), self.classes), 1 / self.classes)

class {name}Regressor(_Model):
    pass

class {name}Classifier(_Model):
    pass
"""
MORE = ', checkpoint_version="tabicl-v2.ckpt", allow_auto_download=True'
KEPT = """        assert not allow_auto_download or model_path is None
        self.checkpoint_version, self.allow_auto_download = checkpoint_version, allow_auto_download
"""
LOADING = """
import os, pathlib

def resolve_model_path(model_path, which, version="v2"):
    name = f"tabpfn-{version}-{which}.ckpt"
    return [pathlib.Path(os.environ["XDG_CACHE_HOME"], "tabpfn", name)], [], [], which
"""
SETTINGS = """
class settings:
    class tabpfn:
        model_version = "v2.5"
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return the folder of caches, with packages that look for their weights there."""
    for package, name, more, kept in (
        ("tabpfn", "TabPFN", "", ""), ("tabicl", "TabICL", MORE, KEPT),
    ):  # fmt: skip
        folder = tmp_path / "packages" / package
        folder.mkdir(parents=True)
        source = ESTIMATORS.format(name=name, more=more, kept=kept)
        (folder / "__init__.py").write_text(source)
        (folder / "model_loading.py").write_text(LOADING)
        (folder / "settings.py").write_text(SETTINGS)
        for module in [one for one in sys.modules if one.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    yield tmp_path / "cache"
    for module in [one for one in sys.modules if one.partition(".")[0] in ("tabpfn", "tabicl")]:
        del sys.modules[module]


FILES = {
    "tabpfn": ("tabpfn-v2.5-regressor.ckpt", "tabpfn-v2.5-classifier.ckpt"),
    "tabicl": ("tabicl-v2.ckpt", "tabicl-v2.ckpt"),
}


@pytest.mark.parametrize("name", FILES)
def test_weights_that_are_not_on_disk_are_refused_with_their_place(name, cache):
    for task, file in zip(TASKS, FILES[name], strict=True):
        message = f"baseline '{name}' has no weights at {cache / name / file}; put them there"
        with pytest.raises(InvalidInputError, match=message):
            check_predicts(BASELINES[name], [task])


@pytest.mark.parametrize("name", FILES)
def test_weights_on_disk_are_given_by_their_path(name, cache):
    (cache / name).mkdir(parents=True)
    for file in FILES[name]:
        (cache / name / file).write_text("weights")
    inputs = np.arange(12, dtype=np.float32).reshape(6, 2)
    labels = np.array([[1.0, 2, 3, 4, 5, 6], [0, 1, 2, 0, 1, 2]]).T
    found = fit_baseline(name, inputs, labels, TASKS, 0).predict(inputs)
    np.testing.assert_allclose(found["size"], inputs[:, 0])
    np.testing.assert_allclose(found["kind"], 1 / 3)


def test_their_classes_are_not_taken_by_path(cache):
    for path in ("tabpfn:TabPFNClassifier", "tabicl:TabICL"):
        name = path.partition(":")[0]
        with pytest.raises(
            InvalidInputError, match=f"may download weights; give the name '{name}'"
        ):
            as_baseline(path)


@pytest.mark.parametrize("name", ["tabpfn", "tabicl", "realmlp"])
def test_a_package_that_is_not_installed_is_named(name, monkeypatch):
    monkeypatch.setattr("jointrain.baselines._baseline.find_spec", lambda package: None)
    with pytest.raises(MissingDependencyError, match=f"'{name}' needs the package .*; pip install"):
        check_predicts(BASELINES[name], TASKS)
