"""Read answers out of replies."""

import re

BOXED_FORMAT = r"Write the final answer as \boxed{answer}."
_BRACE = re.compile(r"\\boxed\{|[{}]")


def boxes(text: str) -> list[str]:
    r"""The contents of every `\boxed{...}` in `text`, in order, braces balanced; an unclosed box is none."""
    return [text[begin:end].strip() for begin, end in _box_spans(text)]


def last_box(text: str) -> str | None:
    r"""The content of the last `\boxed{...}`; None if there is none or it is empty."""
    spans = _box_spans(text)
    if not spans:
        return None
    begin, end = spans[-1]
    return text[begin:end].strip() or None


def _box_spans(text: str) -> list[tuple[int, int]]:
    """Begin and end of the content of each box, in the order of the beginnings; in one pass over the text."""
    spans = []
    opened: list[re.Match[str]] = []
    for brace in _BRACE.finditer(text):
        if brace[0] != "}":
            opened.append(brace)
        elif opened:
            opening = opened.pop()
            if opening[0] != "{":
                spans.append((opening.end(), brace.start()))
    return sorted(spans)
