"""Pages in a real browser: what is seen, hovered, chosen and read aloud, at three widths."""

import os
import shutil

import numpy as np
import polars as pl
import pytest

from jointrain.cli._command_line import run
from jointrain.reports import interim_figures, write_page

pytestmark = pytest.mark.integration

WIDTHS = (360, 768, 1440)
NAMES = ("chromium", "chromium-headless-shell", "google-chrome")
PAGES = ("study", "search", "runs", "unfinished")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    found = os.environ.get("JOINTRAIN_BROWSER") or next(
        filter(None, map(shutil.which, NAMES)), None
    )
    with playwright.sync_playwright() as driver:
        try:
            # a container without user namespaces has no sandbox; the pages are our own
            opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no browser (make browser installs one): {str(error).splitlines()[0]}")
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return a page of each kind, made by the commands."""
    folder = tmp_path_factory.mktemp("pages")
    data = "src/jointrain/data/penguins.csv"
    targets = ["--targets", "species,sex,body_mass_g"]
    few = ["--epochs", "6", "--width", "16", "--folds", "2", "--seeds", "1"]
    assert run(["compare", data, *targets, *few, "--folds", "3", "--out", f"{folder}/study"]) == 0
    assert run(["group", data, *targets, *few, "--out", f"{folder}/search"]) == 0
    random = np.random.default_rng(0)
    rows = [
        {"recipe": recipe, "task": task, "metric": "accuracy", "seed": seed,
         "value": 0.7 + 0.05 * (recipe == "joint") + 0.01 * random.normal()}
        for recipe in ("separate", "joint", "pcgrad")
        for task in ("a long name of a task", "b")
        for seed in range(5)
    ]  # fmt: skip
    frame = pl.DataFrame(rows)
    frame.write_csv(folder / "runs.csv")
    (folder / "runs").mkdir()
    page = str(folder / "runs" / "report.html")
    assert run(["verdict", str(folder / "runs.csv"), "--report", page]) == 0
    (folder / "unfinished").mkdir()
    figures = interim_figures(
        frame.with_columns(fold=pl.lit(0)), "unfinished", recipes=["separate", "joint"],
        done=5, planned=20, higher={"accuracy": True},
    )  # fmt: skip
    write_page(figures, folder / "unfinished")
    return {name: folder / name / "report.html" for name in PAGES}


@pytest.fixture
def opened(browser, pages):
    """Open a page in a window of some width; return it with what the console said."""
    windows = []

    def open_page(name, width=1440, scheme="light"):
        window = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        windows.append(window)
        window.set_default_timeout(180_000)  # a machine may be busy
        said, asked = [], []
        window.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        window.on("pageerror", lambda error: said.append(str(error)))
        window.on("request", lambda request: asked.append(request.url))
        window.goto(pages[name].as_uri())
        window.wait_for_function("document.documentElement.dataset.drawn !== undefined")
        return window, said, asked

    yield open_page
    for window in windows:
        window.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_charts_are_drawn_without_an_error_and_fit(opened, name, width):
    window, said, asked = opened(name, width)
    assert said == []
    assert all(url.startswith(("file:", "data:")) for url in asked)
    charts = window.locator(".chart")
    assert window.locator(".chart > svg, .chart svg.marks").count() == charts.count()
    assert charts.count() >= {"study": 12, "search": 4, "runs": 4, "unfinished": 0}[name]
    assert window.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_violation_of_wcag_aa(opened, name, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    window, _, _ = opened(name, width)
    window.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    all_rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    # a scheme changes nothing but colours
    for scheme, rules in (("light", all_rules), ("dark", ["color-contrast", "link-in-text-block"])):
        window.emulate_media(color_scheme=scheme)
        found = axe.run(window, options={"runOnly": rules})
        assert found.violations_count == 0, found.generate_report()
        assert len(found.response["passes"]) > (10 if rules is all_rules else 0)


def test_a_figure_is_said_where_the_pointer_is(opened):
    window, _, _ = opened("study")
    point = window.locator("#chart-0 .mark-symbol path").first
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    window.wait_for_selector("#vg-tooltip-element.visible")
    text = window.locator("#vg-tooltip-element").inner_text()
    assert "verdict" in text
    assert "interval" in text


def test_the_selectors_choose_the_targets(opened):
    window, _, _ = opened("study")
    choice = window.locator(".choice select")
    assert choice.count() == 2
    chart = window.locator("figure", has=choice.first).locator(".chart")

    def points():
        return chart.locator(".mark-symbol.role-mark path").evaluate_all(
            "all => all.map((one) => one.getAttribute('transform')).sort()"
        )

    before = points()
    assert len(before) == 4
    choice.nth(1).focus()
    window.keyboard.press("ArrowDown")  # as by hand, without a mouse
    choice.nth(1).select_option("body_mass_g")
    window.wait_for_function("true")
    assert points() != before


def test_everything_can_be_reached_and_opened_by_keys(opened):
    window, _, _ = opened("study")
    window.keyboard.press("Tab")
    assert window.evaluate("document.activeElement.className") == "skip"
    summary = window.locator("summary").first
    summary.focus()
    window.keyboard.press("Enter")
    table = window.locator("figure table").first
    assert table.is_visible()
    assert "joint" in table.inner_text()


def test_paper_has_all_tables_and_light_colours(opened, tmp_path):
    window, _, _ = opened("study", scheme="dark")
    window.emulate_media(media="print", color_scheme="dark")
    window.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").stat().st_size > 50_000
    assert (
        window.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    )
    assert window.locator("details:not([open])").count() == 0
