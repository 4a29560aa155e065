r"""The ways to read an answer out of a reply, each with the sentence that tells a model to write it so.

The two must agree: a model that is told to write `Answer: 7` and is read by `\boxed{...}` is never right. So the
sentence is tried: in one of the replies that it may ask for, an answer must be read.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from counterpoint.boxes import last_box
from counterpoint.errors import ConfigError, TaskError, unknown
from counterpoint.family import Family, is_own
from counterpoint.judges.text import alike
from counterpoint.task import Problem, Task
from counterpoint.tasks._answers import BOXED_FORMAT

Extract = Callable[[str], str | None]
PATTERN: Final = "pattern"
READINGS: Family[Extract] = Family(
    "reading",
    {
        "boxed": "counterpoint.boxes:last_box",
        "last_line": "counterpoint.tasks._answers:last_line",
        "whole": "counterpoint.tasks._answers:whole",
    },
)
_FORMATS: Final = {
    "boxed": BOXED_FORMAT,
    "last_line": "Write the final answer alone on the last line.",
    "whole": "Reply with the final answer alone.",
}
_BOX: Final = r"\boxed"
_BOXED: Final = re.compile(r"\\boxed\{[^{}]*\}")
_ENDS: Final = " .,;:'\"`()"
_TAG: Final = re.compile(r"<(\w+)>")
_MOST_WORDS: Final = 60
_LONGEST: Final = 1000
_TRIED: Final = 20
"""Keys that a sentence is tried with."""
_ANY: Final = "1"
"""An answer, where there is no key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A way to read an answer, and the sentence that asks for it."""

    name: str
    answer_format: str
    extract: Extract

    def check(self, keys: Iterable[str]) -> None:
        """Raises ConfigError if the sentence asks for none of the `keys` in a way that is read.

        The user's own function is only tried where the sentence asks for a box, because it may expect any form.
        """
        if is_own(self.name):
            disagreement = _disagreement(self.answer_format, self.extract, keys)
            if disagreement:
                raise ConfigError(f"task.read = {self.name!r}: {disagreement}; change task.read or task.answer_format")
            return
        tried = [*keys][:_TRIED]
        if not any(self._reads_back(key) for key in tried):
            shown = tried[0] if tried else ""
            raise ConfigError(
                f"task.answer_format = {self.answer_format!r} does not fit {self._how()}: an answer such as {shown!r},"
                f" written as the sentence says, is not read; change task.answer_format or {self._option()}"
            )

    def keeps(self, key: str) -> bool:
        """True if an answer that is this key can be read at all; always for patterns and the user's own functions."""
        example = {"boxed": rf"\boxed{{{key}}}", "last_line": key, "whole": key}.get(self.name)
        return example is None or self.extract(example) == key.strip()

    def reads_right(self, key: str) -> bool:
        """True if the key is read as the same number or text, in a reply that the sentence may ask for."""
        found = map(self.extract, asked_for(self.answer_format, key))
        return any(answer is not None and alike(answer, key) for answer in found)

    def _reads_back(self, key: str) -> bool:
        replies = [self.extract(reply) for reply in asked_for(self.answer_format, key)]
        exactly = _BOX in self.answer_format
        return any(found == key.strip() if exactly else found is not None for found in replies)

    def _how(self) -> str:
        return f"task.{PATTERN}" if self.name == PATTERN else f"task.read = {self.name!r}"

    def _option(self) -> str:
        return f"task.{PATTERN}" if self.name == PATTERN else f"task.read ({', '.join([*READINGS, PATTERN])})"


def reading_of(read: str, pattern: str, answer_format: str) -> Reading:
    """The reading that the options name, with its own sentence unless `answer_format` is one.

    Raises ConfigError if there is no such reading, the pattern is none, or the options contradict each other.
    """
    name = read or (PATTERN if pattern else "boxed")
    if (name == PATTERN) != bool(pattern):
        wanted = "task.pattern is required" if name == PATTERN else "task.pattern must be left out"
        raise ConfigError(f"task.read = {name!r}: {wanted}; a regular expression is for task.read = 'pattern'")
    if name == PATTERN:
        extract: Extract = _by_pattern(pattern)
    else:
        if not is_own(name) and name not in READINGS:
            raise ConfigError(unknown("task.read", name, [*READINGS, PATTERN]) + ", or my_module:my_reading")
        extract = READINGS.find(name)
        if not callable(extract):
            raise ConfigError(f"task.read = {name!r} is a {type(extract).__name__}, not a function that takes a reply")
    sentence = answer_format or _FORMATS.get(name, "")
    if not sentence:
        raise ConfigError(
            f"task.answer_format is required with task.read = {name!r}: the sentence that tells a model how to write"
            " its answer, such as \"End with a line 'Answer: X'.\""
        )
    return Reading(name=name, answer_format=sentence, extract=extract)


