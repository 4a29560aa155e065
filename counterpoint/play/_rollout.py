"""Every task played and judged, side by side."""

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from counterpoint.clock import timed
from counterpoint.episode import Episode, ErrorKind, Group
from counterpoint.errors import (
    ConversationError,
    EndpointError,
    PromptLengthError,
    TaskError,
    TooManyCallsError,
    WorkflowError,
    first_of,
    folded_traceback,
    located,
    told,
)
from counterpoint.play._calls import Calls, Exchange
from counterpoint.play._clock import Clock, is_cancelled
from counterpoint.play._engine import Engine
from counterpoint.play._scoring import Judged, TaskJudge, scored
from counterpoint.play.base import Limits, Stage
from counterpoint.task import Problem, Task, not_judged
from counterpoint.watchdog import watching
from counterpoint.workflows.base import Workflow, check_text

_OWNERS: Mapping[ErrorKind, str] = {"task": "the task", "endpoint": "an endpoint"}
"""Whom the reason of a score that is missing names; for all other kinds it is the workflow."""


async def rollout(
    stage: Stage, tasks: Sequence[Task], limits: Limits, *, size: int, seed: str, may_fail: bool = False
) -> list[Group]:
    """Play every task `size` times, all at once, and judge the answers. Returns one group per task.

    `seed` names this rollout; each call's seed is a function of it and the call's identity. Equal arguments and weights
    give equal groups. An episode that fails is recorded with its error. Raises WorkflowError if every episode failed,
    unless endpoints are the only reason or it `may_fail`, and EngineError if the sampler died; then every episode has
    been cancelled.
    """
    plays = [(task, index) for task in tasks for index in range(size)]
    with watching():
        played = await _play_all(stage, plays, limits, seed)
        judges = {task.problem.id: TaskJudge(task, limits.judge_timeout) for task in tasks}
        with timed("judging"):
            episodes = await asyncio.gather(
                *(
                    _judged(task, index, one, judges[task.problem.id])
                    for (task, index), one in zip(plays, played, strict=True)
                )
            )
    if not may_fail:
        _check_some_finished(stage.workflow, episodes)
    return [
        Group(task=task.problem.id, episodes=tuple(episodes[index * size : (index + 1) * size]))
        for index, task in enumerate(tasks)
    ]


def _check_some_finished(workflow: Workflow, episodes: Sequence[Episode]) -> None:
    failed = [episode for episode in episodes if episode.error is not None]
    if len(failed) == len(episodes) and any(episode.error_kind != "endpoint" for episode in failed):
        first = f"{failed[0].error}\n{failed[0].traceback}".rstrip()
        which = "the only episode" if len(failed) == 1 else f"all {len(failed)} episodes"
        raise WorkflowError(f"{which} of workflow {workflow.name!r} failed; first: {first}")


@dataclass(frozen=True, slots=True)
class _Played:
    """An episode before anything is judged."""

    exchanges: Sequence[Exchange]
    answer: str | None
    error: str | None = None
    error_kind: ErrorKind | None = None
    traceback: str = ""


async def _play_all(stage: Stage, plays: Sequence[tuple[Task, int]], limits: Limits, seed: str) -> list[_Played]:
    """Every play, side by side. If the engine dies, the others are cancelled and nothing of them is left running."""
    engine = Engine()
    try:
        async with asyncio.TaskGroup() as group:
            playing = [
                group.create_task(_play(stage, engine, task, limits, f"{seed}/{task.problem.id}/{index}"))
                for task, index in plays
            ]
    except BaseExceptionGroup as failed:
        await engine.abandon()
        first = failed.exceptions[0]
        raise first from first.__cause__
    return [one.result() for one in playing]


async def _play(stage: Stage, engine: Engine, task: Task, limits: Limits, seed: str) -> _Played:
    clock = Clock(limits.timeout)
    with stage.sampler.session() as session:
        calls = Calls(stage, engine, session, clock, limits, seed)
        failure: BaseException | None = None
        answer = None
        try:
            answer = await clock.run(_answer(stage.workflow, task.problem, calls))
        except Exception as error:  # whatever a workflow raises is recorded as the failure of its episode
            failure = first_of(error)
        except asyncio.CancelledError as error:
            if is_cancelled():
                engine.check()
                raise
            failure = error  # nobody cancelled the episode: the workflow awaited something that was
        finally:
            calls.close()
        engine.check()
        failure = calls.too_many or failure
        if failure is None:
            return _Played(calls.by_start(), answer)
        return _failed(failure, calls, clock, limits)


async def _answer(workflow: Workflow, problem: Problem, calls: Calls) -> str | None:
    answer = await workflow(_readable(problem), calls.roles())
    if answer is not None:
        check_text("a workflow's answer", answer, "text or None")
    return answer


def _failed(failure: BaseException, calls: Calls, clock: Clock, limits: Limits) -> _Played:
    exchanges = calls.by_start()
    if clock.expired and calls.too_many is None:
        count = f"{len(exchanges)} call{'' if len(exchanges) == 1 else 's'}"
        limit = f"{limits.timeout:g} s of its own time ({limits.timeout_name})"
        error = located(f"TimeoutError: not finished within {limit}, after {count}", failure)
        return _Played(exchanges, None, error, "timeout", folded_traceback(failure))
    kind, error = _kind(failure), told(failure).rstrip(": ")
    shown = error if kind == "endpoint" else located(error, failure)
    # What a template says is about a conversation, and none of the lines of a traceback is.
    traceback = "" if isinstance(failure, ConversationError) else folded_traceback(failure)
    return _Played(exchanges, None, shown, kind, traceback)


def _kind(failure: BaseException) -> ErrorKind:
    match failure:
        case PromptLengthError():
            return "overflow"
        case TooManyCallsError():
            return "calls"
        case EndpointError():
            return "endpoint"
        case TaskError():
            return "task"
        case _:
            return "workflow"


def _readable(problem: Problem) -> Problem:
    """The problem, whose errors in reading an answer are the task's and not those of the workflow that asks for it."""
    return replace(problem, extract=_checked(problem.extract))


def _checked(extract: Callable[[str], str | None]) -> Callable[[str], str | None]:
    def read(reply: str) -> str | None:
        try:
            answer = extract(reply)
        except Exception as error:  # whatever the function of a task raises
            said = located(f"the task cannot read the answer in a reply: {told(error)}", error)
            raise TaskError(said) from error
        if inspect.iscoroutine(answer):
            answer.close()
            raise TaskError("the task must read text or None in a reply, not coroutine: its function must not be async")
        if not isinstance(answer, str | None):
            raise TaskError(f"the task must read text or None in a reply, not {type(answer).__name__}")
        return answer

    return read


async def _judged(task: Task, index: int, played: _Played, judge: TaskJudge) -> Episode:
    if played.error is None:
        judged = await judge.judge(played.answer)
    else:
        owner = _OWNERS.get(played.error_kind or "workflow", "the workflow")
        judged = Judged(not_judged(f"{owner} failed: {played.error}"))
    calls, claims = [one.call for one in played.exchanges], [one.reply.claim for one in played.exchanges]
    return Episode(
        task=task.problem.id,
        rollout=index,
        problem=task.problem.text,
        calls=await scored(calls, claims, judge),
        answer=played.answer,
        score=judged.score,
        error=played.error,
        error_kind="judge" if judged.failed else played.error_kind,
        traceback=judged.traceback or played.traceback,
        key=task.recorded_key,
    )
