"""Flags and config keys: where help shows them, and what is refused before a table is read."""

import shlex

import pytest
from hypothesis import given, settings, strategies as st

from jointrain.cli import run
from jointrain.cli._config_file import load_settings
from jointrain.cli._help_panels import PANELS, panel_of
from jointrain.cli._settings import (
    CompareSettings,
    FitSettings,
    GroupSettings,
    ShareSettings,
    WeighSettings,
)
from jointrain.errors import InvalidInputError
from jointrain.reports._flag_texts import groups_text, pairs_text

COMMANDS = {
    "compare": CompareSettings,
    "fit": FitSettings,
    "weigh": WeighSettings,
    "group": GroupSettings,
    "share": ShareSettings,
}


def test_every_flag_has_one_panel():
    """Options of training that are named in none come last in theirs."""
    flags = {"config"}
    for model in COMMANDS.values():
        for name, field in model.model_fields.items():
            if name != "table" and field.json_schema_extra != {"in_file_only": True}:
                flags.add(field.alias or name)
    listed = [flag for panel in PANELS.values() for flag in panel]
    assert len(set(listed)) == len(listed)
    assert set(listed) == flags
    assert panel_of("targets")[2] == "Everyday"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_panels_and_ends_with_an_example(command, capsys):
    assert run([command, "--help"]) == 0
    printed = capsys.readouterr().out
    places = [printed.index(f" {panel} ") for panel in ("Everyday", "Training", "Output")]
    assert places == sorted(places)
    assert f"Example: jointrain {command}" in " ".join(printed.split()[-12:])


def test_help_is_wrapped_as_one_text_and_names_extras(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in ("explain", "export", "serve"):
        assert run([command, "--help"]) == 0
        told = capsys.readouterr().out.split("╭")[0]
        assert f"Needs jointrain[{command}]." in " ".join(told.split())
        if command == "explain":
            assert " prediction: the base (the mean prediction of the background) and the  " in told


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples_and_defaults_as_they_are(command, capsys):
    assert run([command, "--help"]) == 0
    told = capsys.readouterr().out
    assert set(told) - set("─│╭╮╰╯") <= {chr(code) for code in range(128)}  # no emoji
    words = " ".join(told.replace("│", " ").split())
    assert "=multilabel:flu:measles, =proportions:sand:silt:clay" in words
    assert "Factor of the L1 penalty. Default 0.0." in words
    assert "Seed of all random choices. Default 0." in words


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["compare", "--recipes", "jont"], "no recipe 'jont' (did you mean 'joint'"),
        (["compare", "--baselines", "extra tree"], "did you mean 'extra trees'"),
        (["compare", "--network", "hrad"], "did you mean 'hard'"),
        (["fit", "--balancer", "upgrd"], "did you mean 'upgrad'?); `jointrain balancers` lists"),
        (["fit", "--weights", "uncertainty"], "is a balancer: give it as one (`balancer`, --balan"),
        (["compare", "--recipes", "alternating-rnd"], "no recipe 'alternating-rnd': `order`"),
        (["group", "--balancer", "upgrd"], "did you mean 'upgrad'"),
        (["weigh", "--network", "hrad"], "did you mean 'hard'"),
        (["share", "--network", "hrad"], "did you mean 'hard'"),
        (["fit", "--weights", "a=1,a=3"], "--weights: 'a' is given twice"),
        (["fit", "--weights", "a=1,A=3"], "--weights names 'A', which is no target (did you mean"),
        (["fit", "--task", "a=regresion"], "did you mean 'regression'"),
        (
            ["fit", "--task", "aa=count"],
            "--task names 'aa', which is no target (did you mean 'a'?)",
        ),
        (["compare", "--metric", "c=MAE"], "--metric names 'c', which is no target"),
        (["fit", "--class-weights", "Balance"], "did you mean 'balanced'"),
        (["fit", "--given", "a=b,c=b"], "--given names 'c', which is no target"),
        (
            ["fit", "--groups", "a;bb"],
            "--groups names 'bb', which is no target (did you mean 'b'?)",
        ),
        (["fit", "--auxiliary", "aux"], "--auxiliary names 'aux', which is no target"),
        (
            ["fit", "--schedule", "alternating", "--probabilities", "a=0.5,bb=0.5"],
            "--probabilities names 'bb', which is no target",
        ),
        (["weigh", "--importance", "a=2,bb=1"], "--importance names 'bb', which is no target"),
        (["fit", "--column", "x=txt"], "did you mean 'text'"),
        (["fit", "--time-zone", "Europe/Belin"], "did you mean 'Europe/Berlin'"),
        (["fit", "--encoding", "utf9"], "encoding 'utf9' is unknown (did you mean 'utf_"),
        (["fit", "--task", "a=binary", "--task", "a=binary"], "--task: 'a' is given twice"),
    ],
)
def test_what_is_wrong_with_options_is_said_before_the_table_is_read(arguments, words, capsys):
    command, *flags = arguments
    assert run([command, "no-such-file.csv", "--targets", "a,b", *flags]) == 2
    assert words in capsys.readouterr().err


NAMES = st.text(st.sampled_from('ab;,"= '), min_size=1, max_size=5).map(str.strip).filter(bool)


