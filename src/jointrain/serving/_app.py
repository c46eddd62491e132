"""The application: what is asked at which address, and what is answered."""

from __future__ import annotations

import asyncio
import html
import json
import logging
import secrets
import shlex
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import numpy as np
import polars as pl
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from jointrain import __version__
from jointrain.data import check_text_form
from jointrain.errors import InvalidInputError, closest
from jointrain.serving._batches import Batches, BusyError
from jointrain.serving._limits import TOKEN_VARIABLE
from jointrain.serving._metrics import ServerMetrics
from jointrain.serving._request_rows import (
    ARROW,
    CSV,
    JSON,
    KINDS,
    RowsError,
    content_type,
)
from jointrain.serving._service import TableService

Made = TypeVar("Made")

_LOG = logging.getLogger("jointrain.serving")
_NOTES = "jointrain-notes"
_LONGEST_NOTES = 4000
_SMALL = 20_000
"""Bodies of so many bytes are read at once; larger ones would keep others waiting."""


def app_of(service: TableService, token: str | None) -> FastAPI:
    """Return the application of a service, see `make_app`."""
    batches = Batches(
        service.answer,
        service.limits.rows,
        service.limits.waiting_rows,
        lambda n: metrics.batch(n),
    )
    metrics = ServerMetrics(lambda: batches.waiting_rows)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        batches.close()

    app = FastAPI(
        title=f"jointrain: {service.name}",
        version=__version__,
        description=_description(service, token),
        lifespan=lifespan,
        redoc_url=None,
    )
    app.add_middleware(_Counting, metrics=metrics)
    app.add_exception_handler(InvalidInputError, _unfit)
    app.add_exception_handler(BusyError, _busy)
    app.add_exception_handler(Exception, _unexpected)
    guards = [] if token is None else [Depends(_guard(token))]

    @app.post(
        "/predict",
        summary="Predict all targets for rows",
        dependencies=guards,
        openapi_extra=_request_body(service),
        responses=_responses(token),
        response_class=Response,
    )
    async def predict(
        request: Request,
        intervals: Annotated[
            float | None,
            Query(
                gt=0,
                lt=1,
                description="Share of the numbers that intervals are to hold, such as 0.9.",
            ),
        ] = None,
        preference: Annotated[
            str | None,
            Query(
                description="How much each target counts, such as a=0.7,b=0.3; for models of the "
                "network pareto-set."
            ),
        ] = None,
    ) -> Response:
        _refuse_unknown(request)
        kind = _kind_of(request)
        body = await _body(request, service)
        asked = await _in_thread_if_large(
            len(body), lambda: service.read(body, kind, intervals, preference)
        )
        answer = await batches.predict(asked)
        if answer.notes:
            metrics.notes.inc()
        accepted = request.headers.get("accept", "")
        return await _in_thread_if_large(
            len(body), lambda: _answer(answer.table, answer.notes, accepted)
        )

    @app.get("/health", summary="Whether the server is well")
    async def health() -> _Health:
        return {
            "status": "ok",
            "version": __version__,
            "model": service.name,
            "targets": [task.name for task in service.model.predicted_tasks],
        }

    @app.get(
        "/metrics",
        summary="Counters for Prometheus",
        dependencies=guards,
        response_class=Response,
        responses={
            200: {"description": "Counters", "content": {"text/plain": {"schema": _TEXT}}},
            **({} if token is None else {401: _FAULT}),
        },
    )
    async def counters() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(_page(service, token, str(request.base_url)))

    _describe(app, service)
    return app


class _Health(TypedDict):
    """The answer of /health."""

    status: str
    version: str
    model: str
    targets: list[str]


# ---------------------------------------------------------------------------- requests


_BEARER = HTTPBearer(auto_error=False, description=f"The value of {TOKEN_VARIABLE}.")


