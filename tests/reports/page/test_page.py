"""The page holds all that was found, nothing else, and needs nothing but itself."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from jointrain.errors import InvalidInputError, MissingDependencyError
from jointrain.reports import (
    answer,
    prepare_page,
    read_figures,
    render_page,
    study_figures,
    write_page,
)
from jointrain.reports._study_answer import circumstances_of
from jointrain.reports.page import _render
from jointrain.reports.page._change_sections import front_section
from jointrain.reports.page._training_sections import losses_section, overfits
from tests.reports.test_summary import both, make_result


class Page(HTMLParser):
    """Collects elements, and the texts of headings."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.headings, self._in = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._in = tag

    def handle_data(self, data):
        if self._in in ("h1", "h2") and data.strip():
            self.headings.append(data.strip())


@pytest.fixture(scope="module")
def figures():
    return study_figures(
        make_result(both(joint=3)), "energy.csv: together or apart?", command="jointrain compare x"
    )


@pytest.fixture(scope="module")
def text(figures):
    return render_page(figures)


def test_it_opens_without_a_network(text):
    assert len(text.encode()) < 3_000_000
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert "http" not in own.replace("http-equiv", "")
    policy = next(a for tag, a in Page(text).elements if a.get("http-equiv"))
    assert policy["content"].startswith("default-src 'none'")


def test_its_sections_stand_in_the_order_in_which_they_are_asked_for(text):
    assert Page(text).headings == [
        "energy.csv: together or apart?",
        "Each target: apart, together, in alternation, and without a network",
        "Who helps whom",
        "Task weights, and how they moved",
        "Losses while training",
        "Gradient conflict over time",
        "What recipes give to one target and take from another",
        "The saved model: how far its predictions can be trusted",
        "Which columns matter for which target",
        "What data it was, and how to do it again",
    ]


def test_the_first_sentence_is_the_answers(text):
    (sentence,) = answer(make_result(both(joint=3)))
    assert f'<p class="decision">{sentence}</p>' in text


def test_the_page_says_where_it_has_the_weights_of_a_blend(monkeypatch):
    result = make_result(both(joint=3))
    blends = {task: {"joint": 0.5, "extra trees": 0.5} for task in "ab"}
    said = replace(circumstances_of(result), blends=blends)
    monkeypatch.setattr("jointrain.reports._study_answer.circumstances_of", lambda _: said)
    last = study_figures(result, "t")["answer"][-1]
    assert last.endswith("; the section of the saved model below has the weights.")
    assert answer(result)[-1].endswith("; result.blends has the weights.")


def test_every_chart_has_words_and_a_table(text):
    page = Page(text)
    charts = [a for tag, a in page.elements if a.get("class") == "chart"]
    figures = sum(tag == "figure" for tag, _ in page.elements)
    assert figures == len(charts) == text.count("<summary>Table<")
    assert all(a["role"] == "img" and len(a["aria-label"]) > 20 for a in charts)


def test_figures_come_back_from_their_file(figures, text, tmp_path):
    write_page(figures, tmp_path)
    assert read_figures(tmp_path / "report.json") == json.loads(json.dumps(figures))
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_what_is_not_finite_comes_back_as_not_known(figures, tmp_path):
    costs = [{"recipe": "constant", "seconds": 0.1, "work": float("nan"), "parameters": None}]
    write_page({**figures, "costs": costs}, tmp_path)
    assert read_figures(tmp_path / "report.json")["costs"] == [{**costs[0], "work": None}]


