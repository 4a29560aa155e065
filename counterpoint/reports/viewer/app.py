"""The viewer as a web application: its routes, its stream of events, and who may ask."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from counterpoint.errors import ConfigError, CounterpointError
from counterpoint.reports.episodes.shown import visible
from counterpoint.reports.markup import render
from counterpoint.reports.viewer import episodes
from counterpoint.reports.viewer.assets import files
from counterpoint.reports.viewer.guard import POLICY, Allowed, Guard
from counterpoint.reports.viewer.links import Links
from counterpoint.reports.viewer.names import decoded
from counterpoint.reports.viewer.pages import MissingError, Pages
from counterpoint.reports.viewer.site import Site
from counterpoint.reports.viewer.watch import PACE, Watched, Watcher

MOST_PAGES = 100
"""Pages that can follow changes at the same time."""
PING = 15.0
"""Seconds between two signs of life of a stream in which nothing changes."""
_AT_ONCE = 4
"""Answers that are made at the same time; further ones wait."""
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}
_ASK_AGAIN = {"cache-control": "private, no-cache"}
_NEVER = {"cache-control": "no-store"}

Make = Callable[[], str]


class Viewer:
    """The answers to requests; all of them only read."""

    def __init__(self, root: Path, *, pace: float = PACE, ping: float = PING) -> None:
        """Raises RunError if there is no such folder."""
        found = files()
        self._files = found
        self.site = Site(root)
        self.pages = Pages(self.site, Links(assets=found.for_pages(f"/static/{found.digest}/", is_live=True)))
        self.watcher = Watcher(self.site.versions, pace)
        self.ending = asyncio.Event()
        self.working = 0
        """Answers that are being made in other threads."""
        self._ping = ping
        self._room: CapacityLimiter | None = None

    def app(self, allowed: Allowed | None = None) -> Guard:
        """The application, for those who are allowed to ask it: by default this machine."""
        names = {
            "/": self._runs,
            "/study/{id}": self._study,
            "/run/{id}": self._run,
            "/run/{id}/episodes": self._episodes,
            "/run/{id}/episode/{step}/{task}/{rollout}": self._episode,
            "/compare": self._compare,
            "/events": self._events,
            "/versions": self._versions,
            "/static/{digest}/{name}": self._static,
        }
        routes = [Route(path, endpoint, methods=["GET"]) for path, endpoint in names.items()]
        handlers: Mapping[Any, Any] = {
            MissingError: self._missing,
            HTTPException: self._missing,
            CounterpointError: self._unreadable,
            OSError: self._unreadable,
            Exception: self._failed,
        }
        application = Starlette(routes=routes, exception_handlers=handlers)
        application.router.redirect_slashes = False
        return Guard(application, allowed or Allowed(), POLICY.format(scripts="", styles=""))

    # Pages

    async def _runs(self, request: Request) -> Response:
        query, part = dict(request.query_params), request.query_params.get("part")
        pages = self.pages
        return await self._page(request, lambda: pages.runs(query) if part is None else pages.part_of_runs(part, query))

    async def _study(self, request: Request) -> Response:
        id, part = request.path_params["id"], request.query_params.get("part")
        return await self._page(
            request, lambda: self.pages.study(id) if part is None else self.pages.part_of_study(id, part)
        )

    async def _run(self, request: Request) -> Response:
        id, part = request.path_params["id"], request.query_params.get("part")
        return await self._page(
            request, lambda: self.pages.run(id) if part is None else self.pages.part_of_run(id, part)
        )

    async def _episodes(self, request: Request) -> Response:
        id, query = request.path_params["id"], dict(request.query_params)
        return await self._page(request, lambda: episodes.listed(self.pages, id, query))

    async def _episode(self, request: Request) -> Response:
        given = request.path_params
        task, split = decoded(given["task"]), request.query_params.get("split", "")
        if task is None or not _is_number(given["step"]) or not _is_number(given["rollout"]):
            raise MissingError("There is no such episode.")
        step, rollout, part = int(given["step"]), int(given["rollout"]), request.query_params.get("part")
        return await self._page(
            request, lambda: episodes.one(self.pages, given["id"], step, split, task, rollout, part=part)
        )

    async def _compare(self, request: Request) -> Response:
        query = dict(request.query_params)
        return await self._page(request, lambda: episodes.compared(self.pages, query))

    async def _static(self, request: Request) -> Response:
        name, digest = request.path_params["name"], request.path_params["digest"]
        content = self._files.texts.get(name)
        if content is None:
            raise MissingError("There is no such file.")
        kept = _FOR_EVER if digest == self._files.digest else _NEVER
        return Response(content, media_type=_TYPES[Path(name).suffix], headers=kept)

    async def _page(self, request: Request, make: Make, status: int = 200) -> Response:
        """The page, made in another thread; without a body if the browser has it already."""
        if self._room is None:
            self._room = CapacityLimiter(_AT_ONCE)
        body = (await to_thread.run_sync(self._counted, make, limiter=self._room)).encode("utf-8", "replace")
        tag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
        headers = {**_ASK_AGAIN, "etag": tag}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(body, status_code=status, media_type="text/html; charset=utf-8", headers=headers)

    def _counted(self, make: Make) -> str:
        self.working += 1
        try:
            return make()
        finally:
            self.working -= 1

    # What changes

    async def _events(self, request: Request) -> Response:
        if self.watcher.open_pages >= MOST_PAGES:
            return Response(f"{MOST_PAGES} pages are followed already\n", 503, headers=_NEVER)
        headers = {**_NEVER, "x-accel-buffering": "no"}
        if request.method == "HEAD":
            return Response(media_type="text/event-stream", headers=headers)
        page = self.watcher.join(request.query_params.get("of", ""))
        return _Stream(self._stream(page), partial(self.watcher.leave, page), headers)

    async def _stream(self, page: Watched) -> AsyncIterator[str]:
        ends = asyncio.ensure_future(self.ending.wait())
        changed: asyncio.Future[Any] = asyncio.ensure_future(page.changes())
        try:
            yield "retry: 2000\n\n"
            while not self.ending.is_set():
                await asyncio.wait([changed, ends], timeout=self._ping, return_when=asyncio.FIRST_COMPLETED)
                if changed.done():
                    yield f"data: {json.dumps({'id': page.subject, 'parts': changed.result()})}\n\n"
                    changed = asyncio.ensure_future(page.changes())
                else:
                    yield "event: ping\ndata: \n\n"
        finally:
            self.watcher.leave(page)
            for one in (ends, changed):
                one.cancel()
                with suppress(asyncio.CancelledError):
                    await one

    async def _versions(self, request: Request) -> Response:
        """The same for browsers without streams of events, which ask now and then."""
        subject = request.query_params.get("of", "")
        parts = await to_thread.run_sync(self.site.versions, subject)
        return JSONResponse({"id": subject, "parts": parts}, headers=_NEVER)

    # What is not there

    async def _missing(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        told = str(error) if isinstance(error, MissingError) else "There is no such page."
        return await self._told(request, "Not found", told, status)

    async def _unreadable(self, request: Request, error: Exception) -> Response:
        status = 400 if isinstance(error, ConfigError) else 422
        told = str(error) if isinstance(error, CounterpointError) else f"{type(error).__name__}: {error}"
        return await self._told(request, "This cannot be shown", told, status)

    async def _failed(self, request: Request, error: Exception) -> Response:
        told = f"{type(error).__name__}: {error}"
        return await self._told(request, "This page could not be made", told, 500)

    async def _told(self, request: Request, title: str, problem: str, status: int) -> Response:
        given = {"title": title, "problem": problem, "links": self.pages.links, "assets": self.pages.links.assets}
        body = render("view/missing.html", visible=visible, subject="", **given).encode("utf-8", "replace")
        return Response(body, status, media_type="text/html; charset=utf-8", headers=_NEVER)


class _Stream(StreamingResponse):
    """Events of a page that is open, which is left when the answer ends, even if nobody waits for its beginning."""

    def __init__(self, stream: AsyncIterator[str], leave: Callable[[], None], headers: Mapping[str, str]) -> None:
        super().__init__(stream, media_type="text/event-stream", headers=headers)
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9
