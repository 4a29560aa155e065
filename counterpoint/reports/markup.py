"""Pages as HTML: templates of Jinja with everything escaped, and the few filters that they share."""

import json
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from counterpoint.reports.drawing import packed
from counterpoint.reports.episodes.shown import visible
from counterpoint.reports.extent import extent
from counterpoint.reports.figure import Figure

FOLDER = Path(__file__).parent / "templates"
MOST_ROWS = 40
"""The rows of a figure's table that are in the page as text; more are made from its data when they are asked for."""
_ESCAPES = {ord(one): f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"}


@cache
def environment() -> Environment:
    """The templates in `templates/`: every value is escaped, and a name that is not given is an error.

    Characters of a value that cannot be seen or that turn its direction are named, unless it is markup: a value that a
    form sends back is marked with `forceescape`.
    """
    made = Environment(
        loader=FileSystemLoader(FOLDER, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(code=code, packed=_packed, place=_place, percent=percent, short=short)
    made.globals["most_rows"] = MOST_ROWS
    return made


def _seen(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def render(template: str, **given: Any) -> str:
    """The text of a template with these values."""
    return environment().get_template(template).render(**given)


def asset(name: str) -> str:
    """The text of a style sheet or a script of the templates' folder."""
    return (FOLDER / name).read_text(encoding="utf-8")


def json_text(text: str) -> Markup:
    """JSON as the text of a `<script>`: nothing in it can end the element."""
    return Markup(text.translate(_ESCAPES))


def short(value: Any) -> str:
    """A value of a table, as text: a number with four significant digits, and nothing for no number."""
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def percent(value: Any) -> str:
    """A fraction as a percentage with one digit, or nothing where there is none (Jinja's undefined too)."""
    return f"{100 * value:.1f}" if isinstance(value, float) else ""


def code(text: str) -> Markup:
    """A sentence of ours whose names are in backticks."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )


class Specs:
    """The specifications of the figures of a page: each is in the page once, however many figures share it."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def name(self, spec: str) -> str:
        """The name under which the page has this specification."""
        return self._names.setdefault(spec, f"s{len(self._names)}")

    def text(self) -> Markup:
        """Name -> specification, as the JSON of the page's `specs`."""
        return json_text("{" + ",".join(f'"{name}":{spec}' for spec, name in self._names.items()) + "}")


def _packed(figure: Figure, specs: Specs | None = None) -> Markup:
    """The figure as JSON in a `<script>`; with `specs` it names its specification, which these then hold."""
    whole = packed(figure)
    if specs is None:
        return json_text(whole)
    given = json.loads(whole)
    given["spec"] = specs.name(_compact(given["spec"]))
    return json_text(_compact(given))


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _place(figure: Figure) -> Markup:
    """An empty picture of about the figure's size: what follows does not jump when it is drawn."""
    width, height = extent(figure)
    return Markup('<svg width="{0}" height="{1}" viewBox="0 0 {0} {1}" aria-hidden="true"></svg>').format(width, height)
