r"""Where the answer stands in its column: all of it, or at the end of a worked solution."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal

from counterpoint.boxes import boxes, last_box
from counterpoint.errors import TaskError

AnswerIn = Literal["", "text", "hashes", "box", "sentence"]
"""All of the column, which must be no worked solution (""), or may be one; or after `####`, in the last box, after
`answer is`."""
_SENTENCE: Final = re.compile(r"\banswer(?: is|:)[:\s]*(?P<answer>\S[^\n]*)", re.IGNORECASE)
_LEAD: Final = re.compile(r"\b(?:so|thus|hence|therefore)?,? *\bthe (?:final |correct )?$", re.IGNORECASE)
_HASHES: Final = re.compile(r"####\s*(\S[^\n]*)")
_FEWEST_WORDS: Final = 3
"""Words beside a box, or before `answer is`, that make a solution."""
_LONGEST_SHOWN: Final = 40


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
    if not found:
        raise TaskError(f"has no answer {_PLACES[answer_in]}")
    if not answer_in:
        _check_no_solution(written)
    return found


def _check_no_solution(written: str) -> None:
    """Raises TaskError if the text is a worked solution, with the setting that reads the answer at its end."""
    hashes, sentence = _HASHES.search(written), _SENTENCE.search(written)
    inside = boxes(written)
    if hashes is not None:
        _refuse(f"#### {hashes[1].strip()}", "hashes")
    if inside and _many_words(written.replace(inside[-1], "")):
        _refuse(rf"\boxed{{{inside[-1]}}}", "box")
    if sentence is not None and _many_words(_LEAD.sub("", written[: sentence.start()])):
        _refuse(sentence[0].strip(), "sentence")


def _many_words(text: str) -> bool:
    return len(re.findall(r"[^\W\d_]{2,}", text.replace("boxed", ""))) >= _FEWEST_WORDS


def _refuse(end: str, answer_in: AnswerIn) -> None:
    shown = end if len(end) <= _LONGEST_SHOWN else f"{end[:_LONGEST_SHOWN]}..."
    raise TaskError(
        f"is a whole solution with {shown!r} in it: task.answer_in = {answer_in!r} reads that, 'text' keeps all of it"
    )
