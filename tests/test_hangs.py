"""A workflow or a judge that hangs, blocks the event loop or calls for ever fails its own episode, and no other."""

import asyncio
import re
import signal
import sys
import threading
import time
from dataclasses import replace
from functools import partial

import pytest
from facts import make_chat, make_limits, make_stage, make_task, same_text

from counterpoint.algorithms.base import Credit
from counterpoint.errors import ConfigError, WorkflowError
from counterpoint.event_loop import run_to_end
from counterpoint.plan.plan import plan
from counterpoint.play import rollout
from counterpoint.recipe import load_config
from counterpoint.task import RIGHT, Problem, Score
from counterpoint.testing.workflow_conformance import check_workflow
from counterpoint.watchdog import watchdog
from counterpoint.workflows.base import Role, workflow

LIMIT = 0.3


def spin():
    while True:
        pass


def spin_through_errors():
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            continue


def spin_through_everything():
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            continue


def sleep():
    time.sleep(1e6)


def leave():
    sys.exit(3)


def match_for_ever():
    re.match(r"(a+)+$", "a" * 60 + "b")


BLOCKING = {
    "spin": spin,
    "errors": spin_through_errors,
    "everything": spin_through_everything,
    "sleep": sleep,
    "expression": match_for_ever,
}


@workflow
async def blocking(problem: Problem, *, generator: Role) -> str | None:
    """Blocks as the problem says."""
    reply = await generator("a")
    if problem.text == "in a task":
        await asyncio.gather(generator("b"), branch())
    elif problem.text in BLOCKING:
        BLOCKING[problem.text]()
    elif problem.text == "tool":
        await asyncio.sleep(LIMIT / 2)
    return reply.answers(reply.text)


async def branch():
    spin()


def played(flow, *texts, run=asyncio.run, judge=same_text, **limits):
    stage, _ = make_stage(flow, lambda policy, prompt: "2")
    tasks = [make_task(text, id=f"{place}-{text}", judge=judge) for place, text in enumerate(texts)]
    known = {"timeout": LIMIT, "judge_timeout": LIMIT}
    groups = run(rollout(stage, tasks, make_limits(**{**known, **limits}), size=1, seed="s"))
    return [group.episodes[0] for group in groups]


def in_a_notebook(work):
    async def cell():
        return run_to_end(work)

    return asyncio.run(cell())


@pytest.mark.parametrize("what", [*BLOCKING, "in a task"])
def test_a_workflow_that_blocks_is_ended_and_shows_where(what):
    began = time.monotonic()
    bad, good = played(blocking, what, "fine")
    assert time.monotonic() - began < 10 * LIMIT
    assert (bad.error_kind, len(bad.calls) >= 1) == ("timeout", True)
    assert re.match(rf"TimeoutError: not finished within {LIMIT} s of its own time \(rollout.timeout\)", bad.error)
    assert re.search(r"\(tests/test_hangs\.py:\d+\)$", bad.error)
    assert "tests/test_hangs.py" in bad.traceback
    assert (good.error, good.score) == (None, RIGHT)


@workflow
async def leaving(problem: Problem, *, generator: Role) -> str | None:
    """Ends the process, as a command-line tool does."""
    if problem.text == "at once":
        leave()
    if problem.text == "in a task":
        await asyncio.gather(generator("a"), leave_in_a_task())
    return "2"


async def leave_in_a_task():
    leave()


@pytest.mark.parametrize("where", ["at once", "in a task"])
def test_a_workflow_that_ends_the_process_fails_alone(where):
    bad, good = played(leaving, where, "fine")
    assert bad.error_kind == "workflow"
    assert re.match(r"RuntimeError: it called sys.exit\(3\) \(tests/test_hangs\.py:\d+\)$", bad.error)
    assert (good.error, good.score) == (None, RIGHT)


@pytest.mark.parametrize("what", ["spin", "errors", "in a task"])
def test_in_a_notebook_too(what):
    bad, good = played(blocking, what, "fine", run=in_a_notebook)
    assert bad.error_kind == "timeout"
    assert re.search(r"\(tests/test_hangs\.py:\d+\)$", bad.error)
    assert good.score == RIGHT


def test_the_time_in_which_one_blocks_is_not_charged_to_those_who_wait_for_the_world():
    bad, *good = played(blocking, "spin", "tool", "tool")
    assert bad.error_kind == "timeout"
    assert [one.error for one in good] == [None, None]


