"""What workflows read out of replies. A parser never guesses: what is not plainly there is None."""

import re

_BOX = r"\boxed{"
_BOXED_INTEGER = re.compile(r"\\boxed\{\s*(\d{1,4})\s*\}")


def read_index(text: str) -> int | None:
    r"""The number in `\boxed{number}`, counted from 0; None without a box, or with several that do not agree."""
    found = _BOXED_INTEGER.findall(text)
    numbers = set(map(int, found))
    return numbers.pop() - 1 if len(numbers) == 1 and len(found) == text.count(_BOX) else None
