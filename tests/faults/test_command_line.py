"""Bad input on the command line: one line, exit code 2, nothing written."""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jointrain.cli import run

QUICK = ["--epochs", "3", "--width", "8", "--device", "cpu"]


def make_table(rows: int = 60) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, 2))
    return pl.DataFrame(
        {
            "x one": x[:, 0],
            "größe": x[:, 1],
            "colour": generator.choice(["red", "green", "blue"], rows),
            "price": x[:, 0] * 2 + generator.normal(size=rows) * 0.1,
            "sold": (x[:, 1] > 0).astype(int),
        }
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_table().write_csv(tmp_path / "data.csv")
    return tmp_path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bundle")
    make_table().write_csv(place / "data.csv")
    out = place / "model"
    arguments = [str(place / "data.csv"), "--targets", "price,sold", "--out", str(out), *QUICK]
    code = run(["fit", *arguments])
    assert code == 0
    return out


def fails(capsys: pytest.CaptureFixture[str], arguments: list[str], *parts: str) -> str:
    """Run a command that must fail as users are promised, and return its message."""
    before = sorted(str(path) for path in Path.cwd().rglob("*"))
    code = run(arguments)
    output = capsys.readouterr()
    lines = [
        line
        for line in output.err.splitlines()
        if not line.startswith(("target ", "note: ", "prior, "))
    ]
    assert code == 2, output
    assert output.out == ""
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]
    assert sorted(str(path) for path in Path.cwd().rglob("*")) == before
    return lines[0]


def write(text: str) -> str:
    Path("bad.csv").write_text(text)
    return "bad.csv"


COMMANDS = [["compare"], ["fit"]]


