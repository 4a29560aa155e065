"""Who may ask the viewer, and the headers of every answer.

A page of another site cannot read the viewer: it does not answer to names that are not its own, which ends DNS
rebinding; it lets no site embed or load what it has; and nothing but its own files is executed in its pages.
"""

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

from counterpoint.errors import ConfigError
from counterpoint.web import LOOPBACK, is_address, name_of

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SHORTEST_TOKEN = 16
"""Characters."""
TOKEN = "token"
_COOKIE = "counterpoint-view"
POLICY = (
    "default-src 'none'; script-src 'self'{scripts}; style-src 'self'{styles}; img-src 'self' data:; connect-src"
    " 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Allowed:
    """Who may ask."""

    names: frozenset[str] = LOOPBACK
    """Names by which the server may be called, in lower case."""
    any_address: bool = False
    """True if it may be called by any number of a machine: a server on all addresses cannot know them."""
    token: str | None = None
    """The secret that every request must know, if there is one."""

    def knows(self, host: str) -> bool:
        """True if the server may be called so."""
        name = name_of(host)
        return name in self.names or (self.any_address and is_address(name))


def check_token(token: str | None) -> None:
    """Raises ConfigError if a token is too short to keep anybody out."""
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise ConfigError(f"--token: at least {SHORTEST_TOKEN} printable ASCII characters; leave it out to get one")


class Guard:
    """The application, for those who may ask it."""

    def __init__(self, app: App, allowed: Allowed, policy: str) -> None:
        self._app = app
        self._allowed = allowed
        self._headers = [(name.encode(), text.encode()) for name, text in _HEADERS.items()]
        self._headers.append((b"content-security-policy", policy.encode()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return
        headers: dict[str, list[str]] = {}
        for name, text in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(text.decode("latin-1"))

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        refusal = self._refusal(scope, headers) or self._without_token(scope, headers)
        if refusal is None:
            await self._app(scope, receive, guarded)
            return
        status, text, more = refusal
        lines = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store"), *more]
        body = text.encode()
        lines.append((b"content-length", str(len(body)).encode()))
        await guarded({"type": "http.response.start", "status": status, "headers": lines})
        await guarded({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _refusal(self, scope: Scope, headers: dict[str, list[str]]) -> "tuple[int, str, list[Any]] | None":
        hosts = headers.get("host", [])
        if len(hosts) != 1 or not self._allowed.knows(hosts[0]):
            return 400, f"this viewer is not called {', '.join(hosts)!r}; --allowed-host adds a name\n", []
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "the viewer only shows: GET and HEAD are allowed\n", [(b"allow", b"GET, HEAD")]
        site, mode = headers.get("sec-fetch-site", [""])[-1], headers.get("sec-fetch-mode", [""])[-1]
        if site in ("cross-site", "same-site") and mode != "navigate":
            return 403, "another site may link to the viewer, but not load from it\n", []
        return None

    def _without_token(self, scope: Scope, headers: dict[str, list[str]]) -> "tuple[int, str, list[Any]] | None":
        """The answer to a request that does not know the token yet; None if it does or there is none."""
        if self._allowed.token is None:
            return None
        asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [text for name, text in asked if name == TOKEN]
        if given and self._is_token(given[-1]):
            rest = urlencode([(name, text) for name, text in asked if name != TOKEN])
            path = scope.get("raw_path") or scope["path"].encode("latin-1", "replace")
            place = b"/" + path.lstrip(b"/") + (b"?" + rest.encode() if rest else b"")
            cookie = f"{_COOKIE}={given[-1].encode().hex()}; Path=/; HttpOnly; SameSite=Strict"
            return 303, "", [(b"location", place), (b"set-cookie", cookie.encode())]
        if any(self._is_token(_plain(text)) for text in _cookies(headers.get("cookie", []))):
            return None
        return 401, "open the address that `counterpoint view` printed: it ends with the token\n", []

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), str(self._allowed.token).encode())


def _cookies(lines: list[str]) -> list[str]:
    found = []
    for line in lines:
        try:
            morsel = SimpleCookie(line).get(_COOKIE)
        except CookieError:
            continue
        found += [morsel.value] if morsel is not None else []
    return found


def _plain(text: str) -> str:
    try:
        return bytes.fromhex(text).decode("utf-8", "replace")
    except ValueError:
        return ""
