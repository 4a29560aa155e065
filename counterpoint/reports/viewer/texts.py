"""Values as the templates of the viewer write them."""

from datetime import UTC, datetime
from math import isfinite

from markupsafe import Markup

from counterpoint.errors import CounterpointError
from counterpoint.progress import clock

DASH = "\N{EN DASH}"
"""Stands where there is no value."""


def moment(seconds: float) -> Markup:
    """A time as UTC, which the script of the page turns into how long ago it was; a dash if there is none."""
    if not seconds:
        return Markup(DASH)
    at = datetime.fromtimestamp(seconds, UTC)
    return Markup('<time datetime="{}" data-ago>{}</time>').format(
        at.isoformat(timespec="seconds"), at.strftime("%Y-%m-%d %H:%M:%S UTC")
    )


def duration(seconds: float | None) -> str:
    """A number of seconds as a clock shows it, or below a minute with one digit; a dash if there is none."""
    if seconds is None or not isfinite(seconds):
        return DASH
    return f"{seconds:.1f} s" if seconds < 60 else clock(seconds)


def problem(error: Exception) -> str:
    """The text of an error: our own are whole sentences, of others the kind is named too."""
    return str(error) if isinstance(error, CounterpointError) else f"{type(error).__name__}: {error}"
