"""Text tables: separators, headers, quotes, faults; and that cells stay as they are written."""

import csv
import io

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from jointrain.data import ReadingOptions, read_raw
from jointrain.errors import InvalidInputError

QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def raw(tmp_path, text, name="table.csv", **options):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_raw(path, ReadingOptions(**options))


def cells(tmp_path, text, name="table.csv", **options):
    frame = raw(tmp_path, text, name, **options).frame
    return frame.columns, frame.rows()


def test_cells_are_as_written(tmp_path):
    table = raw(tmp_path, 'id,x\n00123,1E5\n" k ", +7\n"",NA\n,"NA"\n"say ""x""",5\'10"\n')
    assert table.is_text
    assert table.frame.dtypes == [pl.String, pl.String]
    assert table.frame.rows() == [
        ("00123", "1E5"),
        (" k ", " +7"),
        ("", "NA"),
        (None, "NA"),
        ('say "x"', "5'10\""),
    ]
    assert list(table.quoted) == ["x"]
    assert table.quoted["x"].to_list() == [False, False, False, True, False]


def test_quotes_that_can_not_matter_are_not_looked_up(tmp_path):
    assert raw(tmp_path, 'name,n\n"Anna",1\n"Bo, jr",2\n').quoted == {}


@pytest.mark.parametrize("word", ["na", "N/A", "None", " NA", "-999", "\\N", "void"])
def test_words_for_missing_values_are_looked_up(tmp_path, word):
    table = raw(tmp_path, f'a,b,c\n"{word}",{word},1\n{word},"{word}",2\n', missing=("void",))
    assert {name: mask.to_list() for name, mask in table.quoted.items()} == {
        "a": [True, False],
        "b": [False, True],
    }


ROWS = [["x", "y", "z"], ["0.5", "1", "a"], ["1.5", "2", "b"]]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt", "t.data", "t"])
def test_separator_and_line_ends_are_recognised(tmp_path, separator, end, name):
    text = end.join(separator.join(row) for row in ROWS) + end
    assert cells(tmp_path, text, name) == (ROWS[0], [tuple(row) for row in ROWS[1:]])


@pytest.mark.parametrize(
    "text, names, first",
    [
        ("temp (mean, C);y\n0.1;2\n0.2;3\n", ["temp (mean, C)", "y"], ("0.1", "2")),
        ("temp (mean, C);y\n0,1;2\n0,2;3\n", ["temp (mean, C)", "y"], ("0,1", "2")),
        ("a;b\n1,5;2,5\n1,6;2,6\n", ["a", "b"], ("1,5", "2,5")),
        ("a, b;c\n1,5;2\n2,5;3\n", ["a, b", "c"], ("1,5", "2")),
        ("a;b,c\nx;y, z\nu;v, w\n", ["a", "b,c"], ("x", "y, z")),
        ("a,b;c\n1,2;3\n", ["a,b", "c"], ("1,2", "3")),
        ("a,note\n1,x;y\n2,u;v\n", ["a", "note"], ("1", "x;y")),
        ("a|b;c\n1|2\n3|4\n", ["a", "b;c"], ("1", "2")),
        ("when,n\n10:30;x,1\n11:30;y,2\n", ["when", "n"], ("10:30;x", "1")),
        ("note\nhello; world\nbye\n", ["note"], ("hello; world",)),
    ],
)
def test_separator_is_what_agrees_over_the_rows(tmp_path, text, names, first):
    found, rows = cells(tmp_path, text)
    assert (found, rows[0]) == (names, first)


def test_one_ragged_row_does_not_change_the_separator(tmp_path):
    rows = "".join(f"{i},5;{i}\n" for i in range(200))
    with pytest.raises(InvalidInputError, match="has 3 fields in line 202 where the header has 2"):
        raw(tmp_path, "price;n\n" + rows + "1;2;3\n")


