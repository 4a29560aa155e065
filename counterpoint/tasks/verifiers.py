"""Environments of the package verifiers whose tasks are one prompt and one reply, with their own rewards."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from counterpoint.errors import ConfigError, TaskError
from counterpoint.judges.function.judge import FunctionJudge
from counterpoint.judges.verifiers import worker
from counterpoint.judges.verifiers.environment import Scorer
from counterpoint.task import Problem, Task
from counterpoint.tasks._answers import whole
from counterpoint.tasks._readings import Reading, reading_of
from counterpoint.tasks._refused import Refused, complaint, quoted
from counterpoint.tasks._splits import SPLITS, Split, drawn, normal, problem_id, split_of
from counterpoint.tasks.base import Splits

Count = Annotated[int, Field(ge=1)]

_READING_SECONDS: Final = 1800.0
_LIBRARY: Final = Path(__file__).parents[2]
_BOXED_REPLY: Final = r"\boxed{{answer}}"


def verifiers(
    *,
    env: str,
    args: dict[str, Any] | None = None,
    test_args: dict[str, Any] | None = None,
    tasks: Count | None = None,
    train: Count | None = None,
    validation: Count | None = None,
    test: Count | None = None,
    seed: int = 0,
    read: str = "",
    pattern: str = "",
    answer_format: str = "",
    reply: str = "",
    range: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None,
    invalid: Literal["refuse", "skip"] = "refuse",
    judge_seconds: Annotated[float, Field(gt=0, le=86_400)] = 30.0,
    workers: Annotated[int, Field(ge=1, le=256)] = 2,
) -> Splits:
    r"""The tasks of an environment of the package verifiers, scored by its rewards; `args` are its configuration.

    `env` is the name of an installed package that exports a `Taskset`, or of a module in the current directory. A task
    is its prompt with its system prompt, as one text, and one reply of text. At most `tasks` tasks are read, which must
    be said of an environment without end.

    Which split a task is in depends on its text alone: about 80 % are in train, 10 % in validation, 10 % in test. With
    `test_args`, the tasks that the environment has with these arguments in addition are test, and no task of train or
    validation has the text of one of them. `train`, `validation` and `test` keep at most as many, drawn by `seed`.

    The whole reply is scored. With `read`, `pattern` and `answer_format`, as in `questions`, an answer is read from it
    first, and `reply` says how the environment gets it: `\boxed{{answer}}` where it is read from a box, else
    `{answer}`.

    A reward is the mean of the environment's rewards by their weights, each in [0, 1]; with `range` [low, high] it is
    their weighted sum, of which low is 0 and high is 1. Rewards and metrics are parts of the score. One reply may take
    `judge_seconds` in one of `workers` processes; a reward that takes longer, raises, or leaves its range is not
    judged.

    Raises ConfigError if verifiers or the environment is not installed, arguments are wrong, or it takes more than one
    reply. Raises TaskError if tasks cannot be used, with the first and how many there are (`invalid` 'skip' leaves
    those out, unless they are all), or a split is empty.
    """
    if find_spec("verifiers") is None:
        raise ConfigError("task 'verifiers' needs verifiers: `pip install 'counterpoint[verifiers]'` first")
    span = _span(range)
    reading = reading_of(read, pattern, answer_format) if read or pattern else _whole(answer_format)
    template = _template(reply, reading)
    given = args or {}
    rows, facts = _read(env, given, tasks)
    held = _read(env, {**given, **test_args}, tasks)[0] if test_args else []
    rows = [*({**row, "held": True} for row in held), *rows]
    kept, refused = _usable(rows)
    if refused and (invalid == "refuse" or not kept):
        raise TaskError(complaint(refused, len(rows)))
    _check_weights(env, kept, span)
    scorer = Scorer(env, json.dumps(given), (str(Path.cwd()),), template, span)
    judge = FunctionJudge(env, [scorer], seconds=judge_seconds, workers=workers)
    limits: dict[Split, int | None] = {"train": train, "validation": validation, "test": test}
    found = {
        split: drawn(_in_split(kept, split, bool(test_args)), limits[split], f"verifiers/{seed}/{split}")
        for split in SPLITS
    }
    made = {split: tuple(_task(env, row, facts["code"], reading, judge) for row in found[split]) for split in SPLITS}
    _refuse_empty(env, made, len(kept))
    notes = {name: fact for name, fact in facts.items() if name != "code"}
    if refused:
        notes["rows_left_out"] = f"{len(refused)} of {len(rows)}"
    return Splits(
        train=made["train"],
        validation=made["validation"],
        test=made["test"],
        judging=judge,
        notes=MappingProxyType(notes),
    )


def _refuse_empty(env: str, made: Mapping[Split, Sequence[Task]], tasks: int) -> None:
    """Raises TaskError if a split has no task."""
    for split, members in made.items():
        if not members:
            raise TaskError(
                f"environment {env!r}: none of its {tasks} tasks falls into the {split} split: their texts decide"
                " (80 % train, 10 % validation, 10 % test); read more with task.tasks, or name test tasks with"
                " task.test_args"
            )


def _span(given: Sequence[float] | None) -> tuple[float, float] | None:
    if given is None:
        return None
    low, high = given
    if not low < high:
        raise ConfigError(f"task.range = {[*given]!r}: the first number, which is 0, must be below the second")
    return low, high


def _whole(answer_format: str) -> Reading:
    """The reply as it is: the prompt of the environment says how it must be written."""
    return Reading(name="whole", answer_format=answer_format, extract=whole)


def _template(reply: str, reading: Reading) -> str:
    template = reply or (_BOXED_REPLY if reading.name == "boxed" else "{answer}")
    if "{answer}" not in template:
        raise ConfigError(f"task.reply = {reply!r} must contain {{answer}}, where the answer that is read stands")
    return template


def _read(env: str, args: Mapping[str, Any], most: int | None) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The tasks of the environment, read in a process of its own, and its versions. Raises ConfigError or TaskError."""
    path = [*dict.fromkeys([*(place or str(Path.cwd()) for place in sys.path), str(_LIBRARY), str(Path.cwd())])]
    try:
        question = json.dumps({"path": path, "env": env, "args": dict(args), "most": most})
    except TypeError as error:
        raise ConfigError(f"task.args cannot be handed to environment {env!r}: {error}") from error
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", worker.__file__],
            input=question.encode() + b"\n",
            capture_output=True,
            env={"PYTHONHASHSEED": "0", **os.environ},
            check=False,
            timeout=_READING_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise TaskError(f"environment {env!r}: its tasks were not read within {_READING_SECONDS:g} s") from None
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    last = rows.pop() if rows else {}
    if "unfit" in last:
        raise ConfigError(last["unfit"])
    if "end" not in last:
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise TaskError(f"environment {env!r}: its tasks cannot be read: {reason}")
    if not rows:
        raise TaskError(f"environment {env!r} has no tasks")
    return rows, last["end"]


