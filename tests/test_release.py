"""What is released: the wheel, the source archive and the site."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import jointrain

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_one_version_everywhere():
    assert PROJECT["version"] == jointrain.__version__
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {jointrain.__version__}\n" in citation
    assert f"\n## [{jointrain.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_what_make_is_asked_for_is_done_even_where_a_folder_has_that_name():
    text = (ROOT / "Makefile").read_text()
    asked = set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    assert asked == set(phony[1].split())


def test_users_get_no_package_of_tests_or_plots():
    names = {re.split(r"[\[>=<; ]", line)[0] for line in PROJECT["dependencies"]}
    assert not names & {"pytest", "hypothesis", "matplotlib", "altair", "plotly", "pandas"}


def test_hadolint_finds_nothing_in_the_dockerfile():
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    hadolint = shutil.which("hadolint", path=folders)
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    found = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    bad = subprocess.run([hadolint, "-"], input="FROM python\n", capture_output=True, text=True)
    assert "DL3006" in bad.stdout


def test_the_conda_recipe_has_the_dependencies_and_the_version():
    recipe = (ROOT / "conda/recipe/meta.yaml").read_text()
    assert f'{{% set version = "{jointrain.__version__}" %}}' in recipe
    run = recipe.split("  run:")[1].split("test:")[0]
    found = [(name, bound) for name, bound in re.findall(r"- ([\w-]+) (\S+)", run)]
    wanted = [re.fullmatch(r"([\w-]+)(\S+)", line).groups() for line in PROJECT["dependencies"]]
    renamed = {"torch": "pytorch"}
    assert found == [("python", PROJECT["requires-python"])] + [
        (renamed.get(name, name), bound) for name, bound in wanted
    ]


def test_workflows_run_the_same_script_and_pin_their_actions():
    folder = ROOT / ".github/workflows"
    ci = (folder / "ci.yml").read_text()
    assert ".ci/run\n" in ci
    assert ".ci/run test\n" in ci
    for version in ("3.11", "3.12", "3.13", "3.14"):
        assert f'python: "{version}"' in ci or f'python-version: "{version}"' in ci
    for path in folder.glob("*.yml"):
        for action in re.findall(r"uses: (\S+)", path.read_text()):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), f"{path.name}: {action}"


def test_the_page_names_each_extra():
    page = (ROOT / "docs/install.md").read_text()
    rows = "".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE))
    assert set(re.findall(r"`([\w-]+)`", rows)) == set(PROJECT["optional-dependencies"])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.integration
def test_twine_accepts_what_is_built(built):
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.integration
def test_the_description_names_pages_of_the_archive_and_has_no_dead_link(built):
    (wheel,), (archive,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [name for name in opened.namelist() if name.endswith("/METADATA")]
        said = opened.read(name).decode()
    assert "\nDescription-Content-Type: text/markdown\n" in said
    said = said.partition("\n\n")[2]
    assert said.startswith("# jointrain\n")
    assert not re.findall(r"\]\((?!https?://)", said)
    with tarfile.open(archive) as opened:
        inside = {name.partition("/")[2] for name in opened.getnames()}
    named = set(re.findall(r"[\w./-]+\.md\b", said)) - {"report.md"}  # a page that compare writes
    assert "docs/compare.md" in named
    assert named <= inside


@pytest.mark.integration
def test_wheel_and_archive_hold_what_they_should(built):
    (wheel,), (archive,) = built.glob("*.whl"), built.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"jointrain/py.typed", "jointrain/__init__.pyi", "jointrain/data/penguins.csv"} <= {
        *names
    }
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "docs"))]
    modules = {
        str(path.relative_to(ROOT / "src")) for path in (ROOT / "src/jointrain").rglob("*.py")
    }
    assert modules <= {*names}
    with tarfile.open(archive) as opened:
        inside = opened.getnames()
    assert any(name.endswith("/pyproject.toml") for name in inside)
    assert not [name for name in inside if name.split("/")[1:2] == ["tests"]]


@pytest.mark.integration
def test_the_wheel_works_outside_of_the_checkout(built, tmp_path):
    """Its code and tables come from the wheel, its dependencies from this environment."""
    (wheel,) = built.glob("*.whl")
    target = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target]
    subprocess.run([*command, wheel], check=True, capture_output=True)
    work = tmp_path / "empty"
    work.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(target), "HOME": str(work)}

    def jointrain_command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "jointrain", *arguments],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
        )

    assert jointrain_command("--version").stdout.strip() == f"jointrain {jointrain.__version__}"
    shown = jointrain_command("demo")
    assert shown.returncode == 0, shown.stderr
    assert str(target) in shown.stderr  # the table of the wheel
    # the lower end of the interval is near 0: the last bits of the processor decide which it is
    advice = r"Train heating_load and cooling_load together|Together costs .*; take it"
    assert re.search(advice, shown.stdout)
    assert (work / "energy-answer/bundle/bundle.json").is_file()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the folder of the site, which is built without a warning."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.integration
def test_the_site_has_a_reference(site):
    reference = (site / "reference/balancing.html").read_text()
    assert 'id="jointrain.balancing.aggregation._upgrad.UPGrad"' in reference
    for word in (":math:", ".. math::", ":class:", ":meth:"):
        assert word not in reference


@pytest.mark.integration
def test_no_page_of_the_site_fetches_anything(site):
    fetched = re.compile(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(?:https?:)?//[^>]*>")
    for page in site.rglob("*.html"):
        assert not fetched.findall(page.read_text()), page.name


@pytest.mark.integration
def test_search_works_from_disk_without_a_network(site):
    playwright = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-headless-shell", "google-chrome")
    found = os.environ.get("JOINTRAIN_BROWSER") or next(
        filter(None, map(shutil.which, names)), None
    )
    with playwright.sync_playwright() as driver:
        try:
            # a container without user namespaces has no sandbox; the pages are our own
            browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no browser (make browser installs one): {str(error).splitlines()[0]}")
        page = browser.new_context(offline=True).new_page()
        failed = []
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.set_default_timeout(300_000)
        page.goto((site / "index.html").as_uri(), wait_until="domcontentloaded")
        page.click("input.md-search__input")
        page.keyboard.type("missing labels")
        page.wait_for_selector(".md-search-result__item")
        assert "Some labels are missing" in page.inner_text(".md-search-result__list")
        assert not failed
        browser.close()


USERS_FILE = """
from collections.abc import Sequence