def test_separator_that_is_said(tmp_path):
    assert cells(tmp_path, "a:b\n1:2\n", separator=":") == (["a", "b"], [("1", "2")])
    assert cells(tmp_path, "a\tb,c\n1\t2,3\n", separator="tab")[0] == ["a", "b,c"]
    with pytest.raises(InvalidInputError, match="--separator must be one character"):
        raw(tmp_path, "a,b\n1,2\n", separator="::")
    with pytest.raises(InvalidInputError, match="--separator must be one character"):
        raw(tmp_path, "a,b\n1,2\n", separator='"')


def test_separator_that_is_said_and_is_not_there(tmp_path):
    with pytest.raises(InvalidInputError, match=r"separator ';' was said.* say --separator ','"):
        raw(tmp_path, "a,b\n1,2\n", separator=";")
    with pytest.raises(InvalidInputError, match="say --separator tab"):
        raw(tmp_path, "a\tb\n1\t2\n", separator=";")
    assert raw(tmp_path, "a\n1\n", separator=";").frame.rows() == [("1",)]


@pytest.mark.parametrize(
    "text, rows",
    [
        ('a, b\n1, "x, y"\n2,  "z"\n', [("1", "x, y"), ("2", "z")]),
        ('"a" , "b"\n "1" ;, "x"\n', None),
        ('"a" ; "b"\n "1" ; " x, ""y"" "\n', [("1", ' x, "y" ')]),
        ('a,b\n1,5 "x"\n2,3\n', [("1", '5 "x"'), ("2", "3")]),
        ('a,b\n1,"say, ""no"" , x"\n', [("1", 'say, "no" , x')]),
    ],
)
def test_spaces_between_separators_and_quotes(tmp_path, text, rows):
    if rows is None:
        with pytest.raises(InvalidInputError):
            raw(tmp_path, text)
    else:
        assert raw(tmp_path, text).frame.rows() == rows


@pytest.mark.parametrize("other", ['5" disk', 'x "y" z', '"say ""a"""'])
def test_space_before_quotes_means_the_same_whatever_other_rows_hold(tmp_path, other):
    rows = '1, "red"\n' * 20
    plain = "0,blue\n" * 40_000
    found = raw(tmp_path, f"a,b\n{plain}{rows}").frame["b"]
    assert found.unique().sort().to_list() == ["blue", "red"]
    text = f"a,b\n{rows}2,{other}\n"
    if other.startswith('"'):
        assert raw(tmp_path, text).frame["b"].to_list() == ["red"] * 20 + ['say "a"']
        return
    with pytest.raises(InvalidInputError, match=r"space before the quotes .* line 2, ' \"red\"'"):
        raw(tmp_path, text)


@pytest.mark.parametrize("space", ["\t", "\u00a0", " \t"])
def test_space_of_other_kinds_before_quotes_is_refused(tmp_path, space):
    with pytest.raises(InvalidInputError, match=r"space before the quotes .* line 3"):
        raw(tmp_path, f'a,b\n1,x\n2,{space}"red"\n')
    quoted = raw(tmp_path, f'a,b\n1,"{space}""red"""\n').frame["b"]
    assert quoted.to_list() == [f'{space}"red"']
    tabs = raw(tmp_path, 'a\tb\n1\t"red"\n').frame["b"]
    assert tabs.to_list() == ["red"]


@pytest.mark.parametrize("line", ["sep=;\n", '"sep=;"\r\n', "SEP=;\r", "\ufeffsep=;\n"])
def test_separator_that_the_file_says(tmp_path, line):
    assert cells(tmp_path, line + "a;b,c\n1;2,3\n") == (["a", "b,c"], [("1", "2,3")])


def test_comments_above_the_header(tmp_path):
    table = raw(tmp_path, "# exported 2026, by me\n#\n\na,b\n#1,2\n3,4\n")
    assert table.frame.rows() == [("#1", "2"), ("3", "4")]
    assert "2 lines that begin with '#' at the top" in table.notes[0]
    assert table.place(1) == "row 2 (line 6)"


