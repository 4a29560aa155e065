"""The named sets of mathematical problems, and the reading of a problem and its key from a row."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from counterpoint.errors import TaskError
from counterpoint.tasks._answers import key_of
from counterpoint.tasks._tables import value_in
from counterpoint.tasks._written import AnswerIn, answer_in_text

_LONGEST_KEY: Final = 1000
_NOTHING: Final = ("nan", "null")
"""Texts that a table has where a value is missing."""


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
    try:
        key = answer_in_text(written, answer_in)
    except TaskError as error:
        raise TaskError(f"column {answer!r} {error}") from None
    if key.casefold() in _NOTHING:
        raise TaskError(f"column {answer!r} is {key}, which no answer can equal")
    if len(key) > _LONGEST_KEY:
        raise TaskError(f"its answer has {len(key)} characters, more than {_LONGEST_KEY}")
    return statement, key


def _text(columns: Mapping[str, Any], name: str) -> str:
    value = value_in(columns, name)
    parts = [*value] if isinstance(value, list | tuple) and value else [value]
    if any(isinstance(part, bool) for part in parts):
        raise TaskError(f"column {name!r} is bool, not text or a number")
    try:
        return ", ".join(key_of(part).strip() for part in parts)
    except TaskError as error:
        raise TaskError(f"column {name!r} {error}") from None
