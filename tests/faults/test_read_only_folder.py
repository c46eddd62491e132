"""Folders that can't be written, for a user who obeys their permissions."""

import os
import subprocess
import sys

import pytest

from jointrain import Recipe, SupervisedTable, fit_table, load_penguins, save_bundle

WITHOUT = "-dac_override,-dac_read_search"
"""By these a root user writes where the permissions say that nobody may."""


def _as_who_obeys():
    """Return the beginning of a command that permissions hold for."""
    if sys.platform == "win32":
        pytest.skip("permissions of POSIX")
    if os.geteuid():
        return []
    prefix = ["setpriv", f"--bounding-set={WITHOUT}", f"--inh-caps={WITHOUT}"]
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"root can't give up its rights here: {error}")
    return prefix


def test_a_read_only_folder_is_said_in_one_line_and_its_bundle_is_read(tmp_path):
    prefix = _as_who_obeys()
    table = SupervisedTable.prepare(load_penguins(), ["sex", "body_mass_g"])
    closed = tmp_path / "closed"
    closed.mkdir()
    save_bundle(fit_table(table, Recipe(width=8, epochs=1), seed=1), closed / "model")
    load_penguins().write_csv(closed / "rows.csv")
    fit = ["fit", "closed/rows.csv", "--targets", "sex", "--epochs", "1", "--width", "8"]
    commands = [
        [*fit, "--out", "closed/other"],
        [*fit, "--out", "closed/model", "--force"],
        ["predict", "closed/model", "closed/rows.csv", "--out", "closed/out.csv"],
        ["predict", "closed/model", "closed/rows.csv", "--out", "out.csv"],
    ]
    closed.chmod(0o555)
    try:
        done = subprocess.run(
            [*prefix, sys.executable, "-c", f"from jointrain.cli import run\n"
             f"for arguments in {commands!r}: print(run(arguments))"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        closed.chmod(0o755)
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.stdout.splitlines() == ["2", "2", "2", "Predicted 344 rows: out.csv", "0"]
    assert len(said) == 3, done.stderr
    assert all("can't be" in line for line in said)
    assert sorted(path.name for path in closed.iterdir()) == ["model", "rows.csv"]
    assert (tmp_path / "out.csv").exists()
