"""What a page is dressed with: style sheets, scripts, colours, and the policy that says what may run in it."""

import base64
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from counterpoint.reports.bundle import vega_bundle
from counterpoint.reports.looks import PALETTES, SHAPES, Palette, Theme, config
from counterpoint.reports.markup import asset, json_text

STYLES = ("page.css",)
SCRIPTS = ("figures.js",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """The parts of a page that `base.html` puts in their places."""

    csp: str
    """The policy for a page that is a file; empty where a server sends it as a header."""
    head: Markup
    data: Markup
    """The themes of figures, as JSON."""
    end: Markup
    """Scripts that run when the page is there."""


def inlined(styles: Sequence[str] = (), scripts: Sequence[str] = ()) -> Assets:
    """Everything in the page itself, which then needs no network; `styles` and `scripts` name more files."""
    sheet = style_sheet(styles)
    theme = asset("theme.js")
    late = [asset(name) for name in (*SCRIPTS, *scripts)]
    bundle = vega_bundle()
    allowed = " ".join(f"'sha256-{_digest(one)}'" for one in (theme, *late, bundle))
    csp = (
        f"default-src 'none'; style-src 'sha256-{_digest(sheet)}'; script-src {allowed}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return Assets(
        csp=csp,
        head=Markup(f"<style>{sheet}</style>\n<script>{theme}</script>"),
        data=Markup(f'{_themes()}\n<script type="text/plain" id="vega">{packed_text(bundle)}</script>'),
        end=Markup("\n".join(f"<script>{one}</script>" for one in late)),
    )


def linked(at: str, styles: Sequence[str] = (), scripts: Sequence[str] = ()) -> Assets:
    """Everything as files that a server has below the address `at`: `page.css`, `theme.js`, `vega.js` and so on.

    `page.css` is `style_sheet(styles)`, which holds the sheets that `styles` names, and `vega.js` is `vega_bundle()`.
    """
    late = (*SCRIPTS, *scripts)
    return Assets(
        csp="",
        head=Markup('<link rel="stylesheet" href="{0}page.css">\n<script src="{0}theme.js"></script>').format(at),
        data=_themes(),
        end=Markup("\n").join(
            Markup('<script src="{0}{1}" data-vega="{0}vega.js"></script>').format(at, name) for name in late
        ),
    )


def style_sheet(more: Sequence[str] = ()) -> str:
    """The colours of both themes as variables, then the sheets of every page, then those that `more` names."""
    return "\n".join([variables(), *(asset(name) for name in (*STYLES, *more))])


def variables() -> str:
    """A variable for each colour of the palettes, which follows the theme."""
    light, dark = (_colours(PALETTES[theme]) for theme in ("light", "dark"))
    lines = [f"  --{name}: light-dark({colour}, {dark[name]});" for name, colour in light.items()]
    return "\n".join([":root {", *lines, "}"])


def packed_text(text: str) -> str:
    """The text deflated, in base 64, for `counterpoint.inflated` of the page."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(packer.compress(text.encode()) + packer.flush()).decode()


def colour_names() -> dict[str, str]:
    """Name of a variable -> its colour in the light theme."""
    return _colours(PALETTES["light"])


def _colours(palette: Palette) -> dict[str, str]:
    named = {"background": palette.background, "ink": palette.ink, "muted": palette.muted, "grid": palette.grid}
    sharing = {name: palette.sharing[name] for name in SHAPES}
    roles = {f"role-{place}": colour for place, colour in enumerate(palette.roles)}
    return {**named, "band": palette.band, "edge": palette.muted, "link": sharing["shared"], **sharing, **roles}


def _themes() -> Markup:
    themes: list[Theme] = ["light", "dark"]
    configs: dict[str, Any] = {theme: config(theme) for theme in themes}
    colours = {theme: list(_colours(PALETTES[theme]).values()) for theme in themes}
    return Markup(
        f'<script type="application/json" id="themes">{json_text(json.dumps(configs))}</script>\n'
        f'<script type="application/json" id="palettes">{json_text(json.dumps(colours))}</script>'
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
