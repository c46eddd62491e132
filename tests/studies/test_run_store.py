"""The store of runs: claims, results bit for bit, and what is said when it can't be used."""

import json
import os
import platform
import shutil
import sqlite3
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays

from jointrain.errors import InvalidInputError, MissingDependencyError
from jointrain.studies import _run_store, run_jobs
from jointrain.studies._run_store import RunStore
from jointrain.system.database_address import without_password
from tests.postgresql import running_server
from tests.studies._shared_work import lines, traced_jobs

DESCRIPTION = {"data": "a1b2", "recipes": {"joint": {"epochs": 100, "width": 64}}, "folds": 5}


@pytest.fixture(params=["folder", "sqlite"])
def place(request, tmp_path):
    if request.param == "folder":
        return tmp_path / "store"
    return f"sqlite:///{tmp_path / 'runs.db'}"


def claimed_elsewhere(place, key, monkeypatch, timeout=60.0):
    """Return a store of another machine that holds the claim to a run and never renews it."""
    with monkeypatch.context() as patch:
        patch.setattr(platform, "node", lambda: "elsewhere")
        store = RunStore.open(place, DESCRIPTION, timeout=timeout)
        assert store.claim([key]) == key
    return store


@given(
    values=arrays.arrays(
        st.sampled_from([np.float32, np.float64, np.int64]), arrays.array_shapes(min_side=0)
    )
)
def test_arrays_come_back_bit_for_bit(values):
    text = _run_store._to_json({"values": values, "mean": np.float32(0.1), "count": np.int64(3)})
    back = json.loads(text, object_hook=_run_store._array_from_json)
    assert back["values"].dtype == values.dtype
    assert back["values"].shape == values.shape
    assert back["values"].tobytes() == values.tobytes()
    assert back["mean"] == float(np.float32(0.1))
    assert back["count"] == 3


def test_results_come_back_equal_from_another_opening(place):
    value = [["joint", [{"value": 0.1 + 0.2, "fold": 3}, {"value": float("nan")}], -1e-300]]
    store = RunStore.open(place, DESCRIPTION)
    assert store.claim(["a"]) == "a"
    store.finish("a", value)
    back = RunStore.open(place, DESCRIPTION).finished(["a", "b"])
    assert repr(back) == repr({"a": value})


def test_value_that_cannot_be_kept_is_refused(tmp_path):
    store = RunStore.open(tmp_path, DESCRIPTION)
    store.claim(["a"])
    with pytest.raises(TypeError, match="can't hold a value of type object"):
        store.finish("a", object())


def test_claims_of_many_are_given_to_one_each(place):
    keys = [str(number) for number in range(8)]
    stores = [RunStore.open(place, DESCRIPTION) for _ in range(4)]

    def claim_all(store):
        return [key for key in iter(lambda: store.claim(keys), None) if key is not None]

    with ThreadPoolExecutor(4) as threads:
        claimed = [key for keys in threads.map(claim_all, stores) for key in keys]
    assert sorted(claimed) == keys


def test_new_place_is_opened_by_many_at_once(place):
    with ThreadPoolExecutor(4) as threads:
        stores = list(threads.map(lambda _: RunStore.open(place, DESCRIPTION), range(4)))
    assert stores[0].claim(["a"]) == "a"
    assert [store.claim(["a"]) for store in stores] == [None] * 4


def test_claim_is_refused_while_another_one_lives(place, monkeypatch):
    claimed_elsewhere(place, "a", monkeypatch)
    store = RunStore.open(place, DESCRIPTION)
    assert store.claim(["a", "b"]) == "b"
    assert store.claim(["a", "b"]) is None


def test_a_claim_of_another_container_of_the_same_name_lives(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(_run_store, "_own_place", lambda: f"{platform.node()} boot 1")
        patch.setattr(os, "getpid", lambda: 2**22 + 1)  # no process has this number
        patch.setattr(_run_store, "_has_ended", lambda worker: False)  # there it has
        assert RunStore.open(tmp_path, DESCRIPTION).claim(["a"])
        # older versions told the name of the machine alone
        patch.setattr(_run_store, "_own_place", platform.node)
        patch.setattr(_run_store, "_start_of", lambda process: "")
        assert RunStore.open(tmp_path, DESCRIPTION).claim(["b"])
    store = RunStore.open(tmp_path, DESCRIPTION)
    assert store.claim(["a", "b", "c"]) == "c"
    assert store.kept()[2] == 3


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
@pytest.mark.parametrize("number", [2**22 + 1, os.getpid()], ids=["ended", "another"])
def test_a_claim_of_a_process_that_was_killed_is_void(tmp_path, monkeypatch, number):
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: number)
        patch.setattr(_run_store, "_start_of", lambda process: "1")
        patch.setattr(_run_store, "_has_ended", lambda worker: False)
        assert RunStore.open(tmp_path, DESCRIPTION).claim(["a"])
    store = RunStore.open(tmp_path, DESCRIPTION)
    assert store.kept()[2] == 0
    assert store.claim(["a"]) == "a"


