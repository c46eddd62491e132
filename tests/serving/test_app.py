"""The application, asked as a client would."""

import datetime
import io
import json

import polars as pl
import pyarrow as pa
import pytest

from jointrain.data import Column, ColumnReading
from jointrain.serving import Limits, TableService, make_app
from tests.serving._models import model, rows, table

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
from fastapi.testclient import TestClient

from jointrain.serving._request_rows import _series


@pytest.fixture(scope="module")
def service():
    return TableService(model())


@pytest.fixture(scope="module")
def client(service):
    with TestClient(make_app(service)) as client:
        yield client


def predicted(count: int, intervals: float | None = None) -> list[dict]:
    """What the model itself predicts."""
    return model().predict_table(table().head(count), intervals).to_dicts()


def approximately(rows: list[dict]) -> list[dict]:
    return [
        {
            name: pytest.approx(value) if isinstance(value, float) else value
            for name, value in row.items()
        }
        for row in rows
    ]


def test_rows_in_json_are_predicted_as_the_model_does(client):
    answer = client.post("/predict", json={"rows": rows(5)})
    assert answer.status_code == 200
    assert answer.json() == {"predictions": approximately(predicted(5)), "notes": []}


def test_rows_in_csv_and_arrow_are_predicted_alike(client):
    frame = table().head(5)
    stream = frame.write_ipc_stream(None, compat_level=pl.CompatLevel.oldest()).getvalue()
    for kind, body in (
        ("text/csv", frame.write_csv().encode()),
        ("application/vnd.apache.arrow.stream", stream),
    ):
        answer = client.post("/predict", content=body, headers={"content-type": kind})
        assert answer.json()["predictions"] == approximately(predicted(5))


def test_intervals_are_given_where_they_are_asked_for(client):
    answer = client.post("/predict?intervals=0.8", json={"rows": rows(3)})
    assert answer.json()["predictions"] == approximately(predicted(3, 0.8))


@pytest.mark.parametrize("coverage", ["0", "1", "nan", "much"])
def test_no_such_interval(client, coverage):
    answer = client.post(f"/predict?intervals={coverage}", json={"rows": rows()})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "intervals"]


def test_an_answer_comes_as_csv_or_arrow_where_it_is_asked_for(client):
    expected = model().predict_table(table().head(2))
    for kind, read in (
        ("text/csv", pl.read_csv),
        ("application/vnd.apache.arrow.stream", pl.read_ipc_stream),
    ):
        answer = client.post("/predict", json={"rows": rows(2)}, headers={"accept": kind})
        assert answer.headers["content-type"].startswith(kind)
        found = read(io.BytesIO(answer.content))
        assert found["dear"].to_list() == expected["dear"].to_list()
        assert found["price"].to_list() == pytest.approx(expected["price"].to_list())


@pytest.mark.parametrize(
    "name, kind",
    [
        (datetime.timedelta(hours=1), "text/csv"),
        ([1], "text/csv"),
        (b"x", "text/csv"),
        (b"x", "application/json"),
    ],
)
def test_names_that_the_answer_has_no_form_for_are_refused(name, kind):
    client = TestClient(make_app(TableService(model(), {"id": "name"})))
    body = io.BytesIO()
    table().head(1).with_columns(pl.Series("name", [name])).write_ipc_stream(body)
    headers = {"content-type": "application/vnd.apache.arrow.stream", "accept": kind}
    answer = client.post("/predict", content=body.getvalue(), headers=headers)
    assert "can't be written to the answer" in faults(answer)[0]["msg"]


def faults(answer) -> list[dict]:
    assert answer.status_code == 422, answer.text
    return answer.json()["detail"]


def test_a_missing_column_is_named(client):
    one, two = rows()
    del two["town"]
    [fault] = faults(client.post("/predict", json={"rows": [one, two]}))
    assert fault["loc"] == ["body", "rows", 1, "town"]
    assert fault["msg"] == "row 2, column 'town': is missing; give null where there is no value"
    for kind, body in (
        ("text/csv", table().drop("town").write_csv().encode()),
        (
            "application/vnd.apache.arrow.stream",
            table().drop("town").write_ipc_stream(None).getvalue(),
        ),
    ):
        [fault] = faults(client.post("/predict", content=body, headers={"content-type": kind}))
        assert "'town'" in fault["msg"]


