"""Style sheets and scripts of the viewer, at addresses that change when they do."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

from counterpoint.reports.assets import Assets, linked, style_sheet
from counterpoint.reports.bundle import vega_bundle
from counterpoint.reports.markup import asset

STYLES = ("episode.css", "viewer.css")
SHOWING = ("episode.js",)
"""Scripts of pages that are files, too."""
FOLLOWING = ("live.js",)
"""Scripts that ask the server."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files, and how a page names them."""

    texts: Mapping[str, bytes]
    """Name -> content."""
    digest: str
    """A part of their addresses: another one as soon as one of them is."""

    def for_pages(self, at: str, *, is_live: bool) -> Assets:
        """Style sheets and scripts of pages whose files are below the address `at`."""
        scripts = (*SHOWING, *FOLLOWING) if is_live else SHOWING
        return linked(at, styles=STYLES, scripts=scripts)


@cache
def files() -> Files:
    """The files as they are now."""
    names = ("theme.js", "figures.js", *SHOWING, *FOLLOWING)
    texts = {name: asset(name).encode() for name in names}
    texts["page.css"] = style_sheet(STYLES).encode()
    texts["vega.js"] = vega_bundle().encode()
    digest = sha256(b"\0".join(texts[name] for name in sorted(texts))).hexdigest()[:16]
    return Files(texts, digest)
