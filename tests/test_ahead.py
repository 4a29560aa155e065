"""Overlap: the next step is played while this one is learned, and nothing else is different."""

import asyncio
import copy
import dataclasses
import time
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace

import pytest
from test_interrupts import Interrupt, train_until_cancelled
from test_learning import GAINS, LESS
from test_resume import assert_same, resumed
from torch_build import session_folder, start, tiny_config, tiny_folder, trained

from counterpoint import training
from counterpoint.ahead import Ahead, bubbles, lines_about_overlap, looks_ahead
from counterpoint.episode import calls_of, read_episodes
from counterpoint.errors import ConfigError, EngineError, ProofError
from counterpoint.event_loop import Aside
from counterpoint.interventions.base import Stop
from counterpoint.learners.peft import Peft
from counterpoint.proof import Proof, check_versions
from counterpoint.recipe import config_from, load_config
from counterpoint.run import Run
from counterpoint.samplers.in_process import in_process

STEPS = {
    "task": {"validation": 2, "test": 2},
    "sampler": {"name": "test_ahead:slow"},
    "policies": {"sharing": "shared"},
    "rollout": {"tasks_per_step": 2, "group_size": 4, "max_tokens": 5},
    "algorithm": {"old_logprobs": "sampler", "without_signal": "keep"},
    "evaluation": {"every": 3},
    "run": {"steps": 6, "save_every": 3, "proof_calls": 2, "overlap": 1, "seed": 4},
}
"""Recipe with a signal in every step, so that every step makes a new version."""
LAGS = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]
"""Of the steps: 1 and 4 are played after nothing, or after a pause."""


class Slow:
    """Generates with a copy of the base, so that it shares nothing with the learner, and takes its time over a wave.

    A session that asks for nothing holds the wave up. Calls that waited one by one would be computed in batches that
    depend on the time, which would change rounding.
    """

    delay = 0.02
    fails_at = 0
    """The number of the call at which the engine dies; 0: never."""

    def __init__(self, bases):
        self.inner = in_process([_Copied(base) for base in bases])
        self.open, self.calls, self.loads, self._held = 0, 0, 0, None
        LAST[:] = [self]

    @contextmanager
    def session(self):
        self.open += 1
        try:
            with self.inner.session() as session:
                yield _Delayed(self, session)
        finally:
            self.open -= 1

    async def load(self, adapters):
        assert not self.open, "weights are published while episodes are under way"
        self.loads += 1
        await self.inner.load(adapters)

    def digests(self):
        return self.inner.digests()

    def hold(self):
        if self._held is None or self._held.done():
            self._held = asyncio.create_task(self._hold())

    async def _hold(self):
        with self.inner.session():
            await asyncio.sleep(Slow.delay)


class _Delayed:
    def __init__(self, sampler, session):
        self._sampler, self._session = sampler, session

    async def sample(self, request):
        self._sampler.calls += 1
        if self._sampler.calls == Slow.fails_at:
            raise EngineError("the engine died")
        self._sampler.hold()
        return await self._session.sample(request)


class _Copied:
    def __init__(self, base):
        self._base, self.has_learner = base, False
        self.model = copy.deepcopy(base.model)

    def __getattr__(self, name):
        return getattr(self._base, name)


def slow(bases):
    return Slow(bases)


def beside(bases):
    """The shipped sampler on copies of the bases."""
    return in_process([_Copied(base) for base in bases])


LAST: list[Slow] = []


def started(path, **changes):
    return start(path, {**STEPS, **changes})


@cache
def unbroken() -> Run:
    run = trained(started(session_folder() / "unbroken-ahead"))
    assert all(row["policy/shared/trained"] for row in run.metric_rows()), "lags can be told apart only if all train"
    return run


def test_the_seconds_of_a_step_are_its_own_also_if_the_next_one_has_ended_before_they_are_told(monkeypatch):
    config = SimpleNamespace(run=SimpleNamespace(overlap=1, save_every=9, steps=9), evaluation=SimpleNamespace(every=9))
    adapter = SimpleNamespace(policy="p", version=0)
    learner = SimpleNamespace(adapters=lambda: [adapter])
    seconds, now = {1: 1.0, 2: 20.0, 3: 400.0, 4: 8000.0}, [0.0]
    monkeypatch.setattr("counterpoint.ahead.perf_counter", lambda: now[0])

    async def play(*, step):
        now[0] += seconds[step]
        return []

    async def load(adapters):
        pass

    async def told():
        async with Ahead(config, SimpleNamespace(learner=learner, sampler=SimpleNamespace(load=load))) as ahead:
            await ahead.begin(play)
            found = {}
            for step in (1, 2, 3):
                await ahead.take(play, step=step)
                ahead.start(play, step=step + 1)
                await ahead.ended()
                await ahead.publish([adapter])
                found[step] = ahead.numbers().get("time/ahead")
            return found

    assert asyncio.run(told()) == {1: None, 2: 20.0, 3: 400.0}


