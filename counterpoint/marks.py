"""Texts that only a chat template may write, and text in which they are broken up."""

import re
from collections.abc import Callable, Iterable

_BREAKS = ("\u200b", " ", "_")
"""The texts that can break up a mark: a zero-width space, unless the tokenizer drops it."""
_FIRST_PIECE = 256
"""Characters."""


class Marks:
    """The texts, found as a tokenizer finds them: also where its normalization makes one of them out of others."""

    def __init__(self, texts: Iterable[str], normalized: Callable[[str], str] = str) -> None:
        self._texts = sorted(texts, key=lambda text: (-len(text), text))
        self._normalized = normalized
        self._cores = [] if normalized is str else [core for text in self._texts if (core := self._core(text))]
        self._break = next((one for one in _BREAKS if not self._is_dropped(one)), _BREAKS[-1])

    def broken_up(self, text: str) -> str:
        """The text, in which no mark is left. A text without any is returned as it is."""
        for mark in self._texts:
            if mark in text:
                # Every one, also where it overlaps the one before it.
                beginning = re.compile(f"{re.escape(mark[0])}(?={re.escape(mark[1:])})")
                text = self._beginning(mark).join(beginning.split(text))
        done = ""
        while (end := self._end(text)) is not None:
            start = self._start(text, end)
            instead = self._broken(text[start:end])
            done += text[:start] + (self._break if self._normalizes_to_one(instead) else instead)
            text = text[end:]
        return done + text

    def _broken(self, mark: str) -> str:
        return self._beginning(mark) + mark[1:]

    def _beginning(self, mark: str) -> str:
        """The text instead of the first character of a mark that is broken up."""
        return mark[0] + self._break if len(mark) > 1 else self._break

    def _normalizes_to_one(self, text: str) -> bool:
        if not self._cores:
            return False
        normalized = self._normalized(text)
        return any(core in normalized for core in self._cores)

    def _end(self, text: str) -> int | None:
        """The first end of a part that normalizes to a mark, looked for in ever longer pieces; None if none does."""
        low, end = 0, min(_FIRST_PIECE, len(text))
        while not self._normalizes_to_one(text[:end]):
            if end == len(text):
                return None
            low, end = end, min(2 * end, len(text))
        while low + 1 < end:
            middle = (low + end) // 2
            low, end = (low, middle) if self._normalizes_to_one(text[:middle]) else (middle, end)
        return end

    def _start(self, text: str, end: int) -> int:
        """The last beginning of a part that ends at `end` and normalizes to a mark."""
        start, high = 0, end
        while start + 1 < high:
            middle = (start + high) // 2
            start, high = (middle, high) if self._normalizes_to_one(text[middle:end]) else (start, middle)
        return start

    def _core(self, text: str) -> str:
        """The mark within a normalized text, whose beginning and end some normalizations change."""
        before, after = self._normalized("x"), self._normalized(f"x{text}x")
        return after[len(before) : -1] if after.startswith(before) and after.endswith("x") else ""

    def _is_dropped(self, one: str) -> bool:
        """True if a mark that is broken up by this is still one after normalization."""
        broken = (mark[0] + one + mark[1:] for mark in self._texts if len(mark) > 1)
        return any(core in self._normalized(text) for text in broken for core in self._cores)
