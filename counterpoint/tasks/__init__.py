"""Task sets: the ones that a recipe can name, and the user's own."""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from counterpoint.errors import ConfigError, CounterpointError, TaskError, unknown
from counterpoint.family import Family, is_own
from counterpoint.judges import build_judge
from counterpoint.judges.base import Judge, Together
from counterpoint.judges.function.judge import FunctionJudge, is_async
from counterpoint.judges.programs.grader import Grader
from counterpoint.judges.text import NumberJudge, same_number, same_text_or_number
from counterpoint.options import Spec
from counterpoint.sandboxes import build_sandbox
from counterpoint.task import JudgeFunction, Task
from counterpoint.tasks._readings import check_readings
from counterpoint.tasks._refused import quoted
from counterpoint.tasks._tables import is_table
from counterpoint.tasks._written import ENDS, end_of_solution
from counterpoint.tasks.base import Splits, splits_of

TASKS: Family[Any] = Family(
    "task",
    {
        "arithmetic": "counterpoint.tasks.arithmetic:arithmetic",
        "gym": "counterpoint.tasks.gym:gym",
        "mathematics": "counterpoint.tasks.mathematics.task:mathematics",
        "programs": "counterpoint.tasks.programs.task:programs",
        "questions": "counterpoint.tasks.questions:questions",
        "synthesis": "counterpoint.tasks.synthesis.task:synthesis",
        "verifiers": "counterpoint.tasks.verifiers:verifiers",
    },
    takes=(Splits, list, tuple),
)
OF_TABLES = ("questions", "mathematics", "programs")
"""The members that make tasks of a table that was given from Python; `task.kind` names one of them."""
_DEFAULT_SANDBOX = Spec(name="fork_server")
_OWN_JUDGE = Spec(name="task")
_SHORT = 100
"""Digits of a number that no judge has trouble with."""


def load_tasks(spec: Spec, sandbox: Spec = _DEFAULT_SANDBOX, judge: Spec = _OWN_JUDGE) -> Splits:
    """The splits that a recipe names, judged by the judge that it names. Raises ConfigError or TaskError.

    A member that takes a `judge` has its programs judged in that sandbox. With any other `judge` than "task" every
    task of every split is scored by that one. No sandbox and no judge runs yet: see `Splits.judging`.
    """
    chosen = build_judge(judge)
    splits = _noted(_loaded(spec, sandbox))
    if is_own(spec.name):
        check_readings(splits.every(), f"task {spec.name!r}")
    if chosen is not None:
        splits = _judged_by(chosen, splits)
    _check_keys(splits, spec.name)
    if chosen is not None:
        return splits
    return _own_judges_bounded(splits)


def _check_keys(splits: Splits, name: str) -> None:
    """Raises TaskError if an answer is compared with a key that none can equal, not even the key itself.

    Where the user's own functions judge, keys are not tried: they may be anything.
    """
    refused = []
    for task in splits.every():
        end = end_of_solution(task.key) if task.judge is same_text_or_number and not task.place else ""
        if end:  # a task that has a place is of a table, whose options say what is meant
            raise TaskError(
                f"task {name!r}: the answer to {quoted(task.problem.text)} is a whole solution {ENDS[end]}; give the"
                f" answer alone, or a judge that reads it, or, for a list of mappings, task.answer_in = {end!r}"
            )
        if task.judge is same_text_or_number and not task.key.strip():
            raise TaskError(
                f"task {name!r}: {quoted(task.problem.text)} has an empty answer; give one, or a judge that needs none"
            )
        bad = next((key for key in task.accepted or (task.key,) if not _takes(task.judge, key)), None)
        if bad is not None:
            place = task.place or f"task {name!r}, {quoted(task.problem.text)}"
            refused.append(f"{place}: the judge does not accept its answer {quoted(bad)} as an answer to itself")
    if refused:
        raise TaskError(
            f"{refused[0]}, so nothing could be right. Of {sum(1 for _ in splits.every())} tasks this holds for"
            f" {len(refused)}; change the answer, or the judge"
        )