def _usable(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[Refused]]:
    """Each text once, test tasks first; the others are refused."""
    kept: dict[str, Mapping[str, Any]] = {}
    refused: list[Refused] = []
    for row in rows:
        if "refused" in row:
            refused.append(Refused(place=row["place"], reason=row["refused"]))
            continue
        other = kept.setdefault(normal(row["text"]), row)
        if other is not row:
            reason = f"its prompt {quoted(row['text'])} is also that of {other['place']}"
            refused.append(Refused(place=row["place"], reason=reason, kind="its prompt is that of another task too"))
    return [*kept.values()], refused


def _check_weights(env: str, rows: Sequence[Mapping[str, Any]], span: tuple[float, float] | None) -> None:
    """Raises ConfigError if the weights of the rewards make no mean."""
    weights = {name: weight for row in rows for name, weight in row["weights"].items()}
    negative = next((name for name, weight in weights.items() if weight < 0), None)
    if negative is not None and span is None:
        raise ConfigError(
            f"environment {env!r}: its reward {negative!r} has the negative weight {weights[negative]:g}; say with"
            " task.range = [low, high] which of its rewards are 0 and 1 here"
        )
    if not any(weights.values()):
        raise ConfigError(f"environment {env!r} has no reward with a weight other than 0, so nothing could be learned")


def _in_split(rows: Sequence[Mapping[str, Any]], split: Split, has_test: bool) -> list[Mapping[str, Any]]:
    def place(row: Mapping[str, Any]) -> Split:
        if row.get("held"):
            return "test"
        found = split_of(row["text"])
        return "train" if has_test and found == "test" else found

    return [row for row in rows if place(row) == split]


def _task(env: str, row: Mapping[str, Any], code: str, reading: Reading, judge: FunctionJudge) -> Task:
    text = row["text"]
    problem = Problem(
        id=problem_id("verifiers", f"{env} {text}"),
        text=text,
        answer_format=reading.answer_format,
        extract=reading.extract,
    )
    return Task(
        problem=problem,
        key=json.dumps({"code": code, "data": row["data"]}, sort_keys=True),
        judge=judge.for_problem(text),
        bounded=True,
        reference=row["answer"],
        place=row["place"],
    )
