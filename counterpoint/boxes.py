r"""Reads `\boxed{...}` in a reply, and its shorter forms `\boxed 2` and `\boxed\frac12`.

As in TeX, only braces without a backslash count, and `\boxed` without braces takes what stands next to it: here a run
without white space, because `\boxed 25` means 25 and not 2.
"""

import re
from typing import Final

_TOKEN: Final = re.compile(r"\\(?P<box>boxed|fbox)(?![a-zA-Z])(?:\s*(?P<brace>\{))?|\\\\(?=[{}])|\\[{}]|[{}]")
_BOX: Final = "boxed"
_ARGUMENTS: Final = {
    **dict.fromkeys(("frac", "dfrac", "tfrac", "cfrac", "binom", "dbinom", "tbinom"), 2),
    **dict.fromkeys(
        ("sqrt", "text", "textbf", "textit", "textrm", "mathrm", "mathbf", "mathbb", "overline", "mbox"), 1
    ),
}
_COMMAND: Final = re.compile(r"\\([a-zA-Z]+)")
_START: Final = re.compile(r"[ \t]*(?:[-+][ \t]*)?(?=[\d(\[\\]|\.\d|[a-zA-Z])(?!\\[()\[\]\\\s])")
_GROUP: Final = re.compile(r"[ \t]*(\{[^{}$\n]*(?:\{[^{}$\n]*(?:\{[^{}$\n]*\}[^{}$\n]*)*\}[^{}$\n]*)*\})")
_ONE: Final = re.compile(r"[ \t]*(\\[a-zA-Z]+|[^\s\\{}$])")
_ROOT: Final = re.compile(r"[ \t]*\[[^\[\]\n$]*\]")
_ENDS: Final = re.compile(r"\\[()\[\]\\]|[$\n{}]|\\boxed(?![a-zA-Z])")
_WORD: Final = re.compile(r"[a-z]|[a-zA-Z]{2,}")
_MATHEMATICS: Final = re.compile(r"\s*(?:\$|\\[)\]])")


def boxes(text: str) -> list[str]:
    r"""The contents of every box in `text`, in the order of their beginnings; a box without an end is none.

    These are the boxes of `\boxed`; where there are none at all, those of `\fbox{...}`.
    """
    return [text[begin:end].strip() for begin, end in _spans(text)[0]]


def last_box(text: str) -> str | None:
    r"""The content of the last box; None if there is none or it is empty."""
    spans, _ = _spans(text)
    if not spans:
        return None
    begin, end = spans[-1]
    return text[begin:end].strip() or None


def every_box(text: str) -> list[str | None]:
    r"""The contents of every box, and None for every `\boxed{` that has no end."""
    spans, unclosed = _spans(text)
    return [*(text[begin:end].strip() for begin, end in spans), *[None] * unclosed]


def _spans(text: str) -> tuple[list[tuple[int, int]], int]:
    """Begin and end of the content of each box, and how many have no end; in one pass over the text."""
    found: dict[str, list[tuple[int, int]]] = {_BOX: [], "fbox": []}
    opened: list[re.Match[str]] = []
    for token in _TOKEN.finditer(text):
        if token["box"] and not token["brace"]:
            span = _run(text, token.end()) if token["box"] == _BOX else None
            found[_BOX] += [span] if span else []
        elif token["box"] or token[0] == "{":
            opened.append(token)
        elif token[0] == "}" and opened:
            opening = opened.pop()
            if opening["box"]:
                found[opening["box"]].append((opening.end(), token.start()))
    unclosed = sum(opening["box"] == _BOX for opening in opened)
    return sorted(found[_BOX] if found[_BOX] or unclosed else found["fbox"]), unclosed


def _run(text: str, begin: int) -> tuple[int, int] | None:
    r"""Begin and end of what `\boxed` without braces takes; None if that is a word of a sentence or nothing."""
    start = _START.match(text, begin)
    if start is None:
        return None
    place, depth = start.end(), 0
    while place < len(text) and not (text[place].isspace() and depth <= 0):
        if text[place] != "{" and _ENDS.match(text, place):
            break
        depth += (text[place] in "([") - (text[place] in ")]")
        if depth < 0:
            break
        place = _after(text, place)
    content = text[begin:place].rstrip(" \t.,;:?*`'\"")
    bare = content.strip()
    if not bare or (_WORD.fullmatch(bare) and not (len(bare) == 1 and _MATHEMATICS.match(text, begin + len(content)))):
        return None
    return begin, begin + len(content)


def _after(text: str, place: int) -> int:
    """The place after one piece of a run: a command with its arguments, a group in braces, or a character."""
    command = _COMMAND.match(text, place)
    if command is None:
        group = _GROUP.match(text, place)
        return group.end() if group else place + (2 if text[place] == "\\" else 1)
    place = command.end()
    root = _ROOT.match(text, place) if command[1] == "sqrt" else None
    place = root.end() if root else place
    for _ in range(_ARGUMENTS.get(command[1], 0)):
        argument = _GROUP.match(text, place) or _ONE.match(text, place)
        place = argument.end() if argument else place
    return place
