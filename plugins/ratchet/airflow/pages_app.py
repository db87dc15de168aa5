"""The app behind Ratchet's entry in Airflow's navigation: who may see what, and HTML from `ratchet.pages`.

Airflow's own session is the only one. What must stay out of here: what a page says.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, quote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import get_user
from airflow.configuration import conf
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.staticfiles import StaticFiles

from ratchet.airflow.page_access import COOKIE, Forged, Reader, check_form, form_token, fresh_nonce
from ratchet.airflow.page_release import released
from ratchet.certificate.summary import NoDecision
from ratchet.ledger.approvals import Answer
from ratchet.loop import Loop, LoopFileError, load_loop
from ratchet.pages.annotation import annotation
from ratchet.pages.book import PAGES, made
from ratchet.pages.decisions import approvals, decision, decisions
from ratchet.pages.links import Links
from ratchet.pages.parts import Page
from ratchet.pages.render import STATIC, page_html, refused_html
from ratchet.pages.source import LedgerBroken, Source
from ratchet.settings import Settings, load_settings
from ratchet.stages.annotation_inbox import LabelRefused, give
from ratchet.stages.approvals import CannotAnswer, answer, not_recorded

_log = logging.getLogger("ratchet.pages")

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'self'"
)
#: Great Expectations' own pages: text and style, no script. Of our origin, or no session goes with their links.
DOCS_POLICY = (
    "sandbox allow-same-origin; default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; base-uri 'none'; frame-ancestors 'self'"
)
LONGEST_FORM = 20_000
ANSWERS: dict[str, Answer] = {"approve": "approve", "reject": "reject"}
SAID = {
    "approve": "Your yes was recorded.",
    "reject": "Your no was recorded.",
    "released": "The cohort is released: it is served like the others from the next scoring run on.",
}


def _reader(user: Annotated[Any, Depends(get_user)]) -> Reader:
    return Reader(user)


ReaderDep = Annotated[Reader, Depends(_reader)]


def build() -> FastAPI:
    """The app, to be mounted under one prefix."""
    app = FastAPI(title="Ratchet", docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.middleware("http")(_guarded)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(LedgerBroken, _broken)
    app.add_exception_handler(LoopFileError, _broken)
    app.add_api_route("/", _first, methods=["GET"])
    app.add_api_route("/{loop}", _first, methods=["GET"])
    app.add_api_route("/{loop}/approvals", _approvals, methods=["GET"])
    app.add_api_route("/{loop}/approvals", _answer, methods=["POST"])
    app.add_api_route("/{loop}/annotation", _annotation, methods=["GET"])
    app.add_api_route("/{loop}/annotation", _label, methods=["POST"])
    app.add_api_route("/{loop}/decisions/{name}", _decision, methods=["GET"])
    app.add_api_route("/{loop}/data-docs/{path:path}", _data_docs, methods=["GET"])
    app.add_api_route("/{loop}/{slug}", _page, methods=["GET"])
    return app


async def _guarded(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call(request)
    for name, value in (
        ("Content-Security-Policy", POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "same-origin"),
        ("Cache-Control", "no-cache" if "/static/" in request.url.path else "no-store"),
    ):
        response.headers.setdefault(name, value)
    return response


def _own(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")


def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, StarletteHTTPException) else 500
    own = _own(request)
    said = str(getattr(error, "detail", error))
    title, link, text, is_outside = "Not found", f"{own}/", "All pages", False
    if status == 401:
        login = get_auth_manager().get_url_login(next_url=str(request.url.path))
        title, link, text, is_outside = "Sign in", login, "Sign in to Airflow", True
    elif status == 403:
        title = "Refused"
    elif status != 404:
        title = "Not done"
    html = refused_html(title, said, f"{own}/static", link, text, is_outside)
    return HTMLResponse(html, status_code=status)


def _broken(request: Request, error: Exception) -> Response:
    _log.error("pages refuse to show: %s", error)
    return HTMLResponse(
        refused_html("Nothing is shown", str(error), f"{_own(request)}/static"), status_code=503
    )


@lru_cache(maxsize=64)
def _loop_file(path: Path, changed_ns: int) -> Loop:
    return load_loop(path)


def _loops(settings: Settings, reader: Reader) -> dict[str, Path]:
    """The loops whose DAGs the reader may see."""
    paths = {path.stem: path for path in sorted(settings.loops_dir.glob("*.yml"))}
    return {name: path for name, path in paths.items() if reader.may_look(name)}


def _opened(request: Request, reader: Reader, loop: str) -> tuple[Source, Links, list[str]]:
    """The loop's source, if the reader may see it.

    Raises:
        HTTPException: there is no such loop, or it is not for this reader: both look the same.
    """
    settings = load_settings()
    loops = _loops(settings, reader)
    if loop not in loops:
        raise HTTPException(404 if loops else 403, f"There is no loop {loop!r} that you may look at.")
    path = loops[loop]
    own = _own(request)
    source = Source.of(settings, _loop_file(path, path.stat().st_mtime_ns))
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    airflow = own.removesuffix("/ratchet") if own.endswith("/ratchet") else base
    return source, Links(loop, settings, own=own, airflow=airflow), list(loops)


def _first(request: Request, reader: ReaderDep, loop: str = "") -> Response:
    loops = _loops(load_settings(), reader)
    if not loops:
        raise HTTPException(403, "You may look at no loop: Airflow's roles let you see none of their DAGs.")
    if loop and loop not in loops:
        raise HTTPException(404, f"There is no loop {loop!r} that you may look at.")
    return RedirectResponse(f"{_own(request)}/{loop or next(iter(loops))}/overview", status_code=307)


def _page(request: Request, reader: ReaderDep, loop: str, slug: str, before: int | None = None) -> Response:
    if slug not in PAGES:
        raise HTTPException(404, f"There is no page {slug!r}.")
    source, links, loops = _opened(request, reader, loop)
    page = decisions(source, links, before) if slug == "decisions" else made(slug, source, links)
    return HTMLResponse(page_html(page, source, links, loops, current=slug))


def _decision(request: Request, reader: ReaderDep, loop: str, name: str) -> Response:
    source, links, loops = _opened(request, reader, loop)
    try:
        page = decision(source, links, name)
    except NoDecision as error:
        raise HTTPException(404, str(error)) from None
    return HTMLResponse(page_html(page, source, links, loops, current="decisions"))


def _asked(source: Source, links: Links, reader: Reader) -> Page:
    may = reader.may_answer(source.loop.loop)
    why_not = "" if may else "Your role in Airflow lets you look, not answer."
    return approvals(source, links, reader.signing_names(source.loop.approvals.authenticated), why_not)


def _approvals(request: Request, reader: ReaderDep, loop: str, answered: str = "") -> Response:
    source, links, loops = _opened(request, reader, loop)
    nonce = request.cookies.get(COOKIE) or fresh_nonce()
    html = page_html(
        _asked(source, links, reader), source, links, loops, current="approvals",
        token=form_token(nonce, reader, loop), said=SAID.get(answered, ""),
    )  # fmt: skip
    return _with_cookie(request, HTMLResponse(html), nonce)


def _with_cookie(request: Request, response: Response, nonce: str) -> Response:
    response.set_cookie(
        COOKIE, nonce, path=_own(request) or "/", httponly=True, samesite="strict",
        secure=request.url.scheme == "https" or bool(conf.get("api", "ssl_cert", fallback="")),
    )  # fmt: skip
    return response


def _annotator(source: Source, reader: Reader) -> tuple[str, str]:
    """The name that the reader labels under, or an empty one and why they may not."""
    terms, name = source.loop.feedback.annotation, reader.names[0]
    named = {*terms.annotators, *terms.adjudicators, *terms.priority} if terms.annotators else {name}
    if not reader.may_answer(source.loop.loop):
        return "", "Your role in Airflow lets you look, not label."
    return (name, "") if name in named else ("", f"You are {name}; the loop file names other annotators.")


def _annotation(request: Request, reader: ReaderDep, loop: str, labelled: str = "") -> Response:
    source, links, loops = _opened(request, reader, loop)
    nonce = request.cookies.get(COOKIE) or fresh_nonce()
    html = page_html(
        made("annotation", source, links, partial(annotation, source, links, *_annotator(source, reader))),
        source, links, loops, current="annotation", token=form_token(nonce, reader, loop),
        said="Your label was kept." if labelled else "",
    )  # fmt: skip
    return _with_cookie(request, HTMLResponse(html), nonce)


async def _label(request: Request, reader: ReaderDep, loop: str) -> Response:
    return await run_in_threadpool(_labelled, request, reader, loop, await _form(request))


def _labelled(request: Request, reader: Reader, loop: str, fields: dict[str, str]) -> Response:
    source, links, _ = _opened(request, reader, loop)
    try:
        check_form(request.headers, request.cookies, fields.get("token", ""), reader, loop)
    except Forged as error:
        raise HTTPException(403, f"Nothing was done: {error}.") from None
    name, why_not = _annotator(source, reader)
    if not name:
        raise HTTPException(403, f"Nothing was done. {why_not}")
    if source.as_of is None:
        raise HTTPException(409, "Nothing was done: nothing of this loop was built yet.")
    try:
        give(
            source.settings,
            source.loop,
            fields.get("feedback_id", ""),
            name,
            fields.get("category", ""),
            source.as_of,
        )
    except LabelRefused as error:
        raise HTTPException(400, f"Nothing was done: {error}.") from None
    return RedirectResponse(f"{links.page('annotation')}?labelled=1", status_code=303)


async def _answer(request: Request, reader: ReaderDep, loop: str) -> Response:
    return await run_in_threadpool(_answered, request, reader, loop, await _form(request))


async def _form(request: Request) -> dict[str, str]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_FORM:
            raise HTTPException(413, f"The form is longer than {LONGEST_FORM} bytes: say it in fewer words.")
    try:
        return {name: values[-1] for name, values in parse_qs(body.decode(), max_num_fields=10).items()}
    except ValueError:
        raise HTTPException(400, "The form can't be read.") from None


def _answered(request: Request, reader: Reader, loop: str, fields: dict[str, str]) -> Response:
    source, links, _ = _opened(request, reader, loop)
    try:
        check_form(request.headers, request.cookies, fields.get("token", ""), reader, loop)
    except Forged as error:
        raise HTTPException(403, f"Nothing was done: {error}.") from None
    if not reader.may_answer(loop):
        raise HTTPException(403, "Nothing was done: your role in Airflow lets you look, not answer.")
    if "cohort" in fields:
        released(source, reader, fields)
        return RedirectResponse(f"{links.page('approvals')}?answered=released", status_code=303)
    said, reason = ANSWERS.get(fields.get("answer", "")), fields.get("reason", "").strip()
    if said is None or not reason:
        raise HTTPException(400, "Nothing was done: say yes or no, and why, for those who read the ledger.")
    decided, names = fields.get("decision", ""), reader.signing_names(source.loop.approvals.authenticated)
    try:
        answer(
            source.settings, source.loop, decided, said, by=names, reason=reason,
            actor=f"airflow:{reader.names[0]}", log=_log.info, identity="airflow",
        )  # fmt: skip
    except CannotAnswer as error:
        raise HTTPException(403, f"Nothing was done: {error}.") from None
    too_late = not_recorded(source.settings, source.loop, decided, said, names)
    if too_late:
        raise HTTPException(409, f"Nothing was done: {too_late}.")
    return RedirectResponse(f"{links.page('approvals')}?answered={quote(said)}", status_code=303)


def _data_docs(request: Request, reader: ReaderDep, loop: str, path: str) -> Response:
    source, _, _ = _opened(request, reader, loop)
    root = (source.settings.gx_dir / "data_docs").resolve()
    wanted = (root / path).resolve()
    if not wanted.is_relative_to(root) or not wanted.is_file():
        raise HTTPException(404, "Great Expectations wrote no such page.")
    return FileResponse(wanted, headers={"Content-Security-Policy": DOCS_POLICY})