@pytest.mark.parametrize(
    "text, names, height",
    [
        ("#id,x\n1,2\n3,4\n", ["#id", "x"], 2),
        ("# made by me\n#id,x\n1,2\n3,4\n", ["#id", "x"], 2),
        ("#,Player\n1,Anna\n2,Bo\n", ["#", "Player"], 2),
        ("# by me, today\na,b\n1,2\n", ["a", "b"], 1),
        ("#id,x\n#1,2\n#2,3\n", ["#id", "x"], 2),
    ],
)
def test_header_with_a_mark_is_told_from_a_comment(tmp_path, text, names, height):
    table = raw(tmp_path, text)
    assert table.frame.columns == names
    assert table.frame.height == height


def test_comments_anywhere_if_said(tmp_path):
    text = '% top\na,b\n% one, two\n1,"x\n% no comment"\n% "open\n3,4\n'
    table = raw(tmp_path, text, comment="%")
    assert table.frame.rows() == [("1", "x\n% no comment"), ("3", "4")]
    assert table.place(1) == "row 2 (line 7)"
    assert raw(tmp_path, "#a,b\n1,2\n", comment="").frame.columns == ["#a", "b"]


def test_long_header(tmp_path):
    names = [f"column {i}\nof many" for i in range(40_000)]
    text = io.StringIO()
    csv.writer(text).writerows([names, range(40_000)])
    assert raw(tmp_path, text.getvalue()).frame.columns == names


def test_long_cell(tmp_path):
    long = "x" * (1 << 25)
    assert raw(tmp_path, f"a,b\n1,{long}\n").frame["b"][0] == long


def test_trailing_separators(tmp_path):
    table = raw(tmp_path, "a,b,\n1,2,\n3,4,\n")
    assert table.frame.rows() == [("1", "2"), ("3", "4")]
    assert "no name for column 3, which is empty: left out" in table.notes[0]
    table = raw(tmp_path, "a,b\n1,2,\n3,4,\n")
    assert table.frame.rows() == [("1", "2"), ("3", "4")]
    assert "ends with a separator that the header lacks" in table.notes[0]


def test_names_of_rows_without_header(tmp_path):
    table = raw(tmp_path, 'a,b\n"r1",1,2\n"r2",3,4\n')
    assert table.frame.columns == ["unnamed_1", "a", "b"]
    assert table.frame.rows() == [("r1", "1", "2"), ("r2", "3", "4")]
    assert "taken as the name of the row" in table.notes[0]


@pytest.mark.parametrize(
    "text",
    [
        "id,price\n1,2,5\n2,3,5\n",
        "name,price\nAnna,1.234,5\nBo,2,3\n",
        "Report 2026\n\nx,y\n1,2\n",
        'Report 2026\n"x","y"\n"1",2\n',
        "'a','b'\n'x,1','y'\n",
    ],
)
def test_rows_that_are_wider_than_the_header_are_refused(tmp_path, text):
    with pytest.raises(InvalidInputError, match=r"fields in each row where the header, .*, has"):
        raw(tmp_path, text)


def test_columns_with_spaces_between_them_are_refused(tmp_path):
    text = "a b c\n1 2 x\n4 5 y\n"
    with pytest.raises(InvalidInputError, match="has one column, whose cells look like 3"):
        raw(tmp_path, text)
    assert raw(tmp_path, text, separator=" ").frame.columns == ["a", "b", "c"]
    assert raw(tmp_path, text, separator=",").frame.columns == ["a b c"]
    assert raw(tmp_path, "first name\nAnna Bo\nCid Day\n").frame.columns == ["first name"]


def test_end_of_file_of_dos(tmp_path):
    assert raw(tmp_path, "a,b\r\n1,2\r\n\x1a").frame.rows() == [("1", "2")]


