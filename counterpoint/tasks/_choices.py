"""Questions with choices: shown below the question, and named in the answer by letter, number or text."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Final

from counterpoint.errors import TaskError
from counterpoint.judges._plain import plain
from counterpoint.tasks._packed_tests import parsed_or_literal
from counterpoint.tasks._tables import value_in

_LABELLED: Final = re.compile(r"\s*\(?(?P<label>[A-Z])[).:]\s*(?P<text>\S.*)", re.DOTALL)
_NAMED: Final = re.compile(r"\(?(?P<label>[A-J])\)\s*(?P<text>\S.*)", re.DOTALL)
_USUAL: Final = ("choices", "options", "endings")
"""The names that data sets give to such a column."""


@dataclass(frozen=True, slots=True)
class Choices:
    """Labels and texts of what may be chosen, in the order of the data."""

    labels: tuple[str, ...]
    texts: tuple[str, ...]

    def shown_below(self, question: str) -> str:
        """The question with one choice per line below it."""
        return "\n".join([question, *(f"({one}) {text}" for one, text in zip(self.labels, self.texts, strict=True))])

    def keys(self, answer: Any, first: int) -> tuple[str, ...]:
        """The answers that name the right choice: its letter, its text, and both. Numbers count from `first`.

        Raises TaskError with the reason if `answer` names none of them.
        """
        place = self._place(answer, first)
        label, text = self.labels[place], self.texts[place]
        others = {plain(one) for one in (*self.labels, *self.texts[:place], *self.texts[place + 1 :])} - {plain(label)}
        found = [label, *([text] if plain(text) not in others else []), f"({label}) {text}"]
        return tuple(dict.fromkeys(found))

    def _place(self, answer: Any, first: int) -> int:
        written = str(answer).strip()
        bare = written.strip("()[]. ")
        if bare in self.labels:  # also a number, where the labels are numbers: those are what the question shows
            return self.labels.index(bare)
        if not isinstance(answer, int) or isinstance(answer, bool):
            same = [place for place, text in enumerate(self.texts) if plain(text) == plain(written)]
            if len(same) == 1:
                return same[0]
            labelled = _LABELLED.fullmatch(written)
            if labelled is not None and labelled["label"] in self.labels:
                return self.labels.index(labelled["label"])
        if re.fullmatch(r"\d+(?:\.0)?", written) and 0 <= int(float(written)) - first < len(self.texts):
            return int(float(written)) - first
        several = f"{self.labels[0]} to {self.labels[-1]}, or a number from {first} to {len(self.texts) - 1 + first}"
        other = "; task.first_choice = 1 counts from 1" if not first and written == str(len(self.texts)) else ""
        raise TaskError(f"is {written!r}, which is none of the choices: {several}{other}")


def choices_of(value: Any) -> Choices:
    """The choices in a column: a list of texts, an object of letters and texts, or one with `label` and `text`.

    Letters that stand before the texts (`A)21`) are taken off. Raises TaskError with the reason if it is none of these.
    """
    if isinstance(value, str):
        value = parsed_or_literal(value)
    if isinstance(value, Mapping):
        table = {str(name): inner for name, inner in value.items()}
        if isinstance(table.get("text"), Sequence) and not isinstance(table["text"], str):
            labels = table.get("label", table.get("labels"))
            return _made([*table["text"]], [*labels] if isinstance(labels, Sequence) else None)
        return _made([*table.values()], [*table])
    if isinstance(value, list | tuple):
        if value and all(isinstance(one, Mapping) and "text" in one and "label" in one for one in value):
            return _made([one["text"] for one in value], [one["label"] for one in value])
        return _made([*value], None)
    raise TaskError(f"is {type(value).__name__}, not a list of choices")


def named_in(answer: str) -> tuple[str, ...]:
    """The answers that are right where the key is a choice with its text: `A) 21` is also `A` and `21`."""
    match = _NAMED.fullmatch(answer)
    return (answer,) if match is None else tuple(dict.fromkeys((answer, match["label"], match["text"].strip())))


def hidden(columns: Mapping[str, Any], question: str, answer: Any) -> str:
    """The name of a column whose choices the question does not show, though the answer is a letter or number of theirs.

    An answer that is also the text of a choice needs none of them to be shown.
    """
    for name in _USUAL:
        try:
            choices = choices_of(value_in(columns, name))
            place = choices._place(answer, 0)
        except TaskError:
            continue
        written = str(answer).strip()
        by_place = written in (choices.labels[place], str(place)) and plain(written) not in map(plain, choices.texts)
        if by_place and not all(text in question for text in choices.texts):
            return name
    return ""


def _made(texts: list[Any], labels: list[Any] | None) -> Choices:
    if len(texts) < 2 or len(texts) > len(ascii_uppercase) or (labels is not None and len(labels) != len(texts)):
        raise TaskError(f"has {len(texts)} choices; allowed are 2 to {len(ascii_uppercase)}, each with one label")
    if not all(isinstance(text, str | int | float) and str(text).strip() for text in texts):
        raise TaskError("has a choice that is empty, or neither text nor a number")
    written = [str(text).strip() for text in texts]
    letters = tuple(ascii_uppercase[: len(texts)])
    matches = [_LABELLED.fullmatch(text) for text in written]
    if labels is None and tuple(match["label"] if match else "" for match in matches) == letters:
        written = [match["text"].strip() for match in matches if match]
    return Choices(letters if labels is None else tuple(str(label).strip() for label in labels), tuple(written))