@pytest.mark.parametrize(
    "column, value",
    [
        ("size (m²)", "large"),
        ("size (m²)", True),
        ("age", [1]),
        ("garden", "maybe"),
        ("town", 7),
        ("town", {"name": "Ulm"}),
        ("sold", "a while ago"),
        ("sold", 2024),
        ("sold", " "),
    ],
)
def test_a_value_of_a_wrong_type_is_named(client, column, value):
    one, two = rows()
    two[column] = value
    [fault] = faults(client.post("/predict", json={"rows": [one, two]}))
    assert column in fault["msg"]
    assert "row 2" in fault["msg"]


def test_a_key_that_stands_twice_is_named(client):
    headers = {"content-type": "application/json"}
    one, two = rows()
    body = json.dumps({"rows": [one, two]})
    for twice, loc, message in (
        (
            body.replace('"age"', '"age": 7, "age"'),
            ["body", "rows", 0],
            "row 1 holds the key 'age'",
        ),
        (
            body[:-3] + ', "no": 1, "no": 2}]}',
            ["body", "rows", 1],
            "row 2 holds the key 'no' twice",
        ),
        (body[:-1] + f", {body[1:]}", ["body"], "the body holds the key 'rows' twice"),
    ):
        fault = faults(client.post("/predict", content=twice, headers=headers))[0]
        assert fault["loc"] == loc
        assert message in fault["msg"]
    quoted = {**one, "note": '"age": 7, "age": 8', "more": {"a": 1, "b": [{"c": 1}]}}
    text = json.dumps({"rows": [quoted]}).replace('"a": 1', '"a": 1' + "0" * 4000)
    assert client.post("/predict", content=text, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "query, name, message",
    [
        ("interval=0.9", "interval", "did you mean 'intervals'"),
        ("foo=1", "foo", "known are intervals and preference"),
        ("intervals=0.9&intervals=0.8", "intervals", "is given twice; give it once"),
    ],
)
def test_a_parameter_that_is_not_known_is_named(client, query, name, message):
    [fault] = faults(client.post(f"/predict?{query}", json={"rows": rows()}))
    assert fault["loc"] == ["query", name]
    assert message in fault["msg"]


def test_a_key_beside_the_rows_is_named(client):
    [fault] = faults(client.post("/predict", json={"rows": rows(), "intervals": 0.9}))
    assert fault["loc"] == ["body", "intervals"]
    assert fault["msg"] == "the key 'intervals' is not known; the body has the key 'rows' alone"


def test_a_cell_of_csv_that_is_no_number_is_named(client):
    frame = table().with_columns(age=pl.lit("old"))
    headers = {"content-type": "text/csv"}
    [fault] = faults(client.post("/predict", content=frame.write_csv().encode(), headers=headers))
    assert "column 'age' holds 'old' in row 1 (line 2)" in fault["msg"]


def test_missing_values_unseen_ones_and_unknown_columns(client):
    row = {**dict.fromkeys(rows(1)[0]), "town": "Rom", "price": 3, "colour": {"any": "thing"}}
    answer = client.post("/predict", json={"rows": [row]}).json()
    assert answer["notes"] == [
        "warning: 1 row has a value of 'town' that was never seen in training",
        "note: the model does not use: 'colour'",
    ]
    empty = table().head(1).with_columns(pl.lit(None).alias(name) for name in rows(1)[0])
    expected = model().predict_table(empty.with_columns(town=pl.lit("Rom"))).to_dicts()
    assert answer["predictions"] == approximately(expected)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"rows": []}', b'{"rows": [1]}', b'{"rows": {}}', b"\xff\xfe\x00",
     b"[" * 100_000, b'{"rows": [{"age": NaN}]}', b'{"rows": [{"town": "\\ud800"}]}',
     b'{"rows": [{"age": 1' + b"0" * 10_000 + b"}]}"],
)  # fmt: skip
def test_a_body_that_is_none_is_refused_and_the_next_is_answered(client, body):
    headers = {"content-type": "application/json"}
    assert client.post("/predict", content=body, headers=headers).status_code == 422
    for kind in ("text/csv", "application/vnd.apache.arrow.stream"):
        answer = client.post("/predict", content=body, headers={"content-type": kind})
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["msg"]
    assert client.post("/predict", json={"rows": rows()}).status_code == 200