@pytest.mark.parametrize(
    "header, note",
    [
        (",a", "lacks names; the columns are called unnamed_1"),
        ("5.1,3.5", "has numbers as names, such as '5.1'"),
        ("17,4", "has numbers as names"),
        ("5.1,setosa", "has numbers as names"),
        ("Price,price", "differ only by case, spaces or the form of a letter: 'Price' and 'price'"),
        ("unit price,unit  price", "'unit price' and 'unit  price'"),
        ("caf\u00e9,cafe\u0301", "differ only by case"),
    ],
)
def test_names_get_a_note(tmp_path, header, note):
    (found,) = raw(tmp_path, f"{header}\n1,2\n").notes
    assert note in found


@pytest.mark.parametrize("header", ["0,1", "1,2", "a,b", "2020 sales,2021 sales", "\ufeff a , b"])
def test_names_without_note(tmp_path, header):
    assert raw(tmp_path, f"{header}\n3,4\n").notes == ()


@pytest.mark.parametrize(
    "text, message",
    [
        ("1,2,1\n3,4,5\n", "more than once; if that line is the first row, put a line of names"),
        ("a,a \n3,4\n", "names column 'a' more than once; give each"),
        (",\n,\n", "has no names"),
        ('a,b\n"x"y,2\n', "has a quote in line 2 that does not close"),
        ('a,b\n"x"" y,2\n"b",3\n', "has a quote in line 2 that does not close"),
        (
            'a,b\n1,"x\n' + "5,6\n" * 9 + '7,y"\n',
            "a quote in line 2 that closes only after 9 lines that look like rows",
        ),
        ("a,b\n1,2\n3,x\0y\n", "holds a NUL byte in line 3; the file is damaged"),
        ("a,b\n1,2\n".encode("utf-16-le"), "NUL byte in line 1; .* --encoding utf-16-le"),
        ("a,b\n1,2\n".encode("utf-16-be"), "NUL byte in line 1; .* --encoding utf-16-be"),
        ("# only a comment", "has a header but no rows"),
        ("sep=;\n", "is empty"),
    ],
)
def test_faults(tmp_path, text, message):
    with pytest.raises(InvalidInputError, match=message):
        raw(tmp_path, text)


def test_text_of_several_lines_is_no_fault(tmp_path):
    text = "Dear all,\nfirst, second\nthird\nbest, me"
    assert raw(tmp_path, f'a,b\n1,"{text}"\n').frame["b"][0] == text


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6) | st.sampled_from(
    ["", " ", "NA", "1E5", "+7", "007", " k ", '"', '""', ",", ";", "\n", "\r\n", "#", "1,5"]
)
NAME = st.text(st.characters(categories=["L"]), min_size=1, max_size=5)


@QUICK
@given(
    names=st.lists(NAME, min_size=2, max_size=5, unique_by=str.casefold),
    data=st.data(),
    separator=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
)
def test_what_csv_writes_is_read_back(tmp_path, names, data, separator, end, quoting):
    row = st.lists(CELL, min_size=len(names), max_size=len(names))
    rows = data.draw(st.lists(row, min_size=1, max_size=5))
    if quoting != csv.QUOTE_ALL:  # Python's writer leaves line ends other than its own unquoted
        others = "".join(set("\r\n") - set(end))
        rows = [[cell.translate(dict.fromkeys(map(ord, others))) for cell in row] for row in rows]
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting).writerows(
        [names, *rows]
    )
    found = raw(tmp_path, text.getvalue(), separator=separator, comment="").frame
    assert found.columns == names
    assert [[cell or "" for cell in row] for row in found.rows()] == rows
    if quoting != csv.QUOTE_MINIMAL:
        assert found.null_count().sum_horizontal()[0] == 0
    else:
        assert all(cell != "" for row in found.rows() for cell in row)


def test_a_separator_is_refused_before_anything_is_read():
    with pytest.raises(InvalidInputError, match=r"--separator must be one character .* got 'ab'"):
        ReadingOptions(separator="ab")
    assert ReadingOptions(separator="tab").separator == "tab"
