"""Requests that are read and predicted together get what each would get alone."""

import json

import polars as pl
import pytest

from jointrain.errors import InvalidInputError
from jointrain.serving import TableService
from tests.serving._models import model, rows, table

JSON, CSV = "application/json", "text/csv"


@pytest.fixture(scope="module")
def service():
    return TableService(model(), {"id": "house"})


def asked(service, *given, coverage=None):
    return [service.read(json.dumps({"rows": one}).encode(), JSON, coverage) for one in given]


def same(one, other):
    floats = [name for name, dtype in one.table.schema.items() if dtype.is_float()]
    assert one.notes == other.notes
    assert one.table.drop(floats).equals(other.table.drop(floats))
    assert one.table[floats].to_numpy() == pytest.approx(other.table[floats].to_numpy())


@pytest.mark.parametrize("coverage", [None, 0.8])
def test_together_is_as_alone(service, coverage):
    plain = [{**row, "house": f"h{number}"} for number, row in enumerate(rows(4))]
    unseen = [{**plain[0], "town": "nowhere"}]
    total = [*plain[:2], {**plain[2], "town": "Total", "rooms": 1e6}]
    requests = asked(service, plain[:1], unseen, total, plain[1:], coverage=coverage)
    assert len({one.key for one in requests}) == 1
    together = service.answer(requests)
    for one, answer in zip(requests, together, strict=True):
        same(answer, *service.answer([one]))
    assert [len(answer.notes) for answer in together][:2] == [0, 1]
    assert "never seen" in together[1].notes[0]
    assert together[3].table["house"].to_list() == ["h1", "h2", "h3"]


def test_other_types_coverages_and_quoted_cells_are_not_together(service):
    row = rows(1)[0]
    frame = table().head(1).drop("price", "dear")
    # text in quotes is no word for a missing value
    quoted = frame.with_columns(town=pl.lit("NA")).write_csv(quote_style="always").encode()
    others = [
        *asked(service, [row]),
        *asked(service, [row], coverage=0.9),
        *asked(service, [{**row, "house": "h"}]),
        service.read(frame.write_csv().encode(), CSV),
        *(service.read(quoted, CSV) for _ in range(2)),
    ]
    keys = [one.key for one in others]
    assert len(set(keys)) == 6


def test_a_cell_that_cannot_be_read_is_said(service):
    with pytest.raises(InvalidInputError, match="sold"):
        service.answer(asked(service, rows(1), [{**rows(1)[0], "sold": "no date"}]))
