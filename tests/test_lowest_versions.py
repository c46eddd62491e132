"""The bounds in pyproject.toml are those that `make test-lowest` tests, and nothing is left out."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
TESTED_EXTRAS = ("plots", "torchmetrics", "boosting", "xgboost", "excel", "database", "streaming")


def declared(*extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *(project["optional-dependencies"][e] for e in extras)]
    found = [Requirement(line) for group in groups for line in group]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def pinned():
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(r.name): Version(next(iter(r.specifier)).version) for r in found}


@pytest.mark.parametrize("name", [name for name in declared(*TESTED_EXTRAS) if name != "torch"])
def test_the_lowest_version_is_the_one_tested(name):
    (bound,) = declared(*TESTED_EXTRAS)[name].specifier
    assert bound.operator == ">="
    assert pinned()[name] == Version(bound.version)


def test_every_package_imported_is_declared():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {*declared(*extras["optional-dependencies"])}
    known = packages_distributions()
    imported = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    imported -= {*sys.stdlib_module_names, "jointrain"}
    assert imported >= {"torch", "polars", "threadpoolctl"}
    undeclared = {
        name
        for name in imported
        if not {canonicalize_name(d) for d in known.get(name, [name])} & names
    }
    # the driver of PostgreSQL brings its manager, pydantic its core and the newer types; no extra
    # installs models whose packages would bring CUDA or download weights
    brought = {"adbc_driver_manager", "pydantic_core", "typing_extensions"}
    assert undeclared <= brought | {"huggingface_hub", "pytabkit", "tabicl", "tabpfn"}