def test_what_this_process_still_runs_is_not_claimed_again(tmp_path):
    store, other = RunStore.open(tmp_path, DESCRIPTION), RunStore.open(tmp_path, DESCRIPTION)
    store.claim(["a"])
    other._end(store._claims["a"], "FAIL")
    assert store.claim(["a"]) is None
    store.finish("a", 1)
    assert store.claim(["a"]) == "a"


@pytest.mark.parametrize(
    "place, message",
    [
        ("", "has no name"),
        (" ", "has no name"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///a?b.db", "says 'b.db'"),
        ("sqlite:///file:a.db?mode=memory&uri=true", "says 'mode=memory'"),
        ("sqlite:///a.db?", "says ''"),
    ],
)
def test_places_that_keep_nothing_are_refused(tmp_path, monkeypatch, place, message):
    monkeypatch.chdir(tmp_path)
    for opening in (lambda: RunStore.open(place, DESCRIPTION), lambda: RunStore.existing(place)):
        with pytest.raises(InvalidInputError, match=message):
            opening()
    assert list(tmp_path.iterdir()) == []


def test_claim_that_is_not_renewed_is_void_and_its_late_result_is_dropped(place, monkeypatch):
    first = claimed_elsewhere(place, "a", monkeypatch)
    store = RunStore.open(place, DESCRIPTION, timeout=0.2)
    assert store.claim(["a"]) is None
    time.sleep(0.3)
    assert store.claim(["a"]) == "a"
    first.finish("a", "late")
    assert store.finished(["a"]) == {}
    store.finish("a", "in time")
    assert first.finished(["a"]) == {"a": "in time"}


def test_claim_that_is_renewed_stays(tmp_path, monkeypatch):
    first = claimed_elsewhere(tmp_path, "a", monkeypatch, timeout=0.2)
    store = RunStore.open(tmp_path, DESCRIPTION, timeout=1.0)
    with first.session():
        for _ in range(6):
            assert store.claim(["a"]) is None
            time.sleep(0.25)
    # given back at the end of the session
    assert store.claim(["a"]) == "a"


def test_other_description_is_refused_with_what_differs(place):
    RunStore.open(place, DESCRIPTION)
    other = {"data": "ffff", "recipes": {"joint": {"epochs": 40, "width": 64}}, "seeds": 3}
    with pytest.raises(InvalidInputError, match="holds the runs of another study") as raised:
        RunStore.open(place, other)
    message = str(raised.value)
    assert "data is 'a1b2' there and 'ffff' here" in message
    assert "recipes.joint.epochs is 100 there and 40 here" in message
    assert "folds is 5 there and None here" in message
    assert "seeds is None there and 3 here" in message
    assert "width" not in message
    assert "choose another place" in message


def test_free_keys_may_differ(tmp_path):
    RunStore.open(tmp_path, {**DESCRIPTION, "budget": 20})
    RunStore.open(
        tmp_path, {**DESCRIPTION, "budget": None, "workers": 2}, free=["budget", "workers"]
    )


def test_long_values_are_cut_in_the_message(tmp_path):
    RunStore.open(tmp_path, {"data": "a" * 100})
    with pytest.raises(InvalidInputError, match=r"data is 'a{36}\.\.\. there"):
        RunStore.open(tmp_path, {"data": "b" * 100})


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_journal_cut_at_its_last_line_opens_and_goes_on(cut, tmp_path):
    store = RunStore.open(tmp_path, DESCRIPTION)
    for key in "ab":
        store.claim([key])
        store.finish(key, key)
    journal = tmp_path / "runs.jsonl"
    journal.write_bytes(journal.read_bytes()[:-cut])
    again = RunStore.open(tmp_path, DESCRIPTION, timeout=0.0)
    assert again.finished("ab") == {"a": "a"}  # the line that was cut said that b is finished
    again.claim("b")
    assert again.claim("b") == "b"
    again.finish("b", "b")
    assert RunStore.open(tmp_path, DESCRIPTION).finished("ab") == {"a": "a", "b": "b"}


def test_damaged_journal_is_refused(tmp_path):
    RunStore.open(tmp_path, DESCRIPTION)
    journal = tmp_path / "runs.jsonl"
    journal.write_text("no JSON\n" + journal.read_text())
    with pytest.raises(InvalidInputError, match="holds no runs that this version can read"):
        RunStore.open(tmp_path, DESCRIPTION)


@pytest.mark.parametrize(
    "line, reason",
    [
        ("no JSON", "line 2 of its runs.jsonl is damaged"),
        ("[1]", "line 2 of its runs.jsonl is damaged"),
        ("[" * 100_000, "line 2 of its runs.jsonl is damaged"),
        ('{"op_code": 8, "worker_id": "a"}', "the lines of its runs.jsonl do not fit together"),
    ],
)
def test_what_is_said_of_a_damaged_line(tmp_path, line, reason):
    """Its file and number and what to do, in no parser's words."""
    RunStore.open(tmp_path, DESCRIPTION)
    journal = tmp_path / "runs.jsonl"
    first, *rest = journal.read_text().splitlines()
    journal.write_text("\n".join([first, line, *rest]) + "\n")
    with pytest.raises(InvalidInputError) as raised:
        RunStore.open(tmp_path, DESCRIPTION)
    assert str(raised.value) == (
        f"{tmp_path} holds no runs that this version can read: {reason}; put a copy of it back, "
        "choose another place, or remove it to make the runs again"
    )


@pytest.mark.parametrize("attributes", ["a", [], None])
def test_trials_of_a_journal_with_other_attributes_are_no_runs(tmp_path, attributes):
    store = RunStore.open(tmp_path, DESCRIPTION)
    assert store.claim(["a"]) == "a"
    journal = tmp_path / "runs.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    lines[-1]["user_attrs"] = attributes
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert RunStore.open(tmp_path, DESCRIPTION).claim(["a", "b"]) == "a"


@pytest.mark.parametrize("change", ["trials set state = 'x'", "trial_values set value_type = 'x'"])
def test_database_with_words_that_are_none_is_refused(tmp_path, change):
    place = f"sqlite:///{tmp_path / 'runs.db'}"
    store = RunStore.open(place, DESCRIPTION)
    with store.session():
        assert store.claim(["a"]) == "a"
        store.finish("a", 1)
    with sqlite3.connect(tmp_path / "runs.db") as base:
        base.execute(f"update {change}")
    base.close()
    with pytest.raises(InvalidInputError, match="holds no runs that this version can read"):
        RunStore.open(place, DESCRIPTION)


def test_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="choose a folder that can be written"):
        RunStore.open(tmp_path / "file" / "store", DESCRIPTION)


