"""`jointrain serve` as a process: its interface under attack, its end, and its beginning."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager

import pytest

from jointrain.bundle import save_bundle
from tests.serving._models import model, rows

pytest.importorskip("uvicorn")
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save_bundle(model(), tmp_path_factory.mktemp("served") / "model")


@contextmanager
def served(bundle, *flags, **environment):
    """Give the process and its address; it is killed in the end if it is there still."""
    command = [sys.executable, "-m", "jointrain", "serve", str(bundle), "--port", "0", *flags]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        yield process, re.search(r"http://\S+:\d+", line)[0]
    finally:
        process.kill()
        process.communicate()


def ask(address, path, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", **headers}
    with urllib.request.urlopen(urllib.request.Request(address + path, data, headers)) as answer:
        return json.loads(answer.read())


def test_sigterm_lets_what_is_asked_be_answered(bundle):
    with served(bundle) as (process, address):
        assert ask(address, "/health")["status"] == "ok"
        answers = []
        large = {"rows": rows(60) * 100}
        asking = [
            threading.Thread(target=lambda: answers.append(ask(address, "/predict", large)))
            for _ in range(4)
        ]
        for thread in asking:
            thread.start()
        while not re.search(r"waiting_rows [1-9]", _counters(address)):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        for thread in asking:
            thread.join(60)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0
        assert said == "ended: all requests were answered\n"
        assert [len(answer["predictions"]) for answer in answers] == [6000] * 4


def _counters(address):
    with urllib.request.urlopen(address + "/metrics") as answer:
        return answer.read().decode()


def test_ctrl_c_ends_it_and_a_port_in_use_is_one_line(bundle):
    with served(bundle) as (process, address):
        port = address.rpartition(":")[2]
        again = subprocess.run(
            [sys.executable, "-m", "jointrain", "serve", str(bundle), "--port", port],
            capture_output=True,
            text=True,
        )
        assert again.returncode == 2
        assert again.stderr.count("\n") == 1
        assert f"port {port} of 127.0.0.1 is in use" in again.stderr
        assert ask(address, "/health")["status"] == "ok"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1] == "ended: all requests were answered\n"


@pytest.mark.parametrize("kinds, token", [("JSON", None), ("all kinds", "secret")])
def test_schemathesis_finds_nothing(bundle, kinds, token, tmp_path):
    pytest.importorskip("schemathesis")
    environment, bearer, more = {}, {}, []
    if token is not None:
        environment, bearer = {"JOINTRAIN_TOKEN": token}, {"authorization": f"Bearer {token}"}
        more = ["--header", f"Authorization: Bearer {token}"]
    with served(bundle, "--max-rows", "50", **environment) as (process, address):
        described = ask(address, "/openapi.json")
        content = described["paths"]["/predict"]["post"]["requestBody"]["content"]
        if kinds == "JSON":
            for kind in [kind for kind in content if kind != "application/json"]:
                del content[kind]
        else:
            # to a schema CSV is text, and most text is no table
            more += ["--exclude-checks", "positive_data_acceptance"]
        path = tmp_path / "openapi.json"
        path.write_text(json.dumps(described))
        ran = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", str(path), "--url", address,
             "--max-examples", "60", "--seed", "1", "--no-color", *more],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout[-6000:]
        assert process.poll() is None
        answer = ask(address, "/predict", {"rows": rows()}, **bearer)
        assert len(answer["predictions"]) == 2