def test_other_kinds_of_body_are_refused(client):
    for headers in (
        {"content-type": "application/x-python-pickle"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ):
        answer = client.post("/predict", content=b"{}", headers=headers)
        assert answer.status_code == 415


def test_compressed_arrow_is_refused(client):
    stream = table().write_ipc_stream(None, compression="zstd").getvalue()
    headers = {"content-type": "application/vnd.apache.arrow.stream"}
    [fault] = faults(client.post("/predict", content=stream, headers=headers))
    assert "compressed" in fault["msg"]


def test_an_arrow_file_is_refused(client):
    """It may be compressed, too, and is read batch by batch."""
    headers = {"content-type": "application/vnd.apache.arrow.stream"}
    for compression in ("uncompressed", "zstd"):
        file = table().write_ipc(None, compression=compression).getvalue()
        [fault] = faults(client.post("/predict", content=file, headers=headers))
        assert "is an Arrow file; send an Arrow stream" in fault["msg"]


@pytest.mark.parametrize("listed", [False, True])
def test_text_that_rows_name_many_times_counts_each_time(listed):
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 9, "int32"), ["z" * 500])
    if listed:
        text = pa.ListArray.from_arrays(pa.array([0, 9], "int32"), text)
    rows = table().head(1 if listed else 9).to_arrow()
    body = io.BytesIO()
    with pa.ipc.new_stream(body, rows.append_column("more", text).schema) as stream:
        stream.write_table(rows.append_column("more", text))
    headers = {"content-type": "application/vnd.apache.arrow.stream"}
    for megabytes, taken in ((0.01, True), (0.004, False)):
        app = make_app(TableService(model(), limits=Limits(megabytes=megabytes)))
        answer = TestClient(app).post("/predict", content=body.getvalue(), headers=headers)
        assert answer.is_success == taken, answer.text
        assert taken or "over all rows, and at most 4,000 are taken" in faults(answer)[0]["msg"]


def test_faults_in_every_cell_are_told_of_the_first_rows(client):
    bad = [{"town": 3} for _ in range(3000)]
    found = faults(client.post("/predict", json={"rows": [*rows(2), *bad]}))
    assert len(found) == 10
    assert {fault["loc"][2] for fault in found} >= {2, 3}
    assert found[0]["msg"].startswith("row 3, column ")


@pytest.mark.parametrize(
    "name, expected", [("1" * 40, "1" * 40), ("-7", "-7"), ("0.5", "0.5"), ("NaN", None)]
)
def test_ids_that_are_numbers_come_back_as_they_are(name, expected):
    client = TestClient(make_app(TableService(model(), {"id": "name"})))
    body = json.dumps({"rows": [{**rows(1)[0], "name": "NAME"}]}).replace('"NAME"', name)
    answer = client.post("/predict", content=body, headers={"content-type": "application/json"})
    if expected is None:
        assert "column 'name' holds nan in row 1" in faults(answer)[0]["msg"]
    else:
        assert answer.json()["predictions"][0]["name"] == expected