@pytest.mark.parametrize("command", COMMANDS)
class TestTrainingCommands:
    def test_missing_file(self, folder, capsys, command):
        fails(capsys, [*command, "dta.csv", "--targets", "price"], "dta.csv", "data.csv")

    def test_no_table(self, folder, capsys, command):
        fails(capsys, [*command, "--targets", "price"], "TABLE")

    def test_no_targets(self, folder, capsys, command):
        fails(capsys, [*command, "data.csv"], "--targets")

    def test_unknown_target_names_the_closest(self, folder, capsys, command):
        fails(capsys, [*command, "data.csv", "--targets", "prize"], "'prize'", "'price'")

    def test_target_also_ignored(self, folder, capsys, command):
        arguments = [*command, "data.csv", "--targets", "price,sold", "--ignore", "sold"]
        fails(capsys, arguments, "'sold'", "target", "ignored")

    def test_target_named_twice(self, folder, capsys, command):
        fails(capsys, [*command, "data.csv", "--targets", "price,price"], "'price'", "twice")

    def test_target_with_one_value(self, folder, capsys, command):
        bad = write("x,y\n" + "".join(f"{i},7\n" for i in range(30)))
        fails(capsys, [*command, bad, "--targets", "y"], "'y'")

    def test_all_labels_missing(self, folder, capsys, command):
        bad = write("x,y,z\n" + "".join(f"{i},,{i % 2}\n" for i in range(30)))
        fails(capsys, [*command, bad, "--targets", "y,z"], "'y'", "label")

    def test_regression_target_that_holds_text(self, folder, capsys, command):
        rows = "".join(f"{i},{'many' if i == 12 else i * 1.5}\n" for i in range(30))
        bad = write("x,y\n" + rows)
        arguments = [*command, bad, "--targets", "y", "--task", "y=regression"]
        fails(capsys, arguments, "'y'", "13", "'many'")

    def test_infinite_target(self, folder, capsys, command):
        bad = write("x,y\n" + "".join(f"{i},{'inf' if i == 3 else i}\n" for i in range(30)))
        fails(capsys, [*command, bad, "--targets", "y"], "'y'", "row 4")

    def test_infinite_feature(self, folder, capsys, command):
        bad = write("x,y\n" + "".join(f"{'-inf' if i == 3 else i},{i}\n" for i in range(30)))
        fails(capsys, [*command, bad, "--targets", "y"], "'x'", "row 4")

    def test_duplicate_column_names(self, folder, capsys, command):
        bad = write("x,x,y\n" + "".join(f"{i},{i},{i}\n" for i in range(30)))
        fails(capsys, [*command, bad, "--targets", "y"], "'x'")

    def test_empty_file(self, folder, capsys, command):
        fails(capsys, [*command, write(""), "--targets", "y"], "bad.csv", "empty")

    def test_header_only(self, folder, capsys, command):
        fails(capsys, [*command, write("x,y\n"), "--targets", "y"], "bad.csv", "row")

    def test_rows_of_unequal_length(self, folder, capsys, command):
        bad = write("x,y\n1,2\n1,2,3\n" + "4,5\n" * 30)
        fails(capsys, [*command, bad, "--targets", "y"], "bad.csv", "line 3")

    def test_truncated_parquet(self, folder, capsys, command):
        make_table().write_parquet("data.parquet")
        content = Path("data.parquet").read_bytes()
        Path("data.parquet").write_bytes(content[: len(content) // 2])
        fails(capsys, [*command, "data.parquet", "--targets", "price"], "data.parquet")

    def test_unknown_ending(self, folder, capsys, command):
        Path("data.xyz").write_text("a")
        fails(capsys, [*command, "data.xyz", "--targets", "price"], ".xyz", "row")

    def test_no_feature_left(self, folder, capsys, command):
        bad = write("x,y\n" + "".join(f"3,{i}\n" for i in range(30)))
        fails(capsys, [*command, bad, "--targets", "y"], "no feature")

    def test_output_that_exists(self, folder, capsys, command):
        Path("taken").mkdir()
        arguments = [*command, "data.csv", "--targets", "price", "--out", "taken"]
        fails(capsys, arguments, "taken", "--force")

    def test_force_never_deletes_a_foreign_folder(self, folder, capsys, command):
        Path("taken").mkdir()
        Path("taken/thesis.txt").write_text("years of work")
        arguments = [*command, "data.csv", "--targets", "price", "--out", "taken", "--force"]
        fails(capsys, arguments, "taken", "did not write")

    def test_unknown_key_in_config(self, folder, capsys, command):
        Path("c.toml").write_text('targets = "price"\nlearning-rte = 0.1\n')
        fails(capsys, [*command, "data.csv", "--config", "c.toml"], "learning-rte", "learning_rate")

    def test_broken_config(self, folder, capsys, command):
        Path("c.toml").write_text("targets = = 1")
        fails(capsys, [*command, "data.csv", "--config", "c.toml"], "c.toml", "TOML")

    def test_value_out_of_range(self, folder, capsys, command):
        arguments = [*command, "data.csv", "--targets", "price", "--dropout", "1.5"]
        fails(capsys, arguments, "--dropout", "1.5")

    def test_unknown_kind(self, folder, capsys, command):
        arguments = [*command, "data.csv", "--targets", "price", "--task", "price=regresion"]
        fails(capsys, arguments, "regresion", "regression")

    def test_kind_of_no_target(self, folder, capsys, command):
        arguments = [*command, "data.csv", "--targets", "price", "--task", "sold=binary"]
        fails(capsys, arguments, "'sold'")

    def test_weight_of_no_task(self, folder, capsys, command):
        arguments = [*command, "data.csv", "--targets", "price,sold", "--weights", "prize=2"]
        fails(capsys, arguments, "'prize'", "'price'")

    def test_unknown_weights(self, folder, capsys, command):
        arguments = [*command, "data.csv", "--targets", "price,sold", "--weights", "siz"]
        fails(capsys, arguments, "'siz'", "'size'")

    def test_unknown_flag(self, folder, capsys, command):
        fails(capsys, [*command, "data.csv", "--tragets", "price"], "--tragets", "--targets")

    def test_cuda_without_a_gpu(self, folder, capsys, command):
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
        arguments = [*command, "data.csv", "--targets", "price", "--device", "cuda"]
        fails(capsys, arguments, "cuda", "GPU")


def test_fewer_rows_than_folds(folder, capsys):
    bad = write("x,y\n1,2\n2,3\n3,5\n")
    fails(capsys, ["compare", bad, "--targets", "y"], "3", "5")


class TestPrediction:
    def test_missing_column(self, folder, capsys, bundle):
        make_table().drop("colour").rename({"x one": "x  one"}).write_csv("new.csv")
        fails(capsys, ["predict", str(bundle), "new.csv", "--out", "p.csv"], "column")

    def test_column_of_another_type(self, folder, capsys, bundle):
        make_table().with_columns(pl.lit("text").alias("größe")).write_csv("new.csv")
        fails(capsys, ["predict", str(bundle), "new.csv", "--out", "p.csv"], "größe", "text")

    def test_unseen_category_is_predicted_and_counted(self, folder, capsys, bundle):
        table = make_table()
        colours = ["violet", "violet", *table["colour"][2:]]
        table.with_columns(pl.Series("colour", colours)).write_csv("new.csv")
        assert run(["predict", str(bundle), "new.csv", "--out", "p.csv"]) == 0
        assert "2 rows have a value of 'colour'" in capsys.readouterr().err
        predictions = pl.read_csv("p.csv")
        assert len(predictions) == len(table)
        assert predictions["price"].is_finite().all()

    def test_output_that_exists(self, folder, capsys, bundle):
        Path("p.csv").write_text("mine")
        fails(capsys, ["predict", str(bundle), "data.csv", "--out", "p.csv"], "p.csv", "--force")
        assert Path("p.csv").read_text() == "mine"

    def test_unknown_ending_of_the_output(self, folder, capsys, bundle):
        fails(capsys, ["predict", str(bundle), "data.csv", "--out", "p.xls"], ".xls", ".csv")

    def test_evaluate_without_the_target(self, folder, capsys, bundle):
        make_table().drop("price").write_csv("new.csv")
        fails(capsys, ["evaluate", str(bundle), "new.csv"], "price")


def copied(bundle: Path) -> Path:
    import shutil

    return Path(shutil.copytree(bundle, "copy"))


class TestBundles:
    def test_no_bundle(self, folder, capsys):
        fails(capsys, ["inspect", "nowhere"], "nowhere", "no bundle")
        Path("empty").mkdir()
        fails(capsys, ["inspect", "empty"], "empty", "bundle.json")

    @pytest.mark.parametrize("name", ["weights.safetensors", "encoder.safetensors", "bundle.json"])
    def test_cut_file(self, folder, capsys, bundle, name):
        copy = copied(bundle)
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[: len(content) // 2])
        fails(capsys, ["predict", str(copy), "data.csv", "--out", "-"], "damaged")

    @pytest.mark.parametrize("name", ["weights.safetensors", "encoder.safetensors"])
    def test_missing_file(self, folder, capsys, bundle, name):
        copy = copied(bundle)
        (copy / name).unlink()
        fails(capsys, ["predict", str(copy), "data.csv", "--out", "-"], "damaged", name)

    @pytest.mark.parametrize("name", ["weights.safetensors", "encoder.safetensors"])
    def test_flipped_byte(self, folder, capsys, bundle, name):
        copy = copied(bundle)
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(bytes(content))
        fails(capsys, ["predict", str(copy), "data.csv", "--out", "-"], "damaged")

    def test_changed_description(self, folder, capsys, bundle):
        copy = copied(bundle)
        content = json.loads((copy / "bundle.json").read_text())
        content["seed"] = 7
        (copy / "bundle.json").write_text(json.dumps(content))
        fails(capsys, ["inspect", str(copy)], "damaged", "changed")

    def test_newer_schema(self, folder, capsys, bundle):
        copy = copied(bundle)
        content = json.loads((copy / "bundle.json").read_text())
        content["schema_version"] = 99
        (copy / "bundle.json").write_text(json.dumps(content))
        fails(capsys, ["inspect", str(copy)], "99")

    def test_bundle_holds_no_pickle(self, bundle):
        for path in bundle.iterdir():
            assert not path.read_bytes().startswith(b"\x80"), path
        names = sorted(path.name for path in bundle.iterdir())
        assert names == ["bundle.json", "encoder.safetensors", "weights.safetensors"]


@pytest.mark.parametrize("ensemble", ["1", "4"])
def test_interrupt_leaves_nothing(folder, capsys, monkeypatch, ensemble):
    import jointrain.training._trainer as trainer

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    # what a network alone and networks together both do at the end of an epoch
    monkeypatch.setattr(trainer.Trainer, "record", stop)
    command = ["fit", "data.csv", "--targets", "price", "--out", "model", *QUICK]
    assert run([*command, "--ensemble", ensemble]) == 130
    assert "stopped" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["data.csv"]


def test_interrupt_while_saving_keeps_the_old_bundle(folder, capsys, monkeypatch):
    from jointrain.bundle import _networks

    command = ["fit", "data.csv", "--targets", "price", "--out", "model", *QUICK]
    assert run(command) == 0
    before = {path.name: path.read_bytes() for path in Path("model").iterdir()}

    def stop(*arguments: object, **others: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_networks, "version", stop)
    assert run([*command, "--force"]) == 130
    assert {path.name: path.read_bytes() for path in Path("model").iterdir()} == before
    assert sorted(path.name for path in folder.iterdir()) == ["data.csv", "model"]


def test_help_does_not_import_torch():
    program = (
        "import sys; from jointrain.cli import run; run(['--help']); "
        "sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


class TestSearches:
    @pytest.mark.parametrize("command", ["weigh", "group", "share"])
    def test_one_target(self, folder, capsys, command):
        fails(capsys, [command, "data.csv", "--targets", "price"], "there is one task, 'price'")

    @pytest.mark.parametrize("command", ["weigh", "group", "share"])
    @pytest.mark.parametrize("budget", ["soon", "-1s", "0m", "nan"])
    def test_budgets_that_are_no_duration(self, folder, capsys, command, budget):
        arguments = [command, "data.csv", "--targets", "price,sold", "--budget", budget]
        fails(capsys, arguments, "--budget: expected a duration such as 60s", budget)

    @pytest.mark.parametrize("command", ["weigh", "group", "share"])
    def test_a_budget_that_is_too_small_still_ends_with_an_answer(self, folder, capsys, command):
        few = ["--folds", "2", "--workers", "1", "--budget", "0.001s", "--json", *QUICK]
        assert run([command, "data.csv", "--targets", "price,sold", *few]) == 0
        output = capsys.readouterr()
        answer = json.loads(output.out)
        assert "note: budget of 0.001 s: nothing larger was done in time" in output.err
        assert any("nothing larger was done in time" in note for note in answer["notes"])
        assert answer["answer"].endswith("first look: give a larger --budget.")

    def test_more_models_than_targets(self, folder, capsys):
        arguments = ["group", "data.csv", "--targets", "price,sold", "--models", "3"]
        fails(capsys, arguments, "between 1 and the number of tasks, 2, got 3")

    def test_what_is_searched_for_is_not_given(self, folder, capsys):
        targets = ["data.csv", "--targets", "price,sold"]
        fails(capsys, ["weigh", *targets, "--weights", "size"], "leave --weights out")
        fails(capsys, ["share", *targets, "--shared-depth", "1"], "leave --shared-depth out")

    def test_importance_of_what_is_no_target(self, folder, capsys):
        arguments = ["weigh", "data.csv", "--targets", "price,sold", "--importance", "prise=2"]
        fails(capsys, arguments, "'prise', which is no target (did you mean 'price'?)")

    def test_an_output_folder_that_exists(self, folder, capsys):
        Path("there").mkdir()
        arguments = ["share", "data.csv", "--targets", "price,sold", "--out", "there"]
        fails(capsys, arguments, "there exists", "--force")

    def test_groups_with_an_unknown_target(self, folder, capsys):
        arguments = ["fit", "data.csv", "--targets", "price,sold", "--groups", "prise;sold"]
        fails(capsys, arguments, "'prise', which is no target (did you mean 'price'?)")

    def test_groups_that_leave_a_target_out(self, folder, capsys):
        arguments = ["fit", "data.csv", "--targets", "price,sold", "--groups", "price"]
        fails(capsys, arguments, "says nothing about task 'sold'")

    def test_more_shared_layers_than_there_are(self, folder, capsys):
        arguments = ["fit", "data.csv", "--targets", "price,sold", "--shared-depth", "3"]
        fails(capsys, arguments, "between 0 and the depth, 2, got 3")


class TestSchedules:
    FIT = ("fit", "data.csv", "--targets", "price,sold")

    def test_unknown_order(self, folder, capsys):
        fails(capsys, [*self.FIT, "--order", "anneal"], "--order", "'annealed'")

    def test_block_below_one(self, folder, capsys):
        fails(capsys, [*self.FIT, "--block", "0"], "--block", "greater than or equal to 1")

    def test_temperature_without_its_order(self, folder, capsys):
        arguments = ["--schedule", "alternating", "--temperature", "2"]
        fails(capsys, [*self.FIT, *arguments], "`temperature` goes with order 'temperature'")

    def test_probabilities_that_do_not_sum_to_one(self, folder, capsys):
        arguments = ["--schedule", "alternating", "--probabilities", "price=0.5,sold=0.4"]
        fails(capsys, [*self.FIT, *arguments], "`probabilities` must sum to 1")

    def test_unknown_auxiliary_target_names_the_closest(self, folder, capsys):
        fails(capsys, [*self.FIT, "--auxiliary", "solt"], "'solt'", "did you mean 'sold'")

    def test_nothing_but_auxiliary_targets(self, folder, capsys):
        fails(capsys, [*self.FIT, "--auxiliary", "price,sold"], "all tasks are auxiliary")

    def test_freezing_without_patience(self, folder, capsys):
        fails(capsys, [*self.FIT, "--when-converged", "freeze"], "`task_patience` go together")

    def test_phases_without_any(self, folder, capsys):
        fails(capsys, [*self.FIT, "--schedule", "phases"], "[[phases]]", "go together")

    @pytest.mark.parametrize(
        "phase, parts",
        [
            ('name = "x"', ("phases.0", "needs a length")),
            ('name = "x"\nepoch = 2', ("phases.0.epoch", "Unexpected")),
            ('name = "x"\nepochs = 2\nfreeze = ["trnk"]', ("'trnk'", "did you mean 'trunk'")),
            ('name = "x"\nepochs = 2\ntasks = ["prize"]', ("'prize'", "did you mean 'price'")),
        ],
    )
    def test_a_phase_that_can_not_be(self, folder, capsys, phase, parts):
        Path("run.toml").write_text(f'schedule = "phases"\n[[phases]]\n{phase}\n')
        fails(capsys, [*self.FIT, "--config", "run.toml", *QUICK], *parts)


def stop_after_the_first_job(monkeypatch):
    from jointrain.studies import _measurements

    def stopped(jobs, **options):
        yield from islice(run_jobs(jobs, **options), 1)
        raise KeyboardInterrupt

    run_jobs = _measurements.run_jobs
    monkeypatch.setattr(_measurements, "run_jobs", stopped)
    # a fold is a job, as with more targets
    monkeypatch.setattr("jointrain.experiments._job_parts.RUNS_TOGETHER", 1)


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_interrupt_of_a_study_gives_the_figures_so_far(folder, capsys, monkeypatch, more):
    stop_after_the_first_job(monkeypatch)
    command = ["compare", "data.csv", "--targets", "price,sold", "--workers", "1", "--folds", "3"]
    assert run([*command, *QUICK, "--seeds", "1", "--out", "answer", *more]) == 130
    said = capsys.readouterr()
    text = said.err if more else said.out
    assert "So far (1 of 3 folds): together " in text
    assert "no verdict before all folds are in." in text
    assert "separate" in text
    assert said.out == "" or not more
    assert "nothing was written" in said.err
    assert not (folder / "answer").exists()


def test_want_of_memory_is_one_line(folder, capsys, monkeypatch):
    def full(*arguments: object, **others: object) -> None:
        raise MemoryError

    monkeypatch.setattr("jointrain.data.read_raw", full)
    fails(capsys, ["fit", "data.csv", "--targets", "price"], "more memory than there is")


def test_a_bomb_of_zstd_ends_in_one_line(folder, bundle, capsys):
    import pyarrow as pa

    with pa.CompressedOutputStream("rows.csv.zst", "zstd") as packed:
        for _ in range(300):
            packed.write(b"0" * (1 << 20))
    arguments = ["predict", str(bundle), "rows.csv.zst", "--out", "out.csv"]
    fails(capsys, arguments, "grows from", "to more than 268435456")


def test_interrupt_after_saving_says_where_the_model_is(folder, capsys, monkeypatch):
    def stop(*arguments: object, **others: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jointrain.cli._fit.print_rows", stop)
    assert run(["fit", "data.csv", "--targets", "price", "--out", "out", *QUICK]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "stopped: what was to be printed is saved in out"
    assert (folder / "out" / "bundle.json").exists()
