r"""The place of an answer in its column: all of it, or the end of a worked solution."""

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

from counterpoint.boxes import boxes, last_box
from counterpoint.errors import TaskError

AnswerIn = Literal["", "text", "hashes", "box", "sentence"]
"""All of the column, which must be no worked solution (""), or may be one; or after `####`, in the last box, after
`answer is`."""
ENDS: Final[Mapping[AnswerIn, str]] = MappingProxyType(
    {
        "hashes": "that ends in '#### ...'",
        "box": r"with its answer in \boxed{...}",
        "sentence": "with 'the answer is ...'",
    }
)
"""Words for the worked solutions whose answers are in these places, for messages."""
_SENTENCE: Final = re.compile(r"\banswer(?: is|:)[:\s]*(?P<answer>\S[^\n]*)", re.IGNORECASE)
_LEAD: Final = re.compile(r"\b(?:so|thus|hence|therefore)?,? *\bthe (?:final |correct )?$", re.IGNORECASE)
_HASHES: Final = re.compile(r"####\s*(\S[^\n]*)")
_FEWEST_WORDS: Final = 3
"""Words before `answer is` that make a solution."""
_ALONE: Final = re.compile(r"[\s$]*\\(?:boxed|fbox)\s*(?:\{\s*\})?[\s$.]*")


def _after_hashes(text: str) -> str:
    _, mark, rest = text.rpartition("####")
    return rest.strip() if mark else ""


def _after_answer_is(text: str) -> str:
    found = [*_SENTENCE.finditer(text)]
    return found[-1]["answer"].strip().rstrip(".").rstrip() if found else ""


_READ: Final[Mapping[AnswerIn, Callable[[str], str]]] = MappingProxyType(
    {
        "": str,
        "text": str,
        "hashes": _after_hashes,
        "box": lambda text: last_box(text) or "",
        "sentence": _after_answer_is,
    }
)
_PLACES: Final[Mapping[AnswerIn, str]] = MappingProxyType(
    {
        "": "in it",
        "text": "in it",
        "hashes": "after ####",
        "box": r"in a \boxed{...}",
        "sentence": "after 'answer is' or 'answer:'",
    }
)


def answer_in_text(written: str, answer_in: AnswerIn) -> str:
    """The answer in the text of a column. Raises TaskError with the reason if there is none.

    With "", also if the text is a worked solution, which no answer would equal.
    """
    found = _READ[answer_in](written)
    if not found.strip():
        raise TaskError(f"has no answer {_PLACES[answer_in]}")
    return found if answer_in else _without_box(found)


def end_of_solution(written: str) -> AnswerIn:
    """The place of the answer in a worked solution; empty if the text is none."""
    inside, sentence = boxes(written), _SENTENCE.search(written)
    if _HASHES.search(written) is not None:
        return "hashes"
    if inside:
        return "" if _is_box(written, inside) else "box"
    if sentence is not None and _words_of(_LEAD.sub("", written[: sentence.start()])) >= _FEWEST_WORDS:
        return "sentence"
    return ""


def _without_box(written: str) -> str:
    """The text, or what is in its box if there is nothing beside it. Raises TaskError if it is a worked solution."""
    end, inside = end_of_solution(written), boxes(written)
    if end:
        reads = f"task.answer_in = {end!r} reads the answer there, 'text' keeps all of it"
        raise TaskError(f"is a whole solution {ENDS[end]}: {reads}")
    return inside[0] if inside else written


def _is_box(written: str, inside: Sequence[str]) -> bool:
    return len(inside) == 1 and _ALONE.fullmatch(written.replace(inside[0], "", 1)) is not None


def _words_of(text: str) -> int:
    return len(re.findall(r"[^\W\d_]{2,}", text))