def test_limits_of_size_and_rows():
    limits = Limits(rows=3, megabytes=0.002)
    with TestClient(make_app(TableService(model(), limits=limits))) as client:
        assert client.post("/predict", json={"rows": rows(3)}).status_code == 200
        answer = client.post("/predict", json={"rows": rows(4)})
        [fault] = faults(answer)
        assert "at most 3" in fault["msg"]
        csv = client.post(
            "/predict",
            content=table().head(4).write_csv().encode(),
            headers={"content-type": "text/csv"},
        )
        assert "at most 3" in faults(csv)[0]["msg"]
        large = [{**row, "note": "x" * 1000} for row in rows(3)]
        assert "2000 bytes" in client.post("/predict", json={"rows": large}).json()["detail"]
        # of unknown length, it is read as far as it may be
        body = json.dumps({"rows": large}).encode()
        answer = client.post("/predict", content=iter([body[:1500], body[1500:]]))
        assert answer.status_code == 413


def test_a_token_is_asked_for(service):
    with TestClient(make_app(service, "secret")) as client:
        answer = client.post("/predict", json={"rows": rows()})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        wrong = {"authorization": "Bearer secre"}
        assert client.post("/predict", json={"rows": rows()}, headers=wrong).status_code == 401
        assert client.get("/metrics").status_code == 401
        right = {"authorization": "Bearer secret"}
        assert client.post("/predict", json={"rows": rows()}, headers=right).status_code == 200
        assert client.get("/health").status_code == 200


def test_health_and_counters(service):
    with TestClient(make_app(service)) as client:
        assert client.get("/health").json()["targets"] == ["price", "dear"]
        client.post("/predict", json={"rows": rows(7)})
        client.post("/predict", json={"rows": []})
        lines = client.get("/metrics").text.splitlines()
        assert "jointrain_rows_total 7.0" in lines
        assert 'jointrain_requests_total{path="/predict",status="200"} 1.0' in lines
        assert 'jointrain_requests_total{path="/predict",status="422"} 1.0' in lines
        assert "jointrain_waiting_rows 0.0" in lines


def test_the_example_of_the_interface_is_answered(client):
    description = client.get("/openapi.json").json()
    contents = description["paths"]["/predict"]["post"]["requestBody"]["content"]
    example = contents["application/json"]["example"]
    assert set(example["rows"][0]) == set(rows(1)[0])
    assert client.post("/predict", json=example).json()["notes"] == []
    headers = {"content-type": "text/csv"}
    text = contents["text/csv"]["example"].encode()
    assert client.post("/predict", content=text, headers=headers).json()["notes"] == []
    assert "size (m²)" in client.get("/").text
    assert "curl http://testserver:8765/predict -H" in client.get("http://testserver:8765/").text


def test_the_column_of_names_comes_back():
    service = TableService(model(), {"id": "house"})
    with TestClient(make_app(service)) as client:
        named = [{**row, "house": f"h{number}"} for number, row in enumerate(rows())]
        answer = client.post("/predict", json={"rows": named}).json()
        assert [row["house"] for row in answer["predictions"]] == ["h0", "h1"]
        without = client.post("/predict", json={"rows": rows()}).json()
        assert "named the rows" in without["notes"][0]
        row, long = rows(1)[0], "x" * 5000
        for sent, back in ((long, long), (12345678901234567, "12345678901234567"), (True, "true")):
            answer = client.post("/predict", json={"rows": [{**row, "house": sent}]}).json()
            assert answer["predictions"][0]["house"] == back


def test_durations_are_read_to_the_microsecond():
    spans = [datetime.timedelta(milliseconds=4000 + number) for number in range(1000)]
    column, reading = Column("t", "numeric", "Duration"), ColumnReading("duration")
    read = _series(column, reading, [span.total_seconds() for span in spans])
    assert read.to_list() == spans


def test_a_fault_of_its_own_is_one_answer_and_no_end(service, monkeypatch, caplog):
    with TestClient(make_app(service), raise_server_exceptions=False) as client:
        with monkeypatch.context() as broken:
            broken.setattr(TableService, "read", lambda *_: 1 / 0)
            answer = client.post("/predict", json={"rows": rows()})
            assert answer.status_code == 500
            assert "division" not in answer.text
        assert "ZeroDivisionError" in caplog.text
        assert client.post("/predict", json={"rows": rows()}).status_code == 200
