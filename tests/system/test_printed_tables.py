"""Tables for the terminal: words stay whole at any width."""

import io

from rich.console import Console

from jointrain.system.printed_tables import print_table


def printed(width, headings, rows, title="a title of several words that is longer than the table"):
    console = Console(file=io.StringIO(), width=width)
    print_table(console, title, headings, rows)
    return console.file.getvalue().splitlines()


HEADINGS = [
    "recipe",
    "accuracy ↑",
    "macro-F1 ↑",
    "log-loss ↓",
    "change against separate",
    "verdict",
]
ROWS = [
    ["separate", "0.984 ± 0.014", "0.982", "0.0665", "", ""],
    ["shipped model", "0.442 ± 0.007", "0.204", "1.05", "-55.1 % [-57.1, -53.0]", "equivalent"],
]


def test_a_table_of_80_columns_breaks_headings_between_words():
    title, *lines = printed(80, HEADINGS, ROWS)
    assert title == "a title of several words that is longer than the table"
    assert all(len(line) <= 80 for line in lines)
    words = " ".join(lines).split()
    for text in (*HEADINGS, *ROWS[0], *ROWS[1]):
        for word in text.split():
            assert word in words
    assert any("-55.1 % [-57.1, -53.0]" in line for line in lines)


def test_columns_without_room_follow_below_with_the_first_column_again():
    lines = printed(44, HEADINGS, ROWS)[1:]
    assert all(len(line) <= 44 for line in lines)
    assert sum(line.startswith("shipped model") for line in lines) >= 2
    for text in ROWS[1]:
        assert any(text in line for line in lines)


def test_a_long_name_keeps_its_ends_and_long_text_its_words():
    name = "temperature of the room in the " + "very " * 20 + "north"
    lines = printed(60, ["target", "note"], [[name, "what it is and how it is read " * 3]])
    assert all(len(line) <= 60 for line in lines[1:])
    assert any(line.startswith("temperature") and "…" in line and "north" in line for line in lines)
    assert "".join(lines).count("read") == 3


def test_a_wide_console_gets_one_table():
    lines = printed(160, HEADINGS, ROWS)
    assert "change against separate" in lines[1]
    assert sum(line.startswith("shipped model") for line in lines) == 1


def test_codes_of_emoji_and_markup_stay_as_they_are_written():
    lines = printed(80, ["a:man:b", "[red]"], [["sex:man:woman", "[b]:smile:[/b]"]], ":man: title")
    assert lines[0] == ":man: title"
    assert [line.split() for line in lines[1:3]] == [
        ["a:man:b", "[red]"],
        ["sex:man:woman", "[b]:smile:[/b]"],
    ]
