"""The named sets of mathematical problems, and the reading of a problem and its key from a row."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from counterpoint.boxes import last_box
from counterpoint.errors import TaskError

AnswerIn = Literal["text", "hashes", "box"]
"""The place of an answer in its column: all of it, after `####`, or in the last box."""
_LONGEST_KEY: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class MathSet:
    """The place of a set and the shape of its rows."""

    hub: str
    split: str
    subset: str = ""
    problem: str = "problem"
    answer: str = "answer"
    answer_in: AnswerIn = "text"


SETS: Final[Mapping[str, MathSet]] = MappingProxyType(
    {
        "gsm8k": MathSet(
            hub="openai/gsm8k", subset="main", split="train", problem="question", answer_in="hashes"
        ),
        "gsm8k_test": MathSet(
            hub="openai/gsm8k", subset="main", split="test", problem="question", answer_in="hashes"
        ),
        "math_500": MathSet(hub="HuggingFaceH4/MATH-500", split="test"),
        "dapo_math": MathSet(
            hub="open-r1/DAPO-Math-17k-Processed", subset="en", split="train", problem="prompt", answer="solution"
        ),
        "deepscaler": MathSet(hub="agentica-org/DeepScaleR-Preview-Dataset", split="train"),
        "aime_2024": MathSet(hub="HuggingFaceH4/aime_2024", split="train"),
        "aime_2025": MathSet(hub="math-ai/aime25", split="test"),
        "amc": MathSet(hub="math-ai/amc23", split="test", problem="question"),
        "olympiad_bench": MathSet(
            hub="Hothan/OlympiadBench",
            subset="OE_TO_maths_en_COMP",
            split="train",
            problem="question",
            answer="final_answer",
        ),
        "minerva": MathSet(hub="math-ai/minervamath", split="test", problem="question"),
    }
)  # fmt: skip


def read_row(columns: Mapping[str, Any], *, problem: str, answer: str, answer_in: AnswerIn) -> tuple[str, str]:
    """The problem and its key. Raises TaskError with the reason if the row has none that can be used."""
    statement = _text(columns, problem)
    written = _text(columns, answer)
    key = _ANSWERS[answer_in](written)
    if not key:
        raise TaskError(f"column {answer!r} has no answer {_PLACES[answer_in]}")
    if len(key) > _LONGEST_KEY:
        raise TaskError(f"its answer has {len(key)} characters, more than {_LONGEST_KEY}")
    return statement, key


def _text(columns: Mapping[str, Any], name: str) -> str:
    if name not in columns:
        raise TaskError(f"there is no column {name!r}; there are: {', '.join(columns)}")
    value = columns[name]
    if isinstance(value, list | tuple) and value and all(isinstance(one, str) and one.strip() for one in value):
        return ", ".join(one.strip() for one in value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TaskError(f"column {name!r} is {type(value).__name__}, not text or a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise TaskError(f"column {name!r} is {value}")
    text = str(value).strip()
    if not text:
        raise TaskError(f"column {name!r} is empty")
    return text


def _after_hashes(text: str) -> str:
    _, mark, rest = text.rpartition("####")
    return rest.strip() if mark else ""


_ANSWERS: Final[Mapping[AnswerIn, Callable[[str], str]]] = {
    "text": str.strip,
    "hashes": _after_hashes,
    "box": lambda text: last_box(text) or "",
}
_PLACES: Final = {"text": "in it", "hashes": "after ####", "box": r"in a \boxed{...}"}
