"""A web server on a socket that is bound already: idle connections are closed, and streams are told of the end."""

import asyncio
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from counterpoint.errors import ConfigError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""The names by which this machine calls itself, as a request's Host has them."""
_IDLE = 60.0
"""Seconds after which a connection that asks nothing is closed."""
_ENDING = 2
"""Seconds in which requests are told that the server ends."""


def name_of(host: str) -> str:
    """The name in a request's Host, in lower case and without the port: `[::1]:8000` -> `[::1]`."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def is_loopback(host: str) -> bool:
    """True if a server on this address can be reached from this machine alone."""
    return host in ("127.0.0.1", "localhost", "::1")


def is_address(name: str) -> bool:
    """True for the number of a machine, in brackets if it is of version 6: no other site can be behind it."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def address(host: str, port: int) -> str:
    """The address of a server, such as `http://127.0.0.1:8000`."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that nobody else can listen on. Raises ConfigError if the address is in use or not this machine's."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"--host {host}: {error.strerror or error}") from None
    with listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(place)
        except OSError as error:
            hint = "; choose another with --port, or 0 for any that is free" if port else ""
            raise ConfigError(f"cannot listen on {host}, port {port}: {error.strerror}{hint}") from None
        yield listening


@contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """SIGTERM interrupts as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def server_of(app: Any, ready: Callable[[], None], ending: asyncio.Event) -> uvicorn.Server:
    """A server that is run with bound sockets, until SIGINT or SIGTERM or until its `should_exit` is set.

    `ready` is called once it accepts connections; `ending` is set when it ends, before open responses are waited for.
    """
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.exc_info is not None)
    config = uvicorn.Config(
        app,
        http=_Connection,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_ENDING,
    )
    return _Server(config, ready, ending)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ending: asyncio.Event) -> None:
        super().__init__(config)
        self._ready = ready
        self._ending = ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending.set()
        await super().shutdown(sockets)


class _Connection(H11Protocol):
    """A connection that is closed when it asks nothing for a while, whether it was used before or not."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(_IDLE, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.loop.call_later(_IDLE, self._look)
