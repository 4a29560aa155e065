"""The viewer run as a server, until it is interrupted."""

import os
import secrets
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode

from counterpoint.reports.viewer.app import Viewer
from counterpoint.reports.viewer.guard import TOKEN, Allowed, check_token
from counterpoint.web import LOOPBACK, address, bound, ends_on_sigterm, is_loopback, server_of

_EVERYWHERE = ("0.0.0.0", "::")


def view(
    root: Path, *, host: str, port: int, token: str | None, names: Sequence[str], ready: Callable[[str], None]
) -> None:
    """Answers until SIGINT or SIGTERM; `ready` is called with the address once it does.

    On an address that other machines reach, every request must know the token; without one, one is made. Raises
    RunError if there is no such folder, ConfigError if the port is not available or the token too short.
    """
    check_token(token)
    viewer = Viewer(root)
    needed = token if token is not None or is_loopback(host) else secrets.token_urlsafe(24)
    with bound(host, port) as listening, ends_on_sigterm():
        Thread(target=viewer.site.rows, daemon=True).start()
        app = viewer.app(allowed(host, names, needed))
        server = server_of(app, lambda: ready(_shown(host, listening, needed)), viewer.ending)
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            pass
        finally:
            if viewer.working:  # a thread that reads cannot be ended by itself
                sys.stdout.flush()
                os._exit(0)


def allowed(host: str, names: Sequence[str], token: str | None) -> Allowed:
    """Who may ask a server that listens on `host` and has these further names."""
    own = f"[{host}]" if ":" in host else host
    machine = {socket.gethostname(), socket.getfqdn()} if host in _EVERYWHERE else {own}
    known = {name.lower() for name in (*LOOPBACK, *machine, *names)}
    return Allowed(names=frozenset(known), any_address=host in _EVERYWHERE, token=token)


def _shown(host: str, listening: socket.socket, token: str | None) -> str:
    """The address that a person opens."""
    name = socket.gethostname() if host in _EVERYWHERE else host
    at = f"{address(name, listening.getsockname()[1])}/"
    return at if token is None else f"{at}?{urlencode({TOKEN: token})}"
