"""An option of training is said once: trainers, recipes, estimators, config and flags have it."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass, fields

import pytest

from jointrain import InvalidInputError, Recipe, TrainingSettings
from jointrain.cli._settings import CompareSettings, FitSettings
from jointrain.options import (
    OptimizerOptions,
    RecipeOptions,
    TrainingOptions,
    check_options,
    option,
    options_of,
)

NEW = """
import jointrain.options as options

# one line more in its source
source = open(options.__file__).read()
source = source.replace(
    '    l1: float = option',
    '    slowness: float = option(0.5, "How slow.", at_least=0.0, at_most=1.0)\\n'
    '    l1: float = option',
)
assert "slowness" in source
exec(compile(source, options.__file__, "exec"), vars(options))

from pathlib import Path
import numpy as np
from jointrain import InvalidInputError, JointRegressor, Recipe, Trainer, TrainingSettings
from jointrain.cli import run
from jointrain.cli._config_file import load_settings
from jointrain.cli._settings import FitSettings

assert TrainingSettings().slowness == Recipe().slowness == 0.5
recipe = Recipe(slowness=0.25, epochs=1, ensemble=1)
assert Recipe.from_json(recipe.to_json()) == recipe != Recipe(epochs=1, ensemble=1)
assert recipe.settings(100, validates=True).slowness == 0.25
for make in (TrainingSettings, Recipe):
    try:
        make(slowness=2)
    except InvalidInputError as error:
        assert "`slowness` must lie in [0, 1], got 2" in str(error), error
x = np.random.default_rng(0).normal(size=(40, 2))
model = JointRegressor(recipe=recipe, components="network").fit(x, x)
assert model.model_.recipe.slowness == 0.25
Path("c.toml").write_text("slowness = 0.125")
said = {"table": "t.csv", "targets": ["a"]}
assert load_settings(FitSettings, said, Path("c.toml")).recipe("joint").slowness == 0.125
assert load_settings(FitSettings, said | {"slowness": 0.75}, None).recipe("joint").slowness == 0.75
run(["fit", "--help"])
"""


def test_a_new_option_is_one_field(tmp_path):
    ran = subprocess.run([sys.executable, "-c", NEW], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    shown = " ".join(ran.stdout.split())
    assert "--slowness" in shown
    assert "How slow. Default 0.5." in shown


def test_options_need_no_torch():
    program = "import sys, jointrain.cli._settings; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout.strip() == "False", ran.stderr


def test_recipes_from_flags_that_say_nothing_are_those_of_python():
    said = {"table": "t.csv", "targets": ["a"]}
    assert CompareSettings(**said).recipe("joint") == Recipe()
    assert FitSettings(**said).recipe("joint") == Recipe(ensemble=None)


def test_trainers_and_recipes_have_the_same_options_with_their_own_defaults():
    common = options_of(TrainingOptions).keys()
    assert common <= options_of(TrainingSettings).keys() & options_of(RecipeOptions).keys()
    own = {"warm_up": 0.05, "decay": "cosine", "gradient_clip": 1.0}
    for name in common:
        assert getattr(Recipe(), name) == own.get(name, getattr(TrainingSettings(), name)), name


@dataclass
class Some:
    share: float = option(0.5, "", above=0.0, at_most=1.0)
    rate: float = option(0.5, "", above=0)
    factor: float = option(0.5, "", at_least=0)
    count: int | None = option(3, "", at_least=2, at_most=2000)
    word: str = option("one", "", choices=("one", "other"), flag="term")


@pytest.mark.parametrize(
    "values, message",
    [
        ({"share": 0.0}, "`share` must lie in (0, 1], got 0.0"),
        ({"share": math.nan}, "`share` must lie in (0, 1], got nan"),
        ({"rate": 0.0}, "`rate` must be positive, got 0.0"),
        ({"rate": math.inf}, "`rate` must be positive, got inf"),
        ({"factor": -1}, "`factor` must be at least 0, got -1"),
        ({"count": 1}, "`count` must be at least 2, got 1"),
        ({"count": 2001}, "`count` must be at most 2,000, got 2001"),
        ({"word": "othr"}, "`term` must be one of one, other, got 'othr' (did you mean 'other'?)"),
    ],
)
def test_values_outside_their_range_are_refused_in_a_sentence(values, message):
    check_options(Some())
    check_options(Some(share=1.0, factor=0.0, count=None, word="other"))
    with pytest.raises(InvalidInputError) as refused:
        check_options(Some(**values))
    assert str(refused.value) == message


def test_every_option_has_a_line_of_help():
    for kind in (OptimizerOptions, RecipeOptions, TrainingSettings):
        told = options_of(kind)
        assert all(one.help.endswith(".") for one in told.values())
        assert told.keys() <= {one.name for one in fields(kind)}
