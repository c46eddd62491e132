"""The commands of each page run as printed, on tables that the page writes or names.

Training is made short by flags that are added. What no test runs stands in `NOT_RUN`, with the
reason; a command that is in no list fails.
"""

from __future__ import annotations

import random
import re
import shlex
from pathlib import Path

import pytest

from jointrain.cli import run
from tests.page_programs import ROOT, commands_of, programs_of

RUN_BY = {
    "clinical_records.md": "tests/test_clinical_records_page.py",
    "examples/competition.md": "tests/examples/test_competition.py",
    "larger_than_memory.md": "tests/test_larger_than_memory_page.py",
    "new_balancer.md": "tests/test_new_balancer_page.py",
    "recommender_logs.md": "tests/test_recommender_page.py",
    "resume.md": "tests/cli/test_fit_checkpoints.py",
    "serving.md": "tests/serving/test_page.py",
}
"""Pages whose commands have a test of their own."""

NOT_RUN = {
    "jointrain demo": "a minute; tests/test_release.py runs it from the wheel",
    "jointrain serve energy-answer/bundle": "serves until Ctrl-C; tests/serving/test_page.py",
    "jointrain convert old-answer/bundle answer": "a bundle of release 0.1: tests/bundle",
    "jointrain compare my_module:": "a module of one's own: tests/cli/test_compare_experiment.py",
    "jointrain weigh my_module:": "the same",
    "jointrain group my_module:": "the same",
    "jointrain share my_module:": "the same",
    "jointrain --install-completion": "writes to a shell: tests/cli/test_completion.py",
    "jointrain fit data.csv --targets price,demand --out": "torchrun: tests/cli/test_ranks.py",
    "jointrain compare 'postgresql://": "a server: tests/data/test_database.py",
    "jointrain watch": "until Ctrl-C, or of a server: tests/cli/test_watch.py",
}
"""How the commands begin that no test runs as they are printed: the reason."""

TABLES = {
    "after_shipping.md": {"train.csv": "y", "last-week.csv": "y"},
    "balancing.md": {"table.csv": "price,demand"},
    "chains.md": {"log.csv": "click?,purchase??", "new.csv": ""},
    "choosing_a_balancer.md": {"data.csv": "price,demand,returns"},
    "compare.md": {"data.csv": "price,demand,returns"},
    "explaining.md": {"training.csv": "price", "new_rows.csv": ""},
    "exporting.md": {"table.csv": "price"},
    "many_targets.md": {"assays.csv": ",".join(f"a{i}?" for i in range(1, 9))},
    "networks.md": {"table.csv": "price,sold?", "new.csv": ""},
    "tables.md": {"prices.csv": "price"},
    "watching.md": {"sales.csv": "price,demand"},
    "README.md": {
        "energy_efficiency.csv": "heating_load,cooling_load",
        "new_buildings.csv": "",
        "measured_buildings.csv": "heating_load,cooling_load",
        "data.csv": "price,demand,returns",
    },
}
"""Tables that a page names and leaves to the reader: columns beside features; "?" marks classes.

With "??" it is "no" wherever the column before it is.
"""

FIRST = {
    "after_shipping.md": "jointrain fit train.csv --targets y --out model",
    "explaining.md": "jointrain fit training.csv --targets price --out model",
    "exporting.md": "jointrain fit table.csv --targets price --out model",
}
"""What a page takes for granted."""

ALTERNATIVES = {"balancing.md", "networks.md", "watching.md"}
"""Pages whose commands are not a sequence: they write to the same folder."""

NEEDS = {"README.md": "shap", "explaining.md": "shap", "exporting.md": "onnxruntime"}

SHORT = {
    "compare": "--folds 2 --seeds 1 --epochs 2 --ensemble 1 --baselines constant --workers 1",
    "fit": "--epochs 2 --ensemble 1",
    "weigh": "--folds 2 --seeds 1 --epochs 2 --trials 1 --workers 1",
    "group": "--folds 2 --seeds 1 --epochs 2 --trials 1 --workers 1",
    "share": "--folds 2 --seeds 1 --epochs 2 --workers 1",
    "explain": "--rows 2",
}

PAGES = {
    str(page.relative_to(ROOT / "docs")) if page.is_relative_to(ROOT / "docs") else page.name: page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md")))
}
COMMANDS = {
    name: [c for c in commands_of(page) if not any(c.startswith(one) for one in NOT_RUN)]
    for name, page in PAGES.items()
    if name not in RUN_BY
}
FOLLOWED = [name for name, commands in COMMANDS.items() if commands]
QUICK = {"results_from_elsewhere.md"}


