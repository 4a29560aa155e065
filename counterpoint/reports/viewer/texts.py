"""Values as the templates of the viewer write them."""

from datetime import UTC, datetime

from markupsafe import Markup

from counterpoint.progress import clock

DASH = "\N{EN DASH}"
"""Stands where there is no value."""

_OVERRIDES = {
    ord(one): f"⟨U+{ord(one):04X}⟩" for one in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"
}
_CONTROLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"} | {0x7F: "\u2421"}
_SIGNS = _OVERRIDES | _CONTROLS


def visible(text: object) -> str:
    """The text with signs in place of control characters and of those that change the direction of what follows.

    Bytes of a name that are no text become `\ufffd`.
    """
    return str(text).encode("utf-8", "replace").decode("utf-8").translate(_SIGNS)


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
    if seconds is None:
        return DASH
    return f"{seconds:.1f} s" if seconds < 60 else clock(seconds)