def _guard(token: str) -> Callable[..., Awaitable[None]]:
    async def check(
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    ) -> None:
        known = b"" if given is None else given.credentials.encode(errors="replace")
        if not secrets.compare_digest(known, token.encode()):
            raise HTTPException(
                401, "send the header Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"}
            )

    return check


_ASKED = ("intervals", "preference")
"""What may be asked of predictions."""


def _refuse_unknown(request: Request) -> None:
    """Refuse what would be passed over: unknown parameters of the address, and values but one.

    Raises:
        RowsError: There is such a parameter; the known ones are named.
    """
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in _ASKED:
            told = f"is not known{closest(name, _ASKED)}; known are {' and '.join(_ASKED)}"
        elif names.count(name) > 1:
            told = "is given twice; give it once"
        else:
            continue
        fault = {"loc": ["query", name], "msg": f"{name!r} {told}", "type": "unknown_parameter"}
        raise RowsError([fault])


def _kind_of(request: Request) -> str:
    kind = content_type(request.headers)
    if kind is None:
        raise HTTPException(415, f"the body must be one of {', '.join(KINDS)}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "the body must not be compressed")
    return kind


async def _body(request: Request, service: TableService) -> bytes:
    """Return the body of a request, read as far as it may be large and slow."""
    limits = service.limits
    too_large = HTTPException(
        413, f"the body has more than {limits.bytes} bytes; send fewer rows at a time"
    )
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limits.bytes:
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.seconds):
            async for part in request.stream():
                size += len(part)
                if size > limits.bytes:
                    raise too_large
                parts.append(part)
    except TimeoutError:
        raise HTTPException(408, "the body did not come in time") from None
    return b"".join(parts)


async def _in_thread_if_large(size: int, work: Callable[[], Made]) -> Made:
    if size <= _SMALL:
        return _without_panic(work)
    return await asyncio.to_thread(_without_panic, work)


def _without_panic(work: Callable[[], Made]) -> Made:
    try:
        return work()
    except pl.exceptions.PanicException as panic:  # which is no `Exception`
        raise RuntimeError(str(panic)) from panic


async def _unfit(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, RowsError):
        return JSONResponse({"detail": error.details}, 422)
    fault = {"loc": ["body"], "msg": str(error), "type": "invalid_input"}
    return JSONResponse({"detail": [fault]}, 422)


