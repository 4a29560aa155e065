"""Functions to be written from examples of what they do, judged on inputs that were not shown."""

import json
import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from counterpoint.errors import TaskError
from counterpoint.judges.programs.grader import program_task
from counterpoint.task import JudgeFunction, Problem, Task
from counterpoint.tasks._fence import BLOCK_FORMAT, reader
from counterpoint.tasks._splits import Split, problem_id, split_of
from counterpoint.tasks.base import Splits
from counterpoint.tasks.synthesis.functions import (
    FAMILIES,
    TABLED,
    FamilyName,
    Function,
    Value,
    behaviour,
    literal,
    table,
)

HeldOut = Literal["problems", "functions"]
_TRIES_PER_TASK = 60
_LONGER = 2500
"""So many compositions of three operations are looked at."""


class Drawn(NamedTuple):
    """A function, the inputs that a problem shows, and those that it is judged on."""

    function: Function
    shown: tuple[Value, ...]
    hidden: tuple[Value, ...]

    @property
    def text(self) -> str:
        return "\n".join([f"Write a Python function f({self.function.family.parameter}) with", *self._seen(self.shown)])

    @property
    def reference(self) -> str:
        """The hidden calls and their values, as a person reads them."""
        return "\n".join(self._seen(self.hidden))

    @property
    def key(self) -> str:
        """The key: calls of `f` and their values, as JSON."""
        tests = [{"arguments": [value], "value": self.function(value)} for value in self.hidden]
        return json.dumps({"kind": "call", "function": "f", "tests": tests})

    def _seen(self, inputs: tuple[Value, ...]) -> list[str]:
        return [f"f({literal(value)}) == {literal(self.function(value))}" for value in inputs]


def synthesis(
    *,
    families: Annotated[Sequence[FamilyName], Field(min_length=1)] = ("lists", "strings"),
    steps: Annotated[int, Field(ge=1, le=3)] = 1,
    examples: Annotated[int, Field(ge=2, le=8)] = 4,
    tests: Annotated[int, Field(ge=2, le=10)] = 6,
    train: Annotated[int, Field(ge=1)] = 4096,
    validation: Annotated[int, Field(ge=1)] = 128,
    test: Annotated[int, Field(ge=1)] = 256,
    held_out: HeldOut = "problems",
    seed: int = 0,
    judge: JudgeFunction,
) -> Splits:
    """Problems such as `f([3, 1, 2]) == [1, 2]`, four times: which function of `steps` operations is it?

    No function of fewer operations does the same. Exactly one function of the families with up to two operations agrees
    with the examples, and exactly one with the hidden tests; for three operations, none of up to two does. With
    `held_out = "problems"` the split of a problem depends on its text alone: the splits share functions, shown by other
    examples. With `"functions"` it depends on what the function does: no function is met in two splits, whatever the
    options. The same options give the same tasks. Raises TaskError if they do not allow that many distinct problems.
    """
    options = Options(tuple(dict.fromkeys(families)), steps, examples, tests)
    counts: dict[Split, int] = {"train": train, "validation": validation, "test": test}
    drawn = {split: draw(split, count, options, seed, held_out) for split, count in counts.items()}
    tasks = {split: tuple(_task(one, judge) for one in found) for split, found in drawn.items()}
    return Splits(train=tasks["train"], validation=tasks["validation"], test=tasks["test"])


class Options(NamedTuple):
    """The kind of problems that are drawn."""

    families: tuple[FamilyName, ...]
    steps: int
    examples: int
    tests: int


def draw(split: Split, count: int, options: Options, seed: int, held_out: HeldOut) -> list[Drawn]:
    """`count` problems of a split with distinct texts. Raises TaskError if there are fewer."""
    source = random.Random(f"synthesis/{seed}/{split}/{tuple(options)}")
    by_function = held_out == "functions"
    known = {name: _known(name, options.steps)[split if by_function else "all"] for name in options.families}
    found: dict[str, Drawn] = {}
    for _ in range((count + 10) * _TRIES_PER_TASK):
        if len(found) == count:
            return list(found.values())
        one = _attempt(source.choice(known[source.choice(options.families)]), options, source)
        if one is not None and (by_function or split_of(one.text) == split):
            found.setdefault(one.text, one)
    raise TaskError(f"synthesis: {count} distinct {split} problems were asked for, these options give {len(found)}")


class _Known(NamedTuple):
    function: Function
    results: tuple[Value, ...]
    """On all inputs of its family."""


@lru_cache(maxsize=16)
def _known(name: FamilyName, steps: int) -> dict[Split | Literal["all"], list[_Known]]:
    """Functions of exactly `steps` operations: all, or some of those that are too many to be tabled."""
    every = list(_tabled(name, steps) if steps <= TABLED else _longer(name))
    found: dict[Split | Literal["all"], list[_Known]] = {"all": every, "train": [], "validation": [], "test": []}
    for one in every:
        found[split_of(f"{name}: {one.results}")].append(one)
    return found


def _tabled(name: FamilyName, steps: int) -> Iterator[_Known]:
    for results, function in table(name).functions.items():
        if len(function.operations) == steps:
            yield _Known(function, results)


def _longer(name: FamilyName) -> Iterator[_Known]:
    """Functions of one operation more than are tabled, no two alike; the same ones every time."""
    family, shorter = FAMILIES[name], table(name).functions
    source = random.Random(f"longer/{name}")
    begun = [one for one in _tabled(name, TABLED) if one.function.operations[-1] not in family.endings]
    pairs = list(product(begun, (*family.operations, *family.endings)))
    seen = set(shorter)
    for one, last in source.sample(pairs, min(_LONGER, len(pairs))):
        results = behaviour(Function(family, (last,)), one.results)
        if results is not None and results not in seen:
            seen.add(results)
            yield _Known(Function(family, (*one.function.operations, last)), results)


def _attempt(known: _Known, options: Options, source: random.Random) -> Drawn | None:
    """A problem of the function, unless its examples or its tests leave open which function it is."""
    inputs = known.function.family.inputs
    if options.examples + options.tests > len(inputs):
        return None
    places = source.sample(range(len(inputs)), options.examples + options.tests)
    shown, hidden = places[: options.examples], places[options.examples :]
    itself = 1 if options.steps <= TABLED else 0
    for part in (shown, hidden):
        if table(known.function.family.name).alternatives(part, [known.results[place] for place in part]) != itself:
            return None
    return Drawn(known.function, tuple(inputs[place] for place in shown), tuple(inputs[place] for place in hidden))


def _task(drawn: Drawn, judge: JudgeFunction) -> Task:
    text = drawn.text
    problem = Problem(id=problem_id("synthesis", text), text=text, answer_format=BLOCK_FORMAT, extract=reader("f"))
    return program_task(problem, drawn.key, judge, reference=drawn.reference)