@workflow
async def deaf(problem: Problem, *, generator: Role) -> str | None:
    """Swallows its cancellation."""
    await generator("a")
    while problem.text == "deaf":
        try:
            await asyncio.sleep(60)
        except BaseException:
            continue
    return "2"


def test_a_workflow_that_swallows_its_cancellation_is_not_continued(monkeypatch):
    monkeypatch.setattr("counterpoint.play._clock.GRACE", 0.1)
    bad, good = played(deaf, "deaf", "fine", timeout=0.05)
    assert (bad.error_kind, good.score) == ("timeout", RIGHT)


@workflow
async def calling(problem: Problem, *, generator: Role) -> str | None:
    """Calls for ever, in one way or another."""
    if problem.text == "in turn":
        while True:
            await generator("a")
    if problem.text == "at once":
        await asyncio.gather(*(generator("a") for _ in range(10**9)))
    while problem.text == "whatever happens":
        try:
            await generator("a")
        except Exception:
            continue
    return (await generator("a")).text


@pytest.mark.parametrize(("what", "calls"), [("in turn", 20), ("at once", 0), ("whatever happens", 20)])
@pytest.mark.filterwarnings("error")
def test_an_episode_with_too_many_calls_fails_and_names_the_key(what, calls):
    bad, good = played(calling, what, "fine", max_calls=20, timeout=60.0)
    assert bad.error_kind == "calls"
    assert bad.error.startswith(
        "TooManyCallsError: generator: an episode may make at most 20 calls (rollout.max_calls = 20) (tests/test_hangs"
    )
    assert len(bad.calls) == calls
    assert good.score == RIGHT


def test_as_many_calls_as_are_allowed_are_no_error():
    @workflow
    async def thrice(problem: Problem, *, generator: Role) -> str | None:
        return [(await generator("a")).text for _ in range(3)][-1]

    assert played(thrice, "fine", max_calls=3)[0].score == RIGHT


async def judge_that_blocks(answer: str, key: str) -> Score:
    spin()
    return RIGHT


def test_a_judge_that_blocks_has_not_judged_and_holds_up_nobody():
    stage, _ = make_stage(blocking, lambda policy, prompt: "2")
    tasks = [make_task("fine", id="bad", judge=judge_that_blocks), make_task("fine", id="good")]
    limits = make_limits(judge_timeout=LIMIT)
    bad, good = (group.episodes[0] for group in asyncio.run(rollout(stage, tasks, limits, size=1, seed="s")))
    assert (bad.score.reward, bad.error_kind) == (None, "judge")
    assert bad.score.reason.startswith(
        f"the judge took longer than {LIMIT} s (rollout.judge_timeout) (tests/test_hangs"
    )
    assert good.score == RIGHT


def test_a_task_whose_reading_of_answers_blocks_is_ended():
    @workflow
    async def reading(problem: Problem, *, generator: Role) -> str | None:
        return problem.extract((await generator("a")).text)

    stage, _ = make_stage(reading, lambda policy, prompt: "2")
    bad, good = make_task(id="bad"), make_task(id="good")
    bad = replace(bad, problem=replace(bad.problem, extract=lambda reply: spin()))
    groups = asyncio.run(rollout(stage, [bad, good], make_limits(timeout=LIMIT), size=1, seed="s"))
    assert [group.episodes[0].error_kind for group in groups] == ["timeout", None]


def test_the_time_that_a_sampler_takes_counts_for_nobody():
    def slow(policy, prompt):
        time.sleep(2 * LIMIT)
        return "2"

    stage, _ = make_stage(blocking, slow)
    (group,) = asyncio.run(rollout(stage, [make_task("fine")], make_limits(timeout=LIMIT), size=1, seed="s"))
    assert group.episodes[0].score == RIGHT


