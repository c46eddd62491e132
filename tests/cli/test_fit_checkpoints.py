"""`jointrain fit --checkpoints`: stopped at any moment and resumed, it leaves the same bundle."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jointrain.cli import run
from jointrain.cli._fit_checkpoints import check_checkpoints
from jointrain.errors import InvalidInputError
from jointrain.training.checkpoints import CheckpointFolder

FIT = ["fit", "rows.csv", "--targets", "a,b", "--width", "4", "--device", "cpu"]
SHORT = ["--epochs", "3", "--ensemble", "2"]
EVERY_OPTION = shlex.split(
    "--precision bf16 --ema 0.9 --accumulate 2 --non-finite skip --non-finite-limit 3 "
    "--lr-scheduler StepLR --lr-scheduler-option step_size=1,gamma=0.5 "
    "--parameter-group trunk.lr=0.001,heads.a.lr=0.01,b.weight_decay=0"
)
KEPT = ["--checkpoints", "kept", "--checkpoint-every", "2"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _write_rows()
    return tmp_path


def _write_rows(seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(120, 3))
    columns = {f"x{i}": x[:, i] for i in range(3)}
    noise = generator.normal(size=120)
    pl.DataFrame({**columns, "a": x[:, 0] + noise, "b": x[:, 1] > noise}).write_csv("rows.csv")


def _files(bundle):
    return {file.name: file.read_bytes() for file in Path(bundle).iterdir()}


@pytest.fixture
def interrupted(monkeypatch):
    """Return what lets the process end as by Ctrl-C after so many checkpoints."""
    write = CheckpointFolder.write

    def after(count):
        left = [count]

        def stopping(self, step, state):
            done = write(self, step, state)
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
            return done

        monkeypatch.setattr(CheckpointFolder, "write", stopping)

    return after


@pytest.mark.parametrize(
    "options, stops",
    [
        pytest.param([], [1, 3], marks=pytest.mark.integration),
        (["--weights", "difficulty", *EVERY_OPTION], [3, 2]),
        pytest.param(["--schedule", "merge-mean"], [3], marks=pytest.mark.integration),
    ],
)
def test_stopped_and_resumed_it_leaves_the_same_bundle(folder, capsys, interrupted, options, stops):
    command = [*FIT, *SHORT, *options]
    assert run([*command, "--out", "whole", "--checkpoints", "other"]) == 0
    more = []
    for count in stops:
        interrupted(count)
        assert run([*command, *KEPT, "--out", "model", *more]) == 130
        assert "stopped: the checkpoints are in kept" in capsys.readouterr().err
        assert not Path("model").exists()
        more = ["--resume"]
    interrupted(0)
    assert run([*command, *KEPT, "--out", "model", "--resume"]) == 0
    assert _files("model") == _files("whole")
    assert run([*command, *KEPT, "--out", "again", "--resume"]) == 0
    assert _files("again") == _files("whole")


@pytest.mark.integration
def test_a_folder_that_is_streamed_goes_on(folder, capsys, interrupted):
    Path("rows").mkdir()
    pl.read_csv("rows.csv").write_parquet("rows/1.parquet", row_group_size=30)
    command = ["fit", "rows", *FIT[2:], "--epochs", "3"]
    assert run([*command, "--out", "whole", "--checkpoints", "other"]) == 0
    interrupted(2)
    assert run([*command, *KEPT, "--out", "model"]) == 130
    interrupted(0)
    assert run([*command, *KEPT, "--out", "model", "--resume"]) == 0
    assert _files("model") == _files("whole")
    pl.read_csv("rows.csv").reverse().write_parquet("rows/2.parquet")
    assert run([*command, *KEPT, "--out", "again", "--resume"]) == 2
    assert "are of another table" in capsys.readouterr().err


@pytest.mark.integration
def test_without_checkpoints_the_networks_differ_by_rounding_alone(folder, capsys):
    losses = []
    for more in ([], KEPT):
        assert run([*FIT, *SHORT, "--out", f"model{len(more)}", "--json", *more]) == 0
        losses.append(json.loads(capsys.readouterr().out)["validation_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    "said, message",
    [
        (["--resume"], "--resume needs the folder of the checkpoints"),
        (["--checkpoint-every", "9"], "--checkpoint-every needs the folder of the checkpoints"),
        (["--checkpoints", "new", "--resume"], "there is no checkpoint in new; leave --resume out"),
        (["--checkpoints", "kept"], "kept has checkpoints; go on with --resume"),
        (["--checkpoints", "."], "holds something else than checkpoints of a fit"),
        (["--checkpoints", "rows.csv"], "holds something else than checkpoints of a fit"),
        (["--checkpoints", "kept", "--checkpoint-every", "soon"], "such as 30s, 10min or 2h"),
        (["--checkpoints", "kept", "--checkpoint-every", "0"], "such as 30s, 10min or 2h"),
        (["--checkpoints", "kept", "--resume", "--width", "5"], "--width was 4, not 5"),
        (["--checkpoints", "kept", "--resume", "--seed", "5"], "--seed was 0, not 5"),
        (["--checkpoints", "kept", "--resume", "--precision", "bf16"], '"32", not "bf16"'),
    ],
)
def test_what_does_not_go_together_is_said_in_a_line(folder, capsys, said, message):
    _begun()
    assert run([*FIT, *SHORT, "--out", "model", *said]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert error.startswith("error: ")


def test_a_folder_of_a_fit_that_was_killed_as_it_began_may_be_used(folder):
    Path("kept").mkdir()
    Path("kept", ".fit.json.123.tmp.json").write_text("{")
    check_checkpoints(Path("kept"), every=None, resume=False)


@pytest.mark.parametrize("name", ["TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"])
def test_a_command_that_is_started_anew_goes_on_by_itself(folder, monkeypatch, name):
    _begun()
    monkeypatch.setenv(name, "1")
    check_checkpoints(Path("kept"), every=None, resume=False)
    monkeypatch.setenv(name, "0")
    with pytest.raises(InvalidInputError, match="go on with --resume"):
        check_checkpoints(Path("kept"), every=None, resume=False)


def _begun():
    """Let a folder be that of a fit that has begun, which has no network yet."""
    begin = FIT, SHORT, ["--out", "whole", "--checkpoints", "kept"]
    if "kept" not in _BEGUN:
        assert run([part for parts in begin for part in parts]) == 0
        _BEGUN["kept"] = Path("kept/fit.json").read_bytes()
        return
    Path("kept").mkdir()
    Path("kept/fit.json").write_bytes(_BEGUN["kept"])


_BEGUN = {}


def test_another_table_or_a_damaged_description_is_refused(folder, capsys):
    _begun()
    _write_rows(seed=1)
    command = [*FIT, *SHORT, "--out", "model", "--checkpoints", "kept", "--resume"]
    assert run(command) == 2
    assert "are of another table: other rows, columns or targets" in capsys.readouterr().err
    Path("kept/fit.json").write_text('{"table":')
    assert run(command) == 2
    assert "is damaged" in capsys.readouterr().err


def test_checkpoints_of_other_defaults_are_refused(folder, capsys):
    _begun()
    told = json.loads(Path("kept/fit.json").read_text())
    del told["options"]["open settings"]
    Path("kept/fit.json").write_text(json.dumps(told))
    command = [*FIT, *SHORT, "--out", "model", "--checkpoints", "kept", "--resume"]
    assert run(command) == 2
    assert "kept are of a jointrain with other defaults; choose" in capsys.readouterr().err


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_goes_on(folder, number):
    command = [sys.executable, "-m", "jointrain", *FIT, "--epochs", "150", "--ensemble", "2"]
    command += ["--patience", "150"]  # training is not over when the signal comes
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(
        [*command, "--out", "whole", "--checkpoints", "other"], env=environment, check=True
    )
    more = []
    for wanted in ("network-0001", "network-0002"):
        process = subprocess.Popen(
            [*command, *KEPT, "--out", "model", *more], env=environment, stderr=subprocess.PIPE
        )
        while process.poll() is None and not list(Path("kept", wanted).glob("step-*")):
            time.sleep(0.01)
        time.sleep(0.05)
        process.send_signal(number)
        told = process.communicate()[1].decode()
        assert process.returncode in (-number, 128 + number), told
        if number != signal.SIGKILL:
            assert "the same command with --resume goes on" in told
        more = ["--resume"]
    subprocess.run([*command, *KEPT, "--out", "model", "--resume"], env=environment, check=True)
    assert _files("model") == _files("whole")


@pytest.mark.integration
def test_the_commands_of_the_page(folder):
    page = (Path(__file__).parents[2] / "docs" / "resume.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) == 3
    pl.read_csv("rows.csv").head(40).rename({"a": "price", "b": "sold"}).write_csv("sales.csv")
    command = f"{shlex.quote(sys.executable)} -m jointrain "
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    found = []
    for line in lines:
        line = line.replace("jointrain ", command, 1)
        subprocess.run(line, shell=True, env=environment, check=True)
        found.append(_files("model"))
        shutil.rmtree("model")
    assert found[0] == found[1] == found[2]
