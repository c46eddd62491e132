"""Markdown of reports: names are shown as they are, whatever they hold."""

import html
import re

from hypothesis import example, given, strategies as st
from markdown_it import MarkdownIt

from jointrain.reports._markdown import code, escaped, markdown_table

NAMES = st.text("ab1 _*<>&;#\\`|[]()!~:é", max_size=12)


def shown(page):
    """Return the text of a page as a reader has it, without doubled blanks."""
    text = MarkdownIt("commonmark").enable("table").render(page)
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", text)).split())


@given(NAMES)
@example("</td><b>bold</b>")
@example("price `x` *y* |z|")
@example("__init__")
@example("&lt;5 years")
@example("[a](b)")
def test_text_is_shown_as_it_is(name):
    assert shown(f"of {escaped(name)}, too") == " ".join(f"of {name}, too".split())


@given(NAMES)
@example("a|b")
@example("first\nsecond")
def test_a_cell_holds_a_name(name):
    lines = markdown_table(["target", "by"], [[f"of {name}, too", "1"]])
    expected = " ".join(f"target by of {name}, too 1".split())
    assert shown("\n".join(lines)) == expected


def test_underscores_within_words_are_left_alone():
    assert escaped("body_mass_g: 5 [4, 6]") == "body_mass_g: 5 [4, 6]"


@given(NAMES)
@example("~~x~~")
@example("1. x")
@example("12) x")
@example("# x")
@example("- x")
@example("+ x")
@example("> x")
@example("    x")
@example("[a]: b")
def test_a_line_may_begin_with_a_name(name):
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(escaped(f"{name} x"))
    assert page.startswith("<p>")
    assert " ".join(html.unescape(page[3:-5]).split()) == " ".join(f"{name} x".split())


@given(NAMES)
@example("`")
def test_code_holds_any_name(name):
    page = MarkdownIt("commonmark").render(code(f"fit --groups '{name}'"))
    assert html.unescape(page) == f"<p><code>fit --groups '{name}'</code></p>\n"