def _takes(judge: JudgeFunction, key: str) -> bool:
    """True unless a shipped judge would find the key itself wrong. Whole numbers are right to every one of them."""
    if key.isdecimal() and len(key) <= _SHORT:
        return True
    if judge is same_number:
        return NumberJudge().takes(key)
    owner = getattr(judge, "__self__", None)
    return not isinstance(owner, Judge) or owner.takes(key)


def _noted(splits: Splits) -> Splits:
    """The same splits, whose warnings are kept in the metadata of a run."""
    found = splits.warnings()
    return replace(splits, notes={**splits.notes, "task_warnings": "; ".join(found)}) if found else splits


def _loaded(spec: Spec, sandbox: Spec) -> Splits:
    member = TASKS.find(spec.name)
    if is_table(member) or (isinstance(member, list | tuple) and spec.options):
        return _of_table(member, spec, sandbox)
    grader, given = None, dict[str, Any]()
    parameters = inspect.signature(member).parameters if callable(member) else {}
    if "judge" in parameters:
        grader = Grader(build_sandbox(sandbox))
        given = {"judge": grader.judge}
    if not is_own(spec.name) and "data" in parameters:
        given["data"] = None
    try:
        made: Any = TASKS.build(spec, **given)
        splits = None if is_table(made) else splits_of(made, spec.name)
    except CounterpointError:
        raise
    except Exception as error:  # whatever the user's function raises
        if not is_own(spec.name):
            raise
        raise TaskError(f"task {spec.name!r} raised {type(error).__name__}: {error}") from error
    if splits is None:
        return _of_table(made, Spec(name=spec.name), sandbox)
    return splits if grader is None else replace(splits, judging=grader)


def _of_table(data: object, spec: Spec, sandbox: Spec) -> Splits:
    """The tasks of a data set, a frame or a list of mappings, with the options of the member that `kind` names."""
    options = spec.options
    kind = options.pop("kind", "questions")
    if kind not in OF_TABLES:
        raise ConfigError(unknown("task.kind", str(kind), OF_TABLES))
    refused = next((name for name in ("path", "dataset", "sets") if name in options), None)
    if refused is not None:
        raise ConfigError(f"the tasks are a Python object: task.{refused} must be left out")
    grader = Grader(build_sandbox(sandbox)) if kind == "programs" else None
    given: dict[str, Any] = {"data": data}
    if grader is not None:
        given["judge"] = grader.judge
    splits = splits_of(TASKS.build(Spec(name=kind, **options), **given), kind)
    return splits if grader is None else replace(splits, judging=grader)


def _judged_by(judge: Judge, splits: Splits) -> Splits:
    """The same problems, every answer scored by `judge`; a missing one is wrong."""

    def judged(tasks: Sequence[Task]) -> tuple[Task, ...]:
        return tuple(
            Task(
                problem=task.problem,
                key=task.key,
                judge=judge.for_problem(task.problem.text),
                bounded=judge.bounded,
                reference=task.reference,
                accepted=task.accepted,
                place=task.place,
            )
            for task in tasks
        )

    train, validation, test = (judged(tasks) for tasks in splits.named().values())
    return replace(splits, train=train, validation=validation, test=test, judging=judge)


def _own_judges_bounded(splits: Splits) -> Splits:
    """Plain functions that the user's tasks have as judges run in processes that can be killed, as `judge` would."""
    plain = [
        task.judge
        for tasks in splits.named().values()
        for task in tasks
        if not task.bounded and not is_async(task.judge)
    ]
    if not plain:
        return splits
    functions = [*dict.fromkeys(plain)]
    places = {function: which for which, function in enumerate(functions)}
    judge = FunctionJudge("the task's judge", functions)

    def bounded(tasks: Sequence[Task]) -> tuple[Task, ...]:
        return tuple(
            replace(task, judge=partial(judge.score, places[task.judge], task.problem.text), bounded=True)
            if task.judge in places
            else task
            for task in tasks
        )

    train, validation, test = (bounded(tasks) for tasks in splits.named().values())
    judging = Together([splits.judging, judge])
    return replace(splits, train=train, validation=validation, test=test, judging=judging)
