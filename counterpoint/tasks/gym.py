"""The data sets of reasoning-gym: generated problems, each data set with its own scorer, without network."""

import json
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any

from pydantic import Field

from counterpoint.boxes import last_box
from counterpoint.errors import ConfigError, TaskError, unknown
from counterpoint.judges._process import Program
from counterpoint.judges.gym.judge import PROGRAM, GymJudge
from counterpoint.task import Problem, Task
from counterpoint.tasks._answers import BOXED_FORMAT
from counterpoint.tasks._splits import problem_id
from counterpoint.tasks.base import Splits

_MAKING_SECONDS = 1800.0


def gym(
    *,
    dataset: str,
    options: dict[str, Any] | None = None,
    train: Annotated[int, Field(ge=1)] = 2048,
    validation: Annotated[int, Field(ge=1)] = 128,
    test: Annotated[int, Field(ge=1)] = 256,
    seed: int = 0,
    judge_seconds: Annotated[float, Field(gt=0)] = 5.0,
) -> Splits:
    r"""Problems of the reasoning-gym data set of that name; `options` are its difficulty parameters.

    The splits come from different seeds, and no text is in two of them or twice in one. An answer, read from the last
    `\boxed{...}`, gets the reward that the data set's own scorer gives, partial scores included; scoring it may take
    `judge_seconds` of processor time. The same options give the same tasks with the same version of reasoning-gym.

    Raises ConfigError if reasoning-gym is not installed, or has no such data set or option, and TaskError if the
    options allow too few problems.
    """
    if find_spec("reasoning_gym") is None:
        raise ConfigError("task 'gym' needs reasoning-gym, which is missing: `pip install 'counterpoint[gym]'`")
    about = {"dataset": dataset, "options": options or {}}
    counts = {"train": train, "validation": validation, "test": test}
    judge = GymJudge(about, judge_seconds)
    tasks: dict[str, list[Task]] = {split: [] for split in counts}
    for row in _made({**about, "counts": counts, "seed": seed}):
        tasks[row["split"]].append(_task(dataset, row, judge))
    return Splits(
        train=tuple(tasks["train"]), validation=tuple(tasks["validation"]), test=tuple(tasks["test"]), judging=judge
    )


def _made(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The problems, split by split. Raises ConfigError or TaskError."""
    name = asked["dataset"]
    try:
        question = json.dumps(asked)
    except TypeError as error:
        raise ConfigError(f"task.gym.options cannot be handed to {name!r}: {error}") from error
    program = Program(name="reasoning-gym", file=PROGRAM, arguments=("make",), patience=_MAKING_SECONDS)
    try:
        done = subprocess.run(
            program.command,
            input=question.encode() + b"\n",
            capture_output=True,
            env=dict(program.environment),
            cwd=program.folder,
            check=False,
            timeout=program.patience,
        )
    except subprocess.TimeoutExpired:
        raise TaskError(f"gym: {name}: its problems were not made within {_MAKING_SECONDS:g} s") from None
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    last = rows.pop() if rows else {}
    if "unknown" in last:
        raise ConfigError("task.gym: " + unknown(last["unknown"], last["name"], last["allowed"]))
    if "refused" in last:
        raise ConfigError(f"task.gym: {name!r} refuses these options: {last['refused']}")
    if "short" in last:
        raise TaskError(f"gym: {name}: {last['short']}")
    if "end" not in last:
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise TaskError(f"gym: {name}: its problems cannot be made: {reason}")
    return rows


def _task(dataset: str, row: Mapping[str, Any], judge: GymJudge) -> Task:
    text = row["question"]
    problem = Problem(id=problem_id(f"gym-{dataset}", text), text=text, answer_format=BOXED_FORMAT, extract=last_box)
    key = json.dumps({"problem": problem.id, "answer": row["answer"]})
    reference = None if row["answer"] is None else str(row["answer"])
    judge.know(key, row["entry"])
    return Task(problem=problem, key=key, judge=judge.judge, bounded=True, reference=reference)