async def _busy(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse(
        {"detail": "too many rows wait; ask again later"}, 503, {"retry-after": "1"}
    )


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    _LOG.error("a request failed", exc_info=error)
    return JSONResponse({"detail": "the server failed at this request"}, 500)


class _Counting:
    """Counts requests and their time; asks nothing of their bodies."""

    def __init__(self, app: Any, metrics: ServerMetrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            known = ("/predict", "/health", "/metrics")
            path = scope["path"] if scope["path"] in known else "other"
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - started)


# ---------------------------------------------------------------------------- answers


def _answer(table: pl.DataFrame, notes: list[str], accepted: str) -> Response:
    """Return an answer of the kind that the client accepts: CSV, Arrow, or JSON.

    Raises:
        InvalidInputError: The column of names has a type that this kind can't hold.
    """
    kinds = [one.partition(";")[0].strip().lower() for one in accepted.split(",")]
    chosen = next((kind for kind in kinds if kind in KINDS), JSON)
    if chosen != ARROW:
        check_text_form(table, "the answer", json=chosen == JSON, instead=f"Accept: {ARROW}")
    if chosen == JSON:
        return Response(_as_json(table, notes), media_type=JSON)
    told = json.dumps(notes)
    headers = {_NOTES: told if len(told) <= _LONGEST_NOTES else json.dumps(["too long to send"])}
    if chosen == CSV:
        return Response(table.write_csv(), media_type=CSV, headers=headers)
    stream = table.write_ipc_stream(None, compat_level=pl.CompatLevel.oldest())
    return Response(stream.getvalue(), media_type=ARROW, headers=headers)


def _as_json(table: pl.DataFrame, notes: list[str]) -> str:
    # JSON has no infinite numbers
    infinite = [
        name
        for name, dtype in table.schema.items()
        if dtype.is_float() and not np.isfinite(table[name].to_numpy()).all()
    ]
    if infinite:
        table = table.with_columns(
            pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in infinite
        )
    return f'{{"predictions":{table.write_json()},"notes":{json.dumps(notes)}}}'


# ---------------------------------------------------------------------------- description

_TEXT = {"type": "string"}
_FAULT = {
    "description": "What is wrong",
    "content": {
        JSON: {"schema": {"type": "object", "properties": {"detail": {}}, "required": ["detail"]}}
    },
}
_BINARY = {"type": "string", "format": "binary"}


def _description(service: TableService, token: str | None) -> str:
    tasks = ", ".join(task.name for task in service.model.predicted_tasks)
    needs = f" Requests bring a token, that of {TOKEN_VARIABLE}." if token is not None else ""
    return (
        f"Predicts {tasks}. Rows are read as those of the training table were; at most "
        f"{service.limits.rows} at a time.{needs}"
    )


def _request_body(service: TableService) -> dict[str, Any]:
    header = ",".join(_quoted(name) for name in service.example)
    cells = ",".join(_quoted(_cell(value)) for value in service.example.values())
    return {
        "requestBody": {
            "required": True,
            "content": {
                JSON: {
                    "schema": {"$ref": "#/components/schemas/Rows"},
                    "example": {"rows": [service.example]},
                },
                CSV: {"schema": _TEXT, "example": f"{header}\n{cells}\n"},
                ARROW: {"schema": _BINARY},
            },
        }
    }


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "|".join(value)
    return "" if value is None else str(value)


def _quoted(text: str) -> str:
    if any(mark in text for mark in ',"\n\r'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _responses(token: str | None) -> dict[int | str, dict[str, Any]]:
    found: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "A prediction for each row, in their order",
            "content": {
                JSON: {"schema": {"$ref": "#/components/schemas/Predictions"}},
                CSV: {"schema": _TEXT},
                ARROW: {"schema": _BINARY},
            },
        },
    }
    for status in (400, 408, 413, 415, 503, *(() if token is None else (401,))):
        found[status] = _FAULT
    return found


def _describe(app: FastAPI, service: TableService) -> None:
    """Let the description of the interface hold the types of the model's rows."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            if not service.takes_preference:
                asked = made["paths"]["/predict"]["post"]
                parameters = asked["parameters"]
                asked["parameters"] = [one for one in parameters if one["name"] != "preference"]
            schemas = made.setdefault("components", {}).setdefault("schemas", {})
            for name, kind in (
                ("Rows", service.reader.body_type),
                ("Predictions", service.predictions_type),
            ):
                schema = TypeAdapter(kind).json_schema(
                    ref_template="#/components/schemas/{model}", mode="validation"
                )
                schemas |= schema.pop("$defs", {})
                schemas[name] = schema
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _page(service: TableService, token: str | None, address: str) -> str:
    """Return a page that needs no network: what the server is asked, by an example."""
    predict = shlex.quote(f"{address}predict")
    body = json.dumps({"rows": [service.example]}, ensure_ascii=False)
    quoted = body.replace("'", "'\\''")
    bearer = "" if token is None else f' -H "Authorization: Bearer ${TOKEN_VARIABLE}"'
    command = f"curl {predict} -H 'Content-Type: application/json'{bearer} -d '{quoted}'"
    title = html.escape(f"jointrain: {service.name}")
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"></head>
<body style="font-family: sans-serif; max-width: 50em; margin: auto; padding: 1em">
<h1>{title}</h1>
<p>{html.escape(_description(service, token))}</p>
<pre style="white-space: pre-wrap"><code>{html.escape(command)}</code></pre>
<p><a href="/docs">Interface</a> (its page is fetched from the internet),
<a href="/openapi.json">its description</a>, <a href="/health">health</a>,
<a href="/metrics">counters</a></p>
</body></html>"""