def test_folder_that_is_lost_on_the_way_is_named(tmp_path):
    store = RunStore.open(tmp_path / "store", DESCRIPTION)
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(InvalidInputError, match="can't read or write the runs of the study"):
        store.claim(["a"])


@pytest.mark.parametrize(
    "url, reason",
    [
        ("sqlite:////no/such/folder/runs.db", "unable to open database file"),
        ("nosuchbase://user:secret@host/runs", "Can't load plugin"),
        ("sqlite://user:secret@host:port/runs", "invalid literal|Could not parse|Invalid SQLite"),
    ],
)
def test_dead_url_is_refused_in_one_line_without_its_password(url, reason):
    with pytest.raises(InvalidInputError, match=reason) as raised:
        RunStore.open(url, DESCRIPTION)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "runs.db").write_text("no database " * 100)
    with pytest.raises(InvalidInputError, match="file is not a database"):
        RunStore.open(f"sqlite:///{tmp_path / 'runs.db'}", DESCRIPTION)


def test_missing_driver_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jointrain\[postgresql\]'"):
        RunStore.open("postgresql://user:secret@localhost/runs", DESCRIPTION)


@pytest.mark.parametrize(
    "place, shown",
    [
        ("postgresql://me:a@b:c@host/x", "postgresql://me:***@host/x"),
        ("postgresql://me@host/x?password=abc&a=1", "postgresql://me@host/x?password=***&a=1"),
        ("runs/study", "runs/study"),
    ],
)
def test_passwords_are_not_shown(place, shown):
    assert without_password(place) == shown


@pytest.mark.integration
def test_a_server_that_stops_in_mid_study_is_one_line_and_the_study_goes_on(tmp_path):
    pytest.importorskip("psycopg")
    jobs = traced_jobs(tmp_path, 4, 0.5)
    with running_server() as server:
        store = RunStore.open(server.url, DESCRIPTION)
        running = run_jobs(jobs, workers=2, store=store)
        first, _ = next(running)
        server.stop()
        with pytest.raises(InvalidInputError) as fault:
            dict(running)
        assert len(str(fault.value).splitlines()) == 1
        assert "secret" not in str(fault.value)
        server.start()
        found = dict(run_jobs(jobs, workers=2, store=RunStore.open(server.url, DESCRIPTION)))
        expected = {job.key: job.run()["weights"] for job in jobs}
        assert sorted(found) == sorted(expected)
        assert all((found[key]["weights"] == expected[key]).all() for key in expected)
        # what was kept before the stop is not run again (each was run once more just now)
        assert len(lines(tmp_path, "start")[first]) == 2