def versions(run, step):
    """Policy -> the versions that generated the calls of a step."""
    found = {}
    for _, call in calls_of(read_episodes(run.path / "episodes" / f"{step:06d}.parquet")):
        found.setdefault(call.policy, set()).add(call.version)
    return found


def test_each_step_learns_from_weights_that_are_one_step_old_or_after_a_pause_from_the_newest():
    rows = unbroken().metric_rows()
    (policy,) = versions(unbroken(), 1)
    assert [row[f"policy/{policy}/lag"] for row in rows] == LAGS
    for row, lag in zip(rows, LAGS, strict=True):
        assert versions(unbroken(), row["step"]) == {policy: {row["step"] - 1 - lag}}
        assert ("time/ahead" in row) == (lag > 0)


def test_calls_are_proved_under_the_weights_that_spoke_and_say_how_far_the_learner_went_since():
    rows = unbroken().metric_rows()
    (policy,) = versions(unbroken(), 1)
    for row, lag in zip(rows, LAGS, strict=True):
        assert row[f"policy/{policy}/mismatch"] < 1e-4
        assert (row[f"policy/{policy}/off_policy"] > 1e-4) == (lag > 0)


def test_calls_that_are_proved_under_newer_weights_stop_the_run(tmp_path, monkeypatch):
    spoken = Proof.spoken
    monkeypatch.setattr(Proof, "spoken", lambda self, groups, under: spoken(self, groups))
    with pytest.raises(ProofError, match="differ by more"):
        trained(started(tmp_path / "run"))


def test_an_episode_of_two_versions_is_refused():
    groups = [*read_groups(1)]
    (policy,) = versions(unbroken(), 1)
    known = dataclasses.make_dataclass("Known", ["version"])
    check_versions(groups, {policy: known(0)})
    with pytest.raises(ProofError, match="was generated with version 0, but the episode began with version 1"):
        check_versions(groups, {policy: known(1)})


def read_groups(step):
    return read_episodes(unbroken().path / "episodes" / f"{step:06d}.parquet")


def test_the_next_step_is_played_while_this_one_is_learned_except_at_a_pause(tmp_path, monkeypatch):
    backward, seen, whole = Peft.backward, [], unbroken()

    def watched(self, *arguments, **options):
        before, until = LAST[0].calls, time.monotonic() + 2
        while LAST[0].calls == before and time.monotonic() < until:
            time.sleep(0.005)  # the event loop must go on meanwhile
        seen.append(LAST[0].calls > before)
        return backward(self, *arguments, **options)

    monkeypatch.setattr(Peft, "backward", watched)
    monkeypatch.setattr(Slow, "delay", 0.3)  # calls of the aggregator come after learning has begun
    assert_same(trained(started(tmp_path / "run")), whole)
    assert seen == [True, True, False, True, True, False]


@pytest.mark.slow
def test_a_team_that_learns_from_the_step_before_gets_better_as_one_that_does_not(tmp_path):
    recipe = "voting_arithmetic"
    ahead = ["run.save_every=10", "run.overlap=1", "algorithm.old_logprobs=sampler", "sampler.name=test_ahead:beside"]
    run = Run.create(tmp_path / "run", load_config(recipe, ["policies.sharing=shared", *LESS, *ahead]), {})
    rows = trained(run).metric_rows()
    assert [row["policy/shared/lag"] for row in rows] == [0.0] + [1.0] * 9
    assert all(row["policy/shared/mismatch"] < 1e-4 for row in rows)
    test = {row["step"]: row["accuracy"] for row in run.evaluation_rows() if row["split"] == "test"}
    assert test[10] - test[0] > GAINS[recipe]  # what is asked of it without overlap


# Kills and interrupts


PHASES = {
    "while the first step is played": ("act", 1, 0),
    "as the next step begins to be played": ("act", 2, 1),
    "while a step is judged": ("add_samples", 2, 2),
    "while a step is learned": ("backward", 4, 4),
    "while a step is learned alone": ("backward", 3, 3),
    "while a step is kept": ("add_metrics", 5, 5),
    "before an evaluation": ("add_metrics", 3, 3),
}


def owner_of(name):
    return {"act": training, "backward": Peft}.get(name, Run)