def shorter(words: list[str]) -> list[str]:
    """Return a command's words with flags that make training short, where it has no such flag."""
    if "--budget" in words:
        place = words.index("--budget") + 1
        return [*words[:place], "4s", *words[place + 1 :], "--workers", "1"]
    added = shlex.split(SHORT.get(words[0], ""))
    pairs = zip(added[::2], added[1::2], strict=True)
    kept = [one for pair in pairs for one in pair if pair[0] not in words or pair[0] == "--trials"]
    return [*words, *kept]


def write_table(path: Path, columns: str) -> None:
    """Write 60 rows of two features and these columns."""
    luck = random.Random(path.name)
    names = [name for name in columns.split(",") if name]
    lines = [",".join(["id", "size", "town", *(name.rstrip("?") for name in names)])]
    for row in range(60):
        size, town = luck.random() * 10, luck.choice(["north", "south"])
        cells: list[str] = []
        for name in names:
            if not name.endswith("?"):
                cells.append(f"{abs(size + luck.gauss(0, 1)) + 0.1:.3f}")
            elif name.endswith("??") and cells[-1] == "no":
                cells.append("no")
            else:
                cells.append("yes" if size + luck.gauss(0, 2) > 5 else "no")
        lines.append(",".join([str(1000 + 7 * row % 60), f"{size:.3f}", town, *cells]))
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.integration])
        for name in FOLLOWED
    ],
)
def test_the_commands_of_a_page_run(name, tmp_path, monkeypatch, capsys):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"no {NEEDS[name]} on this machine")
    monkeypatch.chdir(tmp_path)
    for table, columns in TABLES.get(name, {}).items():
        write_table(Path(table), columns)
    for program in programs_of(PAGES[name]):
        if "write_csv" in program:
            exec(compile(program, name, "exec"), {"__name__": "__main__"})
    write_runs(PAGES[name])
    for command in [*filter(None, [FIRST.get(name)]), *COMMANDS[name]]:
        words = shorter(shlex.split(command, comments=True)[1:])
        if name in ALTERNATIVES and words[0] != "predict" and "--out" not in words:
            words.append("--force")
        assert run(words) in allowed(words), (words, capsys.readouterr().err)


def allowed(words: list[str]) -> set[int]:
    """Return the exit codes that a command may end with."""
    return {0, 3} if "--fail-below" in words else {0}


def write_runs(page: Path) -> None:
    """Write the runs that a page shows or describes."""
    shown = re.search(r"```text\n( *recipe,task,metric.*?)```", page.read_text(), re.DOTALL)
    if shown:
        Path("runs.csv").write_text(re.sub(r"^ +", "", shown[1], flags=re.MULTILINE))
    elif page.name == "given_runs.md":
        luck = random.Random(0)
        long, wide = ["recipe,method,split,task,metric,seed,value"], []
        for recipe, method in (("separate", "single"), ("joint", "joint")):
            for seed in range(3):
                value = f"{0.8 + 0.1 * (recipe == 'joint') + luck.gauss(0, 0.01):.3f}"
                long.append(f"{recipe},{method},{seed},a,accuracy,{seed},{value}")
                wide.append(f"{recipe},{seed},{value}")
        Path("runs.csv").write_text("\n".join(long) + "\n")
        header = "params.recipe,params.seed,metrics.a/accuracy"
        Path("mlflow.csv").write_text("\n".join([header, *wide]) + "\n")
        Path("wandb.csv").write_text("\n".join(["Group,seed,val/acc_a", *wide]) + "\n")


def test_every_command_is_run_or_says_why_not():
    printed = [command for page in PAGES.values() for command in commands_of(page)]
    for start in NOT_RUN:
        assert any(command.startswith(start) for command in printed), start
    for name, where in RUN_BY.items():
        assert commands_of(PAGES[name]), name
        assert (ROOT / where).is_file(), where


def test_every_program_that_is_more_than_a_block_has_a_test():
    """Programs in files of their own (`py`) are run by a test that names the page."""
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*_page.py"))
    for page in PAGES.values():
        if re.search(r"^ *```py$", page.read_text(), re.MULTILINE):
            assert f'"{page.name}"' in tests, page.name