def check_readings(tasks: Iterable[Task], source: str) -> None:
    """Every pair of a sentence and a function is tried with a few keys.

    Raises TaskError if a task asks for a box that it does not read, or reads one that it does not ask for.
    """
    for (sentence, extract), keys in _pairs(tasks).items():
        disagreement = _disagreement(sentence, extract, keys)
        if disagreement:
            raise TaskError(
                f"{source}: {disagreement}; give the task an `answer_format` and an `extract` that belong together"
            )


def readable(problem: Problem, reply: str) -> str:
    """The reply, followed by an answer if none can be read in it: one that the problem's sentence may ask for."""
    if _read(problem.extract, reply):
        return reply
    examples = (f"{reply}\n{example}" for example in asked_for(problem.answer_format, _ANY))
    return next((example for example in examples if _read(problem.extract, example)), reply)


def unread(tasks: Iterable[Task]) -> list[str]:
    """The sentences of which no answer is read in any of the replies that they may ask for."""
    found = []
    for (sentence, extract), keys in _pairs(tasks).items():
        if not any(_read(extract, reply) for key in keys for reply in asked_for(sentence, key)):
            found.append(sentence)
    return found


def asked_for(sentence: str, key: str) -> Iterator[str]:
    r"""Replies that a sentence such as `Write Answer: X.` may ask for, where the answer is `key`.

    With `\boxed` in the sentence, that is the box, and every end of the sentence with the key in its box; otherwise
    the key alone, the key in the tags or in the fence that the sentence names, and every end of the sentence, each with
    one of its words replaced by the key.
    """
    if _BOX in sentence:
        boxed = rf"{_BOX}{{{key}}}"
        words = _BOXED.sub(lambda _: boxed, sentence).split()[:_MOST_WORDS]
        yield boxed
        yield from (" ".join(words[begin:]).strip(_ENDS) for begin in range(len(words)))
        return
    yield key
    yield from (f"<{tag}>{key}</{tag}>" for tag in dict.fromkeys(_TAG.findall(sentence)))
    if "```" in sentence:
        yield from (f"```{label}\n{key}\n```" for label in ("", "python"))
    words = sentence.split()[:_MOST_WORDS]
    for begin in range(len(words)):
        for place in reversed(range(begin, len(words))):
            bare = words[place].strip(_ENDS)
            filled = words[place].replace(bare, key, 1) if bare else key
            yield " ".join([*words[begin:place], filled, *words[place + 1 :]]).strip(_ENDS)
        yield " ".join(words[begin:]).strip(_ENDS)


def _pairs(tasks: Iterable[Task]) -> dict[tuple[str, Extract], list[str]]:
    """Sentence and function -> a few keys of the tasks that have both; any answer for tasks without a key."""
    found: dict[tuple[str, Extract], list[str]] = {}
    for task in tasks:
        keys = found.setdefault((task.problem.answer_format, task.problem.extract), [])
        if len(keys) < _TRIED:
            keys += [key[:_LONGEST] if key.strip() else _ANY for key in task.accepted or (task.key,)]
    return found


def _disagreement(sentence: str, extract: Extract, keys: Iterable[str]) -> str:
    """The reason why a model that writes or does not write a box, as the sentence says, is not read; else empty."""
    if _BOX not in sentence and extract is not last_box:
        return ""
    if extract is last_box and _BOX not in sentence:
        return rf"answers are read from the last \boxed{{...}}, but the answer format {sentence!r} asks for none"
    if any(_read(extract, reply) for key in keys for reply in asked_for(sentence, key)):
        return ""
    return rf"the answer format {sentence!r} asks for \boxed{{...}}, but no answer is read from one"


def _read(extract: Extract, reply: str) -> bool:
    """True if an answer is read in the reply; False also where the user's function raises."""
    try:
        return extract(reply) is not None
    except Exception:  # whatever the user's function raises on a reply that it does not expect
        return False


def _by_pattern(pattern: str) -> Extract:
    """Reads the last match of a regular expression: its only group, or all of it."""
    try:
        compiled = re.compile(pattern, re.MULTILINE)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"task.pattern = {pattern!r} is not a regular expression: {error}") from error
    if compiled.groups > 1:
        raise ConfigError(
            f"task.pattern = {pattern!r} has {compiled.groups} groups: put the answer into one, and write (?:...) for"
            " the others"
        )
    group = compiled.groups

    def last_match(reply: str) -> str | None:
        found = None
        for match in compiled.finditer(reply):
            found = match[group] or found
        return found.strip() or None if found is not None else None

    return last_match
