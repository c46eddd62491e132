"""How long requests take at a steady rate: requests of a few rows to `jointrain serve` on loopback.

Requests are sent when they are due, whether or not earlier ones were answered, so a server that
falls behind is seen in the times, which count from the moment at which a request was due. Client
and server are processes of their own and share the machine's cores.

    python benchmarks/serving.py --seconds 30 --rate 200 --rows 10
    python benchmarks/serving.py --bundle model
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np

CONNECTIONS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="default: one of the penguins, made for this")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    parser.add_argument("--rows", type=int, default=10, help="rows in a request")
    parser.add_argument("--intervals", type=float)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = given.bundle or penguins(Path(folder) / "model")
        command = [sys.executable, "-m", "jointrain", "serve", str(bundle), "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            port = int(re.search(r":(\d+)", server.stdout.readline())[1])  # type: ignore[index]
            asyncio.run(load(port, given))
        finally:
            server.terminate()
            server.wait()
            print(f"exit code {server.returncode}")


def penguins(path: Path) -> Path:
    """Fit a bundle to the penguins, with the defaults of `fit`."""
    from jointrain.cli import run
    from jointrain.data import load_penguins

    table = path.with_name("penguins.csv")
    load_penguins().write_csv(table)
    run(["fit", str(table), "--targets", "species,body_mass_g", "--out", str(path)])
    return path


async def load(port: int, given: argparse.Namespace) -> None:
    """Send requests at the rate, and print what became of them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    _, body = await ask(reader, writer, b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n")
    asked = json.loads(body)["paths"]["/predict"]["post"]["requestBody"]["content"]
    row = asked["application/json"]["example"]["rows"][0]
    text = json.dumps({"rows": [row] * given.rows}).encode()
    query = "" if given.intervals is None else f"?intervals={given.intervals}"
    request = (
        f"POST /predict{query} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
        f"content-length: {len(text)}\r\n\r\n"
    ).encode() + text
    for _ in range(20):
        await ask(reader, writer, request)

    count = int(given.seconds * given.rate)
    due: asyncio.Queue[float] = asyncio.Queue()
    statuses: Counter[str] = Counter()
    taken: list[float] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while True:
            moment = await due.get()
            try:
                status, _ = await ask(reader, writer, request)
            except (OSError, asyncio.IncompleteReadError) as error:
                status = type(error).__name__
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            statuses[status] += 1
            taken.append(time.perf_counter() - moment)
            due.task_done()

    workers = [asyncio.create_task(connection()) for _ in range(CONNECTIONS)]
    await asyncio.sleep(0.5)
    start = time.perf_counter()
    for number in range(count):
        moment = start + number / given.rate
        if (wait := moment - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        due.put_nowait(moment)
    await due.join()
    lasted = time.perf_counter() - start
    for worker in workers:
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker
    middle, most, last = np.percentile(taken, [50, 99, 100]) * 1000
    print("| requests | rows each | a second | median ms | 99 % ms | longest ms | answers |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    answers = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    print(
        f"| {count} | {given.rows} | {count / lasted:.0f} | {middle:.1f} | {most:.1f} | {last:.1f} "
        f"| {answers} |"
    )


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[str, bytes]:
    """Return status and body of one answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head.lower())[1])  # type: ignore[index]
    return head.split(maxsplit=2)[1].decode(), await reader.readexactly(length)


if __name__ == "__main__":
    main()
