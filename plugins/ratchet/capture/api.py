"""The feedback endpoint: POST /v1/loops/{loop}/feedback.

A 202 means that the redacted row is on disk and will land; the same Idempotency-Key again gives the same answer and no
second row. What is refused is not echoed, logged or kept. Who it is from is hashed before it is written.
"""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from ratchet.capture.inbox import Inbox, InboxError, KeyReused
from ratchet.capture.limits import RateLimit
from ratchet.capture.messages import Message, TooEarly, row_of
from ratchet.landing.people import person_key
from ratchet.settings import Settings

LARGEST_BODY = 32_768
ROTATE_SECONDS = 60.0
_KEYS = {"feedback": "feedback_id", "telemetry": "telemetry_id"}


def make_app(
    settings: Settings,
    loops: tuple[str, ...],
    per_second: float = 10.0,
    burst: int = 50,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    rotate_seconds: float = ROTATE_SECONDS,
) -> FastAPI:
    """The application. With `settings.feedback_key`, every request has to bring it as `Authorization: Bearer ...`.

    Raises:
        InboxError: another endpoint serves one of the loops.
        PersonKeyError: there is no usable key to hash people's ids with.
    """
    people = person_key(settings)
    inboxes = {
        (loop, source): Inbox(
            settings.home / "inbox" / loop / source, settings.landing_dir / loop / source, key
        )
        for loop in loops
        for source, key in _KEYS.items()
    }
    limit, stop = RateLimit(per_second, burst), threading.Event()

    def rotating() -> None:
        while not stop.wait(rotate_seconds):
            for inbox in inboxes.values():
                inbox.rotate()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        rotator = threading.Thread(target=rotating, name="rotate", daemon=True)
        rotator.start()
        yield
        stop.set()
        rotator.join(timeout=10)
        for inbox in inboxes.values():
            inbox.close()

    app = FastAPI(title="Ratchet feedback", lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.get("/healthz")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post(
        "/v1/loops/{loop}/feedback",
        status_code=202,
        openapi_extra={
            "requestBody": {"content": {"application/json": {"schema": Message.model_json_schema()}}}
        },
    )
    async def give(loop: str, request: Request) -> JSONResponse:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if settings.feedback_key and not hmac.compare_digest(given, settings.feedback_key.encode()):
            return _refused(401, "give the key as Authorization: Bearer ...")
        if loop not in loops:
            return _refused(404, "no such loop")
        client = request.client.host if request.client else "unknown"
        wait = limit.wait(client, time.monotonic())
        if wait:
            return _refused(429, "too many requests", {"Retry-After": str(int(wait) + 1)})
        key = request.headers.get("idempotency-key", "")
        if not 8 <= len(key) <= 200:
            return _refused(400, "give an Idempotency-Key of 8 to 200 characters")
        body = await _body(request)
        if body is None:
            return _refused(413, f"a message has at most {LARGEST_BODY} bytes")
        try:
            message = Message.model_validate(json.loads(body))
            now = clock()
            # Behind a proxy or an address that changes, a retry must still be known: the key alone names the row.
            source, row = row_of(message, loop, "", key, now)
            if "user_id" in row:
                row["user_id"] = people.sealed(loop, source, (row[_KEYS[source]],), row["user_id"])
            is_new = await run_in_threadpool(inboxes[loop, source].append, row, now.date())
        except ValidationError as error:
            return _refused(
                422, [_where(item) for item in error.errors(include_input=False, include_url=False)]
            )
        except TooEarly as error:
            return _refused(422, str(error))
        except (ValueError, RecursionError) as error:
            return _refused(
                *((409, str(error)) if isinstance(error, KeyReused) else (400, "the body is no JSON"))
            )
        except InboxError:
            return _refused(503, "not kept; try again", {"Retry-After": "5"})
        return JSONResponse({"id": row[_KEYS[source]], "is_new": is_new}, status_code=202)

    return app


async def _body(request: Request) -> bytes | None:
    """At most LARGEST_BODY bytes, whatever the length that was announced; None when there are more."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_BODY:
            return None
        parts.append(part)
    return b"".join(parts)


def _where(item: Any) -> str:
    return f"{'.'.join(str(part) for part in item['loc']) or 'message'}: {item['msg']}"


def _refused(status: int, why: Any, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": why}, status_code=status, headers=headers)
