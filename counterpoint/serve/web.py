"""The web server: OpenAI's interface for chat completions around a service, with starlette and uvicorn."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import time
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from counterpoint.episode import Episode
from counterpoint.errors import ConfigError, CounterpointError, EndpointError, EngineError
from counterpoint.serve.answering import WAITING, Chunks, about_model, complaint, completion, event
from counterpoint.serve.asking import Ask, RefusedError, read_ask
from counterpoint.web import LOOPBACK, name_of
from counterpoint.web import server_of as _server_of

LARGEST = 2**20
"""Bytes of a request."""
MOST_AT_ONCE = 256
"""Episodes that are played at the same time; a request beyond them is refused with status 503."""
_SLOWEST = 30.0
"""Seconds in which a request must have arrived."""
_PAUSE = 10.0
"""Seconds between two signs of life in a streamed response."""
_CHAT, _MODELS, _HEALTH = "/v1/chat/completions", "/v1/models", "/health"
_STATUS: Mapping[type[Exception], int] = {ConfigError: 400, EngineError: 500, EndpointError: 502}
"""Error -> HTTP status; any other of this package is the workflow's, and would occur again for the same request."""

Play = Callable[[Ask], "Future[list[Episode]]"]


@dataclass(slots=True)
class Web:
    """The endpoints, and the state that they share."""

    name: str
    play: Play
    """Starts the episodes of a request elsewhere, such as in another thread."""
    key: str | None = None
    """The bearer token that requests must have, if any."""
    any_host: bool = False
    """True to answer requests whatever name they call the server; else only those to this machine's own."""
    most: int = MOST_AT_ONCE
    playing: int = 0
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    started: int = field(default_factory=lambda: int(time()))

    def app(self) -> Starlette:
        routes = [
            Route(_HEALTH, self._health, methods=["GET"]),
            Route(_MODELS, self._checked(self._models), methods=["GET"]),
            Route(_MODELS + "/{name:path}", self._checked(self._model), methods=["GET"]),
            Route(_CHAT, self._checked(self._chat), methods=["POST"]),
        ]
        handlers: Mapping[Any, Any] = {HTTPException: _refuse, CounterpointError: _fail, Exception: _fail}
        return Starlette(routes=routes, exception_handlers=handlers)

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "model": self.name, "playing": self.playing})

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [about_model(self.name, self.started)]})

    async def _model(self, request: Request) -> Response:
        asked = request.path_params["name"]
        if asked != self.name:
            raise RefusedError(f"unknown model {asked!r}; allowed: {self.name}", 404, "model", "model_not_found")
        return JSONResponse(about_model(self.name, self.started))

    async def _chat(self, request: Request) -> Response:
        ask = read_ask(await _body(request), self.name)
        if ask.stream:
            self._check_room(ask)
            return StreamingResponse(self._streamed(request, ask), media_type="text/event-stream")
        return JSONResponse(completion(self.name, ask, await self._played(request, ask)))

    async def _streamed(self, request: Request, ask: Ask) -> AsyncIterator[str]:
        chunks = Chunks(self.name, ask)
        for chunk in chunks.first():
            yield chunk
        played = asyncio.ensure_future(self._played(request, ask))
        try:
            while not (await asyncio.wait([played], timeout=_PAUSE))[0]:
                yield WAITING
            for chunk in chunks.last(played.result()):
                yield chunk
        except ClientDisconnect:
            return
        except Exception as error:  # whatever it is, the client must not wait for the end of the stream
            yield event(complaint(_status(error), _said(error)))
        finally:
            played.cancel()

    async def _played(self, request: Request, ask: Ask) -> list[Episode]:
        """The episodes. They are cancelled if the client goes away or the server ends."""
        self._check_room(ask)
        self.playing += ask.choices
        work = asyncio.wrap_future(self.play(ask))
        gone = asyncio.ensure_future(_gone(request))
        ends = asyncio.ensure_future(self.ending.wait())
        try:
            waited: list[asyncio.Future[Any]] = [work, gone, ends]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if gone.done():
                raise ClientDisconnect
            raise RefusedError("the server ends", 503)
        finally:
            self.playing -= ask.choices
            for one in (work, gone, ends):
                one.cancel()

    def _check_room(self, ask: Ask) -> None:
        if self.playing + ask.choices > self.most:
            raise RefusedError(
                f"{self.playing} episodes are being played and {ask.choices} more are asked for; at most {self.most}"
                " can be played at the same time: try again",
                503,
            )

    def _checked(self, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint, for those who may ask."""

        async def checked(request: Request) -> Response:
            host = request.headers.get("host", "localhost")
            if not self.any_host and name_of(host) not in LOOPBACK:
                raise RefusedError(f"this server is not called {host!r}; `--host` lets it answer to other names", 403)
            if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
                raise RefusedError("a page of another site may not ask this server: call it from a program", 403)
            given = request.headers.get("authorization", "").partition(" ")[2].strip()
            if self.key is not None and not hmac.compare_digest(given.encode(), self.key.encode()):
                raise RefusedError("the API key is missing or wrong", 401, code="invalid_api_key")
            try:
                return await endpoint(request)
            except ClientDisconnect:
                return Response(status_code=499)  # nobody reads it

        return checked


def server_of(web: Web, ready: Callable[[], None]) -> uvicorn.Server:
    """A server that is run with bound sockets, until SIGINT or SIGTERM or until its `should_exit` is set.

    `ready` is called once it accepts connections.
    """
    return _server_of(web.app(), ready, web.ending)


async def _body(request: Request) -> bytes:
    """The content of a request. Raises RefusedError if it is too large or too slow."""
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > LARGEST:
        raise RefusedError(f"the request has {length} bytes; allowed: {LARGEST}", 413)
    body = bytearray()
    try:
        async with asyncio.timeout(_SLOWEST):
            async for piece in request.stream():
                body += piece
                if len(body) > LARGEST:
                    raise RefusedError(f"the request has more than {LARGEST} bytes", 413)
    except TimeoutError:
        raise RefusedError(f"the request did not arrive within {_SLOWEST:g} s", 408) from None
    return bytes(body)


async def _gone(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _status(error: Exception) -> int:
    if isinstance(error, RefusedError):
        return error.status
    return _STATUS.get(type(error), 422 if isinstance(error, CounterpointError) else 500)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, CounterpointError) else f"{type(error).__name__}: {error}"


async def _fail(request: Request, error: Exception) -> Response:
    param, code = (error.param, error.code) if isinstance(error, RefusedError) else (None, None)
    status = _status(error)
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse(complaint(status, _said(error), param, code), status, headers)


async def _refuse(request: Request, error: Exception) -> Response:
    """The errors of the router: a path that does not exist, or a method that it does not have."""
    assert isinstance(error, HTTPException)
    told = error.detail
    if error.status_code == 404:
        told = f"there is no {request.url.path}; allowed: {_CHAT}, {_MODELS}, {_HEALTH}"
    elif error.status_code == 405:
        told = f"{request.url.path} does not allow {request.method}; allowed: {(error.headers or {}).get('Allow')}"
    return JSONResponse(complaint(error.status_code, told), error.status_code, error.headers)