@pytest.mark.parametrize("phase", PHASES)
def test_a_run_that_is_interrupted_goes_on_as_if_nothing_had_been(phase, tmp_path, monkeypatch):
    name, at, last = PHASES[phase]
    with monkeypatch.context() as patch:
        interrupt = Interrupt(patch, owner_of(name), name, at)
        train_until_cancelled(started(tmp_path / "run"))
    assert interrupt.came
    assert Run.read(tmp_path / "run").checkpoints()[-1] == last
    assert_same(resumed(tmp_path / "run"), unbroken())


def test_a_killed_run_goes_on_from_its_last_checkpoint_as_if_nothing_had_been(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(self, step, rows):
        if step == 5:
            raise Killed
        return kept(self, step, rows)

    kept = Run.add_samples
    with monkeypatch.context() as patch:
        patch.setattr(Run, "add_samples", killed)
        with pytest.raises(Killed):
            trained(started(tmp_path / "run"))
    assert Run.read(tmp_path / "run").checkpoints() == [0, 3]
    assert LAST[0].open == 0
    assert_same(resumed(tmp_path / "run"), unbroken())


# What ends a run while the next step is under way


def test_an_engine_that_dies_ends_the_run_before_anything_is_published_and_it_can_be_resumed(tmp_path, monkeypatch):
    trained(started(tmp_path / "whole"))
    until = LAST[0].calls
    with monkeypatch.context() as patch:
        patch.setattr(Slow, "fails_at", until // 3)
        with pytest.raises(EngineError, match="the engine died"):
            trained(started(tmp_path / "run"))
    assert LAST[0].open == 0
    assert_same(resumed(tmp_path / "run"), unbroken())


@pytest.mark.parametrize("back", [False, True])
def test_a_run_that_is_stopped_forgets_what_was_played_ahead(back, tmp_path, monkeypatch):
    build = training.build_interventions

    def stopping(*arguments):
        found = build(*arguments)
        found.stop = lambda numbers: Stop("enough", roll_back=back) if numbers[lag] and next(count) else None
        return found

    (policy,) = versions(unbroken(), 1)
    lag, count = f"policy/{policy}/lag", iter([False, False, True])
    monkeypatch.setattr(training, "build_interventions", stopping)
    run = trained(started(tmp_path / "run"))
    assert [row["step"] for row in run.metric_rows()] == [1, 2, 3, 4, 5]
    assert sorted(path.name for path in (run.path / "episodes").iterdir())[-1] == "000005.parquet"
    assert not list((run.path / "checkpoints").rglob("ahead.json"))
    digests = run.checkpoint_state(5)["digests"]
    assert LAST[0].digests() == digests
    assert LAST[0].open == 0


# Recipes


def recipe(**changes):
    return tiny_config(tiny_folder(), {**STEPS, **changes})


def test_the_plan_says_how_many_steps_are_played_alone():
    config = recipe()
    assert [looks_ahead(config, step) for step in range(1, 7)] == [True, True, False, True, True, False]
    assert bubbles(config) == 2
    assert lines_about_overlap(config) == [
        "overlap     4 of 6 steps played while the one before is learned; 2 not: the first, and those after an"
        " evaluation or a checkpoint"
    ]
    assert lines_about_overlap(recipe(run={**STEPS["run"], "overlap": 0})) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run": {"overlap": 2}}, "run.overlap = 2: at most one step"),
        ({"run": {"overlap": 1}, "sampler": "in_process"}, "generates and learns in one process"),
        ({"run": {"overlap": 1}, "sampler": "test_ahead:slow"}, "does not account for"),
    ],
)
def test_what_cannot_be_played_ahead_is_refused_in_one_line(changes, said):
    with pytest.raises(ConfigError, match=said) as caught:
        config_from({**changes})
    assert "\n" not in str(caught.value)


def test_a_thread_aside_gives_results_and_errors_and_sees_what_is_known_here():
    async def main():
        aside = Aside("aside")
        assert await aside.begin(lambda: 3) == 3
        with pytest.raises(ZeroDivisionError):
            await aside.begin(lambda: 1 // 0)
        aside.close()

    asyncio.run(main())


def test_a_step_that_was_not_played_ahead_is_never_given_out_as_one_that_was():
    async def main():
        async def play(*, step):
            return []

        runtime = dataclasses.make_dataclass("Runtime", ["learner", "sampler"])(None, None)
        async with Ahead(recipe(), runtime) as ahead:
            ahead.start(play, step=2)
            await ahead.ended()
            with pytest.raises(RuntimeError, match="step 2 was played ahead, but step 3"):
                await ahead.take(play, step=3)

    asyncio.run(main())
