"""JSON lines and lists of objects."""

import gzip
import json

import polars as pl
import pytest

from jointrain.data import load_penguins, read_raw, read_table, write_table
from jointrain.errors import InvalidInputError


def raw(tmp_path, text, name="t.jsonl"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_raw(path)


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "t.json", "t"])
def test_types_are_those_of_json(tmp_path, name):
    text = (
        '{"id":"007","n":1,"x":1.5,"b":true,"none":null}\n\n{"id":" k ","n":2,"x":2,"late":"y"}\n'
    )
    table = raw(tmp_path, text, name)
    assert not table.is_text
    assert table.frame.select("id", "n", "x", "b", "late").rows() == [
        ("007", 1, 1.5, True, None),
        (" k ", 2, 2.0, None, "y"),
    ]


def test_a_list_of_objects(tmp_path):
    assert raw(tmp_path, '[{"a":1},\n {"a":2}]', "t.json").frame.rows() == [(1,), (2,)]


def test_type_is_found_over_the_whole_file(tmp_path):
    frame = raw(tmp_path, '{"a":1}\n' * 3000 + '{"a":1.5}\n').frame
    assert frame["a"].dtype == pl.Float64


def test_packed(tmp_path):
    text = gzip.compress('{"a":"größe"}\n'.encode(), mtime=0)
    assert raw(tmp_path, text, "t.jsonl.gz").frame.rows() == [("größe",)]


def test_text_and_numbers_under_one_key_get_a_note(tmp_path):
    table = raw(tmp_path, '{"a":"x","b":"1"}\n{"a": 7,"b":"2"}\n')
    assert table.frame["a"].to_list() == ["x", "7"]
    (note,) = table.notes
    assert "has keys with text and other values, which are read as text: 'a'" in note
    assert note.endswith("--column NAME=number reads numbers")