import torch
from torch import nn

from jointrain import Experiment, Folds, HardSharing, Recipe, Study, Task, TensorData, Trainer
from jointrain import fit_chosen, named_recipes
from jointrain.balancing import GramianWeighting, UPGrad, backward


class Mine(GramianWeighting):
    name = "mine"

    def weights(self, gramian: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
        return gramian.diagonal().rsqrt()


def network(tasks: Sequence[Task]) -> HardSharing:
    return HardSharing(nn.Linear(4, 8), {task.name: nn.Linear(8, 1) for task in tasks})


tasks = [Task.regression("a"), Task.binary("b")]
x = torch.randn(60, 4)
data = TensorData(x, {"a": x.sum(1), "b": (x[:, 0] > 0).float()})
trainer = Trainer(network(tasks), tasks, balancer=UPGrad(), epochs=2)
loss: float = trainer.fit(data)[-1].training["a"]
study = Study(Experiment(tasks, network, data, Folds(3)), named_recipes(["joint"], Recipe()))
predicted: torch.Tensor = fit_chosen(study.run()).predict(x)["a"]
weights = backward({"a": x.sum(), "b": x.mean()}, Mine()).weights
"""


@pytest.mark.integration
def test_a_users_file_passes_strict_type_checks(tmp_path):
    (tmp_path / "user.py").write_text(USERS_FILE)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--cache-dir",
        tmp_path / "cache",
        "user.py",
    ]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
