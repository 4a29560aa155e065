"""Text that a model or a task wrote, as a page shows it: nothing in it is invisible, and none of it is too long."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

REPORT_LIMIT = 2_000
"""Characters of a text in a report."""
VIEWER_LIMIT = 400_000
"""Characters of a text in the viewer."""
CHUNK = 20_000
"""Characters of a text that are laid out at once: the rest opens piece by piece."""
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"} | {0x7F: "\u2421"}
"""Control characters -> the signs that Unicode has for them."""
_JOINERS = frozenset("\u200c\u200d")
"""Invisible, but scripts and emoji need them where they are."""
_HIDDEN = re.compile("[^\t\n -~]")
_LINES = frozenset("\u2028\u2029\u115f\u1160\u3164")
"""Other characters that look like nothing or like the end of a line."""
_FENCE = re.compile(r"^(`{3,})[^\n`]*\n(.*?)(?:^\1`*[ \t]*(?:\n|$)|\Z)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a text."""

    text: str
    code: bool = False
    """True for what is between the fences of a block of code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A text as a page shows it."""

    chunks: tuple[tuple[Piece, ...], ...]
    """The text in order; all but the first are shown when they are opened. Empty if there is no text."""
    length: int
    """Characters of the whole text."""
    left_out: int = 0
    """Characters that were left out of the middle."""

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to see."""
        return not any(piece.text.strip() for chunk in self.chunks for piece in chunk)


def shown(text: str, limit: int = VIEWER_LIMIT) -> Shown:
    """The text, of which `limit` characters are left: its beginning and its end."""
    kept, left_out = cut(text, limit)
    parts = _pieces(visible(kept))
    return Shown(chunks=tuple(tuple(chunk) for chunk in _chunks(parts)), length=len(text), left_out=left_out)


def cut(text: str, limit: int) -> tuple[str, int]:
    """The text with its middle left out, and the number of characters that are; the text says how many and where."""
    if len(text) <= limit:
        return text, 0
    head, tail = limit - limit // 3, limit // 3
    left_out = len(text) - head - tail
    return f"{text[:head]}\n[… {left_out:,} characters are left out here …]\n{text[len(text) - tail :]}", left_out


def visible(text: str) -> str:
    """The text, in which characters that change others or cannot be seen are named: `⟨U+202E⟩`."""
    return _HIDDEN.sub(_named, text.replace("\r\n", "\n"))


def _named(found: re.Match[str]) -> str:
    character = found[0]
    if ord(character) in _PICTURES:
        return _PICTURES[ord(character)]
    is_hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in _JOINERS
    return f"⟨U+{ord(character):04X}⟩" if is_hidden or character in _LINES else character


def one_line(text: str, limit: int = 120) -> str:
    """The text on one line, of which at most `limit` characters are left."""
    line = visible(" ".join(text[: 4 * limit].split()))
    return line if len(line) <= limit and len(text) <= 4 * limit else f"{line[:limit].rstrip()}…"


def _pieces(text: str) -> list[Piece]:
    """The text with its blocks of code apart; a block that is not closed goes to the end."""
    found: list[Piece] = []
    last = 0
    for block in _FENCE.finditer(text):
        found += [Piece(text=text[last : block.start()]), Piece(text=block[0].rstrip("\n"), code=True)]
        last = block.end()
    found.append(Piece(text=text[last:]))
    return [piece for piece in found if piece.text.strip("\n")]


def _chunks(pieces: list[Piece]) -> Iterator[list[Piece]]:
    """The pieces in chunks of about the same length: a long piece is divided."""
    chunk: list[Piece] = []
    room = CHUNK
    for piece in pieces:
        text = piece.text
        while text:
            taken = text[:room]
            chunk.append(Piece(text=taken, code=piece.code))
            text, room = text[room:], room - len(taken)
            if room == 0:
                yield chunk
                chunk, room = [], CHUNK
    if chunk:
        yield chunk