def test_a_timer_and_a_handler_of_somebody_else_survive():
    rang = []
    before = signal.signal(signal.SIGALRM, lambda *_: rang.append(time.monotonic()))
    try:
        signal.setitimer(signal.ITIMER_REAL, LIMIT / 3)
        handler, began = signal.getsignal(signal.SIGALRM), time.monotonic()
        bad, _ = played(blocking, "spin", "fine")
        assert bad.error_kind == "timeout"
        assert signal.getsignal(signal.SIGALRM) is handler
        assert [when - began < LIMIT for when in rang] == [True]
        signal.setitimer(signal.ITIMER_REAL, 2 * LIMIT)
        played(blocking, "fine")
        time.sleep(3 * LIMIT)
        assert len(rang) == 2
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_nothing_is_watched_after_a_rollout():
    played(blocking, "fine")
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert not watchdog().allowances
    played(blocking, "fine", run=in_a_notebook)
    time.sleep(0.3)
    assert "counterpoint-watchdog" not in [thread.name for thread in threading.enumerate()]


def test_a_task_that_an_episode_shares_with_all_others_lives_on():
    inbox: list[asyncio.Future[str]] = []
    server: list[asyncio.Task[None]] = []

    async def serve():
        while True:
            await asyncio.sleep(0.001)
            while inbox:
                inbox.pop().set_result("2")

    @workflow
    async def asking(problem: Problem, *, generator: Role) -> str | None:
        if not server:
            server.append(asyncio.create_task(serve()))
        for _ in range(int(problem.text)):
            inbox.append(asyncio.get_running_loop().create_future())
            await inbox[-1]
        return (await generator("a")).text

    assert [one.score for one in played(asking, "1", "20", timeout=5.0)] == [RIGHT, RIGHT]


def test_watching_costs_microseconds_a_call():
    @workflow
    async def busy(problem: Problem, *, generator: Role) -> str | None:
        for _ in range(2000):
            await asyncio.sleep(0)
        return "2"

    def seconds(work):
        """CPU time of all threads, the one that watches among them: other processes cost none of it."""
        began = time.process_time()
        work()
        return time.process_time() - began

    async def bare():
        for _ in range(2000):
            await asyncio.sleep(0)

    watched = partial(played, busy, "fine", timeout=60.0)
    spent = min(seconds(watched) - seconds(lambda: asyncio.run(bare())) for _ in range(3))
    assert spent / 2000 < 50e-6


def test_a_rehearsal_has_a_short_limit_and_says_that_it_is_one(monkeypatch):
    monkeypatch.setattr("counterpoint.plan.rehearsal.REHEARSAL_SECONDS", LIMIT)
    monkeypatch.setattr("counterpoint.base_model.load_chat", lambda model: make_chat())
    with pytest.raises(WorkflowError) as error:
        plan(load_config("voting_arithmetic", ["workflow=test_hangs:spinning", "run.threads=1"]))
    first = str(error.value).splitlines()[0]
    assert first.startswith(
        r"in a rehearsal without a model, in which every role replies '\\boxed{1}': the only episode of"
    )
    assert f"not finished within {LIMIT} s of its own time (the limit of a rehearsal), after 1 call (tests/" in first


def test_check_workflow_has_a_short_limit_and_names_it(monkeypatch):
    monkeypatch.setattr("counterpoint.testing.workflow_conformance.EPISODE_SECONDS", LIMIT)
    with pytest.raises(
        AssertionError, match=r"within 0.3 s of its own time \(the limit of check_workflow\), after 1 call"
    ):
        check_workflow(spinning)


@workflow
async def spinning(problem: Problem, *, generator: Role) -> str | None:
    await generator("a")
    while True:
        pass


@workflow
async def forgetful(problem: Problem, *, generator: Role) -> str | None:
    return generator("a").text if problem.text == "forgets" else (await generator("a")).text


def test_a_forgotten_await_gets_a_hint():
    bad, good = played(forgetful, "forgets", "fine")
    hint = "'coroutine' object has no attribute 'text'; is an `await` missing before the call? (tests/test_hangs.py:"
    assert hint in bad.error
    assert good.error is None


def by_claim(groups):
    """A credit that gives the calls of an episode different rewards."""
    return [
        Credit(episode=episode, call=call, reward=call.score or 0.0)
        for group in groups
        for episode in group.episodes
        for call in episode.calls
    ]


def test_a_plan_finds_a_credit_and_an_advantage_that_do_not_fit():
    overrides = ["algorithm.credit=test_hangs:by_claim", "algorithm.advantage=grpo", "run.threads=1"]
    with pytest.raises(ConfigError, match=r"needs one reward per episode, but .* use an advantage over calls"):
        plan(load_config("voting_arithmetic", overrides))