def test_without_the_packages_of_charts_the_figures_are_kept(figures, tmp_path, monkeypatch):
    monkeypatch.setattr("jointrain.charts._altair.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jointrain\[plots\]'"):
        write_page(figures, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    with pytest.raises(MissingDependencyError, match=r"pip install 'jointrain\[plots\]'"):
        prepare_page()


def test_what_is_prepared_is_what_a_page_is_made_of(figures, monkeypatch):
    whole = render_page(figures)
    _render._javascript.cache_clear()
    prepare_page()
    monkeypatch.setattr("vl_convert.javascript_bundle", None)
    assert render_page(figures) == whole


@pytest.mark.parametrize("content, said", [
    ("{", "damaged"), ("[1]", "damaged"), ("[" * 100_000, "damaged"), ("9" * 5000, "damaged"),
    ('{"format": 99, "versions": {"jointrain": "7.0"}}', "7.0"),
])  # fmt: skip
def test_files_of_others_are_refused_in_one_line(content, said, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(InvalidInputError, match=said) as caught:
        read_figures(path)
    assert "\n" not in str(caught.value)


def test_names_can_not_leave_their_place(tmp_path):
    name = "</script><img src=x onerror=alert(1)>'\"`{{7*7}}"
    result = make_result(
        {
            n: {name: g, "b": g}
            for n, g in {
                "separate": 0,
                "joint": 3,
                "alternating": 0,
                "constant": -5,
                "extra trees": -4,
            }.items()
        },
        tasks=(name, "b"),
    )
    text = render_page(study_figures(result, name))
    assert "<img" not in re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert "49" not in Page(text).headings[0]
    assert not any(tag == "img" for tag, _ in Page(text).elements)


def test_an_unfinished_study_is_shown_as_such():
    result = make_result(both(joint=3), done=2)
    text = render_page(study_figures(result, "t", interim=True, planned=10))
    assert "Not finished." in text
    assert "no verdict before all" in text
    assert "better</td>" not in text


def test_over_fitting_is_named():
    curve = {
        "epochs": [1, 2, 3, 4],
        "training": [1.0, 0.5, 0.4, 0.3],
        "validation": [1.0, 0.5, 0.6, 0.75],
    }
    assert overfits(curve) == "from epoch 2 on, validation loss 50 % above its lowest at the end"
    assert overfits(curve | {"validation": [1.0, 0.5, 0.51, 0.52]}) is None
    assert overfits(curve | {"training": [1.0, 0.5, 0.6, 0.7]}) is None
    assert overfits(curve | {"validation": [None] * 4}) is None


@pytest.mark.parametrize(
    ("more", "off"),
    [
        ({"constant": (-1376.0, -900.0)}, ["constant"]),
        ({"constant": (-1376.0, -900.0), "linear": (-356.0, -200.0)}, ["constant", "linear"]),
        ({"one sided": (-80.0, 0.5)}, []),
        ({"worse": (-9.0, -8.0)}, []),
    ],
)
def test_what_would_squeeze_the_front_is_left_to_the_table(more, off):
    near = {"separate": (0.0, 0.0), "joint": (1.0, 2.0), "alternating": (1.5, 1.0)}
    found = {name: dict(zip("ab", pair, strict=True)) for name, pair in (near | more).items()}
    section = front_section("Front", found, ["a", "b"])
    (figure,) = section.figures
    drawn = {row["name"] for row in figure.chart.to_dict()["data"]["values"]}
    assert drawn == found.keys() - set(off)
    assert [row[0] for row in figure.table.rows] == list(found)
    assert any(
        line.startswith("Not drawn: " + " and ".join(off)) for line in section.lines
    ) == bool(off)


def test_where_many_recipes_over_fit_they_are_named_by_target():
    curve = {
        "epochs": [1, 2, 3, 4],
        "training": [1.0, 0.5, 0.4, 0.3],
        "validation": [1.0, 0.5, 0.6, 0.75],
        "kept": 2,
        "runs": 1,
    }

    def said(recipes):
        curves = [curve | {"recipe": name, "task": "a"} for name in recipes]
        return losses_section({"kind": "study", "curves": curves}).lines[1]

    assert said("p").startswith("Over-fitting: p on a: from epoch 2 on, validation loss 50 %")
    assert said("pqrs").startswith("Over-fitting: on a p, q, r and s (the tables say")