@given(groups=st.lists(st.lists(NAMES, min_size=1, max_size=3), min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_printed_groups_can_be_pasted_back(groups):
    flag = shlex.split(f"--groups {shlex.quote(groups_text(groups))}")[1]
    said = {"table": "a.csv", "targets": ["a"], "groups": flag}
    assert load_settings(FitSettings, said, None).groups == groups


@given(pairs=st.dictionaries(NAMES, st.sampled_from([0.5, 1.0, 2.0]), min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_printed_weights_can_be_pasted_back(pairs):
    said = {"table": "a.csv", "targets": ["a"], "weights": pairs_text(pairs)}
    assert load_settings(FitSettings, said, None).weights == pairs


@pytest.mark.parametrize("flag", ["given", "task", "metric"])
def test_a_pair_without_equals_sign_is_named_once(flag):
    said = {"table": "a.csv", "targets": ["b"], flag: ["purchase"]}
    with pytest.raises(InvalidInputError) as caught:
        load_settings(FitSettings, said, None)
    assert str(caught.value).startswith(f"--{flag}: ")
    assert str(caught.value).count("got ") == 1


def test_a_name_given_twice_in_a_config_file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('table = "a.csv"\ntargets = ["a"]\nweights = "a=1,a=2"\n')
    with pytest.raises(InvalidInputError, match="'a' is given twice"):
        load_settings(FitSettings, {}, path)


@pytest.mark.parametrize(
    "line, words",
    [
        ("targets = [{a=1}]", "targets: input should be a valid string, got {'a': 1}"),
        ("task = [1]", "task: expected name=value, got 1"),
        ("seed = 100000000000000000000000000000", "seed: input should be less than or equal to"),
        ("bins = 1000000000", "bins: input should be less than or equal to 1024"),
        ("width = 100000000", "width: input should be less than or equal to 65536"),
        ("l2 = inf", "l2: input should be a finite number"),
        ("weights = {a=nan}", "weights: "),
        ("table = 7", "table: expected the name of a file, got 7"),
        ("id = '" + "x" * 5000 + "'\nseed = '" + "y" * 5000 + "'", "seed: input should be a valid"),
        ("seed = " + "9" * 5000, "is not TOML"),
        ("id = " + "[" * 5000 + "]" * 5000, "is not TOML"),
    ],
)
def test_values_of_a_config_file_that_can_not_be_used(tmp_path, line, words):
    path = tmp_path / "run.toml"
    given = "" if line.startswith("table") else 'table = "a.csv"\n'
    path.write_text(given + ("" if line.startswith("targets") else "targets = 'a'\n") + line)
    with pytest.raises(InvalidInputError) as caught:
        load_settings(FitSettings, {}, path)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400


def test_options_of_training_reach_the_recipe():
    said = {
        "table": "t.csv",
        "targets": ["a"],
        "precision": "fp16",
        "compile": True,
        "accumulate": 3,
        "ema": 0.9,
        "non_finite": "rollback",
        "non_finite_limit": 2,
        "lr_scheduler": "StepLR",
        "lr_scheduler_option": ["step_size=2", "gamma=0.5"],
        "lr_scheduler_every": "step",
        "parameter_group": ["trunk.0.lr=0.001", "trunk.0.weight_decay=0", "a.lr=0.01"],
    }
    recipe = FitSettings(**said).recipe("joint")
    assert (recipe.precision, recipe.compile, recipe.accumulate, recipe.ema) == (
        "fp16", True, 3, 0.9
    )  # fmt: skip
    assert (recipe.non_finite, recipe.non_finite_limit) == ("rollback", 2)
    assert (recipe.lr_scheduler, recipe.lr_scheduler_every) == ("StepLR", "step")
    assert recipe.lr_scheduler_options == (("step_size", 2), ("gamma", 0.5))
    assert recipe.parameter_groups == (
        ("trunk.0", (("lr", 0.001), ("weight_decay", 0))),
        ("a", (("lr", 0.01),)),
    )
    with pytest.raises(InvalidInputError, match=r"PART\.OPTION=VALUE"):
        FitSettings(**said | {"parameter_group": ["lr=0.1"]}).recipe("joint")
    with pytest.raises(InvalidInputError, match="did you mean 'StepLR'"):
        FitSettings(**said | {"lr_scheduler": "SteppLR"}).recipe("joint")


@pytest.mark.parametrize(
    ("given", "single"), [({}, False), ({"ensemble": 1}, True), ({"ensemble": 2}, False)]
)
def test_single_networks_are_kept_where_they_are_asked_for(given, single):
    assert CompareSettings(table="t.csv", targets=["a"], **given).single is single


def test_pairs_take_names_with_commas_from_flags_and_files(tmp_path):
    flags = {"table": "a.csv", "targets": ['"a, b",c'], "task": ['"a, b"=count,c=binary']}
    settings = load_settings(FitSettings, flags, None)
    assert settings.targets == ["a, b", "c"]
    assert settings.task == {"a, b": "count", "c": "binary"}
    config = tmp_path / "c.toml"
    config.write_text("task = '\"a, b\"=count,c=binary'\n")
    assert load_settings(FitSettings, {"table": "a.csv", "targets": ["c"]}, config).task == (
        settings.task
    )
