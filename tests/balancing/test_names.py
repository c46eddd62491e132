"""Every method of the field by its name, and refusal of names and values that are wrong."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from jointrain.balancing import BALANCERS, balancer_from_name
from jointrain.errors import InvalidInputError

METHODS = [
    "equal",
    "static",
    "rlw",
    "uncertainty",
    "uw-so",
    "dwa",
    "dtp",
    "cov",
    "igb",
    "go4align",
    "ldc-mtl",
    "gls",
    "imtl-l",
    "famo",
    "stch",
    "cosmos",
    "pbi",
    "log",
    "size",
    "difficulty",
    "mgda",
    "pcgrad",
    "gradvac",
    "gradnorm",
    "graddrop",
    "imtl-g",
    "imtl",
    "cagrad",
    "nash-mtl",
    "moco",
    "modo",
    "sdmgrad",
    "aligned-mtl",
    "fairgrad",
    "db-mtl",
    "excess-mtl",
    "upgrad",
    "dualproj",
    "config",
    "pcd",
    "pivrg",
    "consmtl",
    "gcond",
    "epo",
    "pmgda",
    "ferero",
    "cr-mogm",
    "rotograd-scale",
    "krum",
    "trimmed-mean",
    "rgw",
    "auto-lambda",
    "moml",
    "forum",
    "samo",
    "f-mtl",
]
NUMBERS = [
    (name, parameter.name)
    for name, cls in BALANCERS.items()
    for parameter in inspect.signature(cls).parameters.values()
    if isinstance(parameter.default, (int, float)) and parameter.name != "seed"
]
CHOICES = [
    (name, parameter.name)
    for name, cls in BALANCERS.items()
    for parameter in inspect.signature(cls).parameters.values()
    if isinstance(parameter.default, str)
]
OUT_OF_RANGE = [
    ("cagrad", "c", -0.1),
    ("fairgrad", "alpha", 0.0),
    ("nash-mtl", "max_norm", -1.0),
    ("nash-mtl", "update_weights_every", 0),
    ("gradnorm", "alpha", -1.0),
    ("graddrop", "leak", 1.5),
    ("gradvac", "beta", 1.5),
    ("moco", "beta", 0.0),
    ("moco", "gamma", -1.0),
    ("modo", "gamma", -1.0),
    ("sdmgrad", "lam", -1.0),
    ("pcd", "tau", 1.5),
    ("pcd", "beta", 1.0),
    ("pivrg", "bound", 1.0),
    ("consmtl", "strength", 0.0),
    ("consmtl", "limit", 1.5),
    ("consmtl", "alpha", 0.0),
    ("gcond", "power", 0.0),
    ("epo", "tolerance", -1.0),
    ("pmgda", "sigma", 1.5),
    ("ferero", "pull", -1.0),
    ("db-mtl", "beta", 1.0),
    ("cr-mogm", "alpha", 1.1),
    ("excess-mtl", "step_size", 0.0),
    ("krum", "byzantine", -1),
    ("krum", "selected", 0),
    ("trimmed-mean", "trim", -1),
    ("dwa", "temperature", 0.0),
    ("dtp", "gamma", -1.0),
    ("cov", "decay", 1.0),
    ("go4align", "groups", 0),
    ("igb", "warmup_epochs", -1),
    ("ldc-mtl", "penalty", -1.0),
    ("famo", "step_size", 0.0),
    ("famo", "weight_decay", -1.0),
    ("gls", "smallest", 0.0),
    ("log", "epsilon", 0.0),
    ("stch", "mu", 0.0),
    ("pbi", "penalty", -1.0),
    ("cosmos", "penalty", -1.0),
    ("uw-so", "temperature", 0.0),
    ("auto-lambda", "step_size", 0.0),
    ("moml", "step_size", 0.0),
    ("forum", "step_size", 0.0),
    ("samo", "radius", 0.0),
    ("samo", "local_share", 1.5),
    ("samo", "smoothing", 0.0),
    ("f-mtl", "radius", 0.0),
]


def example(name: str) -> dict[str, object]:
    return dict(getattr(BALANCERS[name], "example", {}))


def test_all_methods_are_there():
    assert set(METHODS) <= set(BALANCERS)


def test_the_pages_name_and_count_them_all():
    root = Path(__file__).parents[2]
    page = (root / "docs/balancing.md").read_text(encoding="utf-8")
    table = page.partition("| by | methods |")[2].partition("\n\n")[0]
    named = re.findall(r"`([^`]+)`", table)
    assert len(named) == len(set(named))
    assert set(named) == set(METHODS)
    counts = re.findall(r"(\d+) (?:balancing )?methods", (root / "README.md").read_text("utf-8"))
    assert set(counts) <= {str(len(METHODS))}


@pytest.mark.parametrize("name", METHODS)
def test_a_name_builds_its_method(name):
    balancer = balancer_from_name(name.upper().replace("-", "_"), **example(name))
    assert balancer.name == name
    assert type(balancer) is BALANCERS[name]


def test_an_unknown_name_is_refused_with_the_closest_one():
    with pytest.raises(InvalidInputError, match=r"no balancer 'cagard'.*did you mean 'cagrad'"):
        balancer_from_name("cagard")


def test_an_unknown_hyper_parameter_is_refused_with_the_closest_one():
    with pytest.raises(InvalidInputError, match="did you mean 'alpha'"):
        balancer_from_name("fairgrad", alhpa=1.0)


@pytest.mark.parametrize("wrong", ["much", float("nan"), None])
@pytest.mark.parametrize("name, parameter", NUMBERS)
def test_a_number_must_be_a_number(name, parameter, wrong):
    if wrong is None and name == "stch":
        return  # None is a value there
    with pytest.raises(InvalidInputError, match=f"`{parameter}` must be"):
        balancer_from_name(name, **(example(name) | {parameter: wrong}))


@pytest.mark.parametrize("name, parameter", CHOICES)
def test_a_choice_must_be_one_of_those_listed(name, parameter):
    with pytest.raises(
        InvalidInputError, match=f"`{parameter}` must be one of .*got 'none of them'"
    ):
        balancer_from_name(name, **(example(name) | {parameter: "none of them"}))


@pytest.mark.parametrize("name, parameter, value", OUT_OF_RANGE)
def test_a_number_must_be_in_its_range(name, parameter, value):
    with pytest.raises(InvalidInputError, match=f"`{parameter}` must be .*got {value}"):
        balancer_from_name(name, **(example(name) | {parameter: value}))