@pytest.mark.parametrize("spelled", ['"gr\\u00f6\\u00dfe" :', '"größe":', '"gr\\u00F6ße":'])
def test_a_note_of_text_and_numbers_whichever_way_the_key_is_written(tmp_path, spelled):
    table = raw(tmp_path, '{"größe": "n/a"}\n{' + spelled + " 7}\n")
    assert "which are read as text: 'größe'" in table.notes[0]


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_true_among_numbers_is_refused(tmp_path, name):
    rows = ['{"a": 2, "b": true}', '{"a": true, "b": false}']
    text = "\n".join(rows) if name == "t.jsonl" else f"[{', '.join(rows)}]"
    message = "key 'a' of .* is a number in .* 1 and true or false in .* 2; give it values of one"
    with pytest.raises(InvalidInputError, match=message):
        raw(tmp_path, text, name)


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_columns_are_in_the_order_in_which_keys_first_occur(tmp_path, name):
    names = [f"k{(7 * i) % 100}" for i in range(100)]
    rows = [dict.fromkeys(names[:60], 1), dict.fromkeys(reversed(names), 2)]
    rows = [json.dumps(row) for row in rows]
    text = "\n".join(rows) if name == "t.jsonl" else f"[{', '.join(rows)}]"
    assert raw(tmp_path, text, name).frame.columns == [*names[:60], *reversed(names[60:])]


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"a":1}\n{"a":tr}\n', "holds no JSON object in line 2: '{\"a\":tr}'"),
        ('{"a":1}\n{"a":', "holds no JSON object in line 2"),
        ('{"a":1}\n\n5\n', "holds no JSON object in line 3"),
        ('{"a":NaN}\n', "holds no JSON object in line 1"),
        ('{"a":true}\n{"a":1}\n', "key 'a' of .* is true or false in line 1 and a number in line"),
        ('[{"a":1},5]', "holds no JSON object in row 2"),
        ('[{"a":1}', "is not JSON"),
        (b'{"a":"\xe9"}\n', "is not UTF-8: line 1 holds the byte 0xe9"),
        ('{"x":1}\n\n{"x":1, "y":5, "x":-9}\n', "holds the key 'x' twice in line 3; mend it"),
        ('{"x":1,"x":null}', "holds the key 'x' twice in line 1"),
        ('{"x" :1,"x":2}', "holds the key 'x' twice in line 1"),
        ('{"x":1,"\\u0078":2}', "holds the key 'x' twice in line 1"),
        ('{"a\\"":1,"y":2,"a\\"":2}', "holds the key 'a\"' twice in line 1"),
        ('[{"x":1},\n{"x":1,"x":2}]', "holds the key 'x' twice in row 2"),
        ('{"x":"a\\ud800b"}\n', r"holds half a letter \(a lone surrogate\) under the key 'x' in"),
        ('[{"x":"\\uD900"}]', "holds half a letter .* in row 1; mend it"),
        ('{"a":1,"b":1e309}', "key 'b' of .* holds a number in line 1 that is too large to be"),
        ('{"a":1}\n{"a":' + "9" * 5000 + "}", "key 'a' of .* in line 2 that is too large"),
        ('{"a":' + str(2**127) + "}", "too large"),
        ('[{"a":1},{"a":[-1e309]}]', "key 'a' of .* in row 2 that is too large"),
        ('{"a":1}\n{"a":' + "[" * 5000 + "]" * 5000 + "}", "too deep within each other in line 2"),
        ('{"a":1}\n' + '{"a":' * 600 + "1" + "}" * 600, "too deep within each other in line 2"),
        (
            '{"b":1,"a":null}\n' * 2000 + '{"b":1,"a":' + "[" * 300 + "]" * 300 + "}",
            "too deep within each other in line 2001",
        ),
        ('[{"a":' + "[" * 5000 + "]" * 5000 + "}]", "too deep within each other; give plain"),
        ('[{"a":NaN}]', "is not JSON: NaN is no number of JSON"),
        ("", "is empty"),
        ("\n \n", "is empty"),
    ],
)
def test_faults(tmp_path, text, message):
    with pytest.raises(InvalidInputError, match=message):
        raw(tmp_path, text)


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n\r", "\n"])
def test_lines_end_as_on_any_system(tmp_path, end):
    text = f'{{"a":1,"b" :[2]}}{end}{{"a":{2**127 - 1},"b":[3]}}{end}'
    assert raw(tmp_path, text).frame.rows() == [(1, [2]), (2**127 - 1, [3])]
    twice = '{"a":1}' + end + '{"a":1,"a":2}'
    with pytest.raises(InvalidInputError, match=rf"twice in line {len(twice.splitlines())};"):
        raw(tmp_path, twice)


@pytest.mark.parametrize("form", ["{}\n", "[{}]"])
def test_brackets_in_text_and_long_lists_are_not_deep(tmp_path, form):
    row = {"a": "[" * 300 + '"{' * 300, "b": [{"c": i} for i in range(300)]}
    assert raw(tmp_path, form.format(json.dumps(row))).frame.to_dicts() == [row]


@pytest.mark.parametrize("form", ["{}\n{}\n", "[{},\n{}]"])
def test_what_only_looks_like_a_key_twice_or_half_a_letter_is_read(tmp_path, form):
    rows = [
        {
            "a": '"a":1,"a":2',
            "b": ":",
            "c": ":b",
            "d": "\\ud800",
            "e": "a\U0001f600",
            "f": ["x", "x"],
        },
        {"a": "\\", "b": ":", "c": "\u0000", "d": '":', "e": "", "f": []},
    ]
    text = form.format(*map(json.dumps, rows))
    assert raw(tmp_path, text).frame.to_dicts() == rows


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson.gz", "t.json.zst"])
def test_written_and_read(tmp_path, name):
    write_table(load_penguins(), tmp_path / name)
    assert read_table(tmp_path / name).equals(load_penguins())
    with pytest.raises(InvalidInputError, match=r"column 'a' .*JSON has no form for it"):
        write_table(pl.DataFrame({"a": [b"x"]}), tmp_path / name)
