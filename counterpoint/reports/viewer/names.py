"""Texts as one part of an address or as the name of a file: letters, digits and a few signs stay, the rest is coded."""

import re

_KEPT = re.compile(r"[A-Za-z0-9_=+,-]")
_CODE = re.compile(r"!([0-9A-F]{2})")


def coded(text: str) -> str:
    """The text in letters, digits, `_=+,-`, dots between others, `~` for each slash, and `!XX` for each other byte.

    It is never empty, never `.` or `..`, and no two texts have the same code.
    """
    if not text:
        return "!"
    signs = [
        sign if _KEPT.fullmatch(sign) or (sign == "." and place) else "~" if sign == "/" else _bytes(sign)
        for place, sign in enumerate(text)
    ]
    return "".join(signs)


def decoded(code: str) -> str | None:
    """The text that has this code; None if no text has."""
    try:
        raw = _CODE.sub(lambda found: bytes.fromhex(found[1]).decode("latin-1"), code.replace("~", "/"))
        text = "" if code == "!" else raw.encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeError:
        return None
    return text if coded(text) == code else None


def _bytes(sign: str) -> str:
    return "".join(f"!{byte:02X}" for byte in sign.encode("utf-8", "surrogateescape"))
