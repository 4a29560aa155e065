"""A run that is interrupted in any phase of a step keeps its last whole step, and goes on as if nothing had been."""

import asyncio
import os
import signal
import subprocess
import time
from contextlib import contextmanager

import pytest
from facts import make_limits, make_stage, make_task
from test_hangs import LIMIT, blocking, in_a_notebook
from test_resume import assert_same, resumed, started, unbroken

from counterpoint import training
from counterpoint.event_loop import Terminated, run_to_end
from counterpoint.play import rollout
from counterpoint.run import Run


class Interrupt:
    """Interrupts the training at one place: as a signal does, it cancels the task that trains."""

    def __init__(self, monkeypatch, owner, name, at):
        self._count, self._at, self.came = 0, at, False
        original = getattr(owner, name)

        def counted(*arguments, **options):
            self._count += 1
            if self._count == at:
                self.came = True
                TASK[0].cancel()
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)


TASK: list[asyncio.Task] = []


def train_until_cancelled(run):
    async def main():
        TASK[:] = [asyncio.current_task()]
        await training.train(run)

    with run, pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


def owner_of(place):
    return {"act": training, "evaluate": training}.get(place, Run)


PHASES = {
    "before the first step": ("evaluate", 2, [], None),
    "in the act of the first step": ("act", 1, [0], None),
    "in the act of a later step": ("act", 5, [0, 3, 4], None),
    "after a regular checkpoint": ("act", 4, [0, 3], None),
    "while the step is judged": ("add_samples", 2, [0, 2], None),
    "while the step is kept": ("add_metrics", 5, [0, 3, 5], None),
    "before an evaluation": ("add_metrics", 3, [0, 3], {"rolled_back": False}),
    "in the evaluation of the test split": ("evaluate", 4, [0, 3], {"rolled_back": False}),
    "in the last evaluation": ("evaluate", 6, [0, 3, 6], {"rolled_back": False}),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_run_that_is_interrupted_goes_on_as_if_nothing_had_been(phase, tmp_path, monkeypatch):
    name, at, saved, missing = PHASES[phase]
    with monkeypatch.context() as patch:
        interrupt = Interrupt(patch, owner_of(name), name, at)
        train_until_cancelled(started(tmp_path / "run"))
    run = Run.read(tmp_path / "run")
    assert interrupt.came
    assert run.checkpoints() == saved
    if saved:
        assert run.checkpoint_state(saved[-1]).get("evaluation") == missing
    assert not run.is_finished
    assert_same(resumed(tmp_path / "run"), unbroken())


def test_a_run_that_is_interrupted_again_and_again_goes_on_too(tmp_path, monkeypatch):
    run, saved = started(tmp_path / "run"), []
    for name, at in (("act", 2), ("act", 2), ("evaluate", 1), ("evaluate", 2), ("add_metrics", 2)):
        with monkeypatch.context() as patch:
            Interrupt(patch, owner_of(name), name, at)
            train_until_cancelled(run)
        saved.append(run.checkpoints())
        run = Run.open(tmp_path / "run")
    run.close()
    assert saved == [[0, 1], [0, 2], [0, 3], [0, 3], [0, 3, 5]]
    assert_same(resumed(tmp_path / "run"), unbroken())


def test_a_sampler_that_awaits_while_it_is_given_weights_is_not_disturbed(tmp_path, monkeypatch):
    from counterpoint.samplers.in_process import InProcess

    load, loads = InProcess.load, []

    async def slow(self, adapters):
        loads.append(len(loads))
        await asyncio.sleep(0)
        if len(loads) == 5:  # two random adapters, the first weights, and those of two steps
            TASK[0].cancel()
        await asyncio.sleep(0)
        await load(self, adapters)

    with monkeypatch.context() as patch:
        patch.setattr(InProcess, "load", slow)
        train_until_cancelled(started(tmp_path / "run"))
    assert Run.read(tmp_path / "run").checkpoints() == [0, 2]
    assert_same(resumed(tmp_path / "run"), unbroken())


# Signals


@contextmanager
def after(seconds, *signals):
    """This process gets the signals, one after the other, from another one: a regular expression stops all threads."""
    kills = " && ".join(f"sleep {seconds} && kill -{number:d} {os.getpid()}" for number in signals)
    with subprocess.Popen(["sh", "-c", kills]):
        yield


def blocked(what, script=lambda policy, prompt: "2"):
    stage, _ = make_stage(blocking, script)
    tasks = [make_task(what, id="bad"), make_task("fine", id="good")]
    return rollout(stage, tasks, make_limits(timeout=60.0), size=1, seed="s")


@pytest.mark.parametrize("what", ["spin", "errors", "sleep", "expression", "in a task"])
@pytest.mark.parametrize("run", [run_to_end, asyncio.run])
def test_one_interrupt_ends_a_workflow_that_blocks(what, run):
    began = time.monotonic()
    with after(0.1, signal.SIGINT), pytest.raises(KeyboardInterrupt):
        run(blocked(what))
    assert time.monotonic() - began < 2


def test_one_interrupt_ends_an_episode_that_waits():
    async def wait():
        await asyncio.sleep(60)

    began = time.monotonic()
    with after(0.1, signal.SIGINT), pytest.raises(KeyboardInterrupt):
        run_to_end(wait())
    assert time.monotonic() - began < 1


def test_a_notebook_is_interrupted_in_a_workflow_that_blocks():
    began = time.monotonic()
    with after(0.2, signal.SIGINT), pytest.raises(KeyboardInterrupt):
        in_a_notebook(blocked("spin"))
    assert time.monotonic() - began < 3


def test_sigterm_ends_with_its_own_status():
    with after(0.1, signal.SIGTERM), pytest.raises(Terminated) as ended:
        run_to_end(blocked("spin"))
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_work_that_cleans_up_for_long_is_ended_by_a_second_interrupt():
    async def stubborn():
        try:
            await asyncio.sleep(60)
        finally:
            time.sleep(1.5)

    began = time.monotonic()
    with after(0.2, signal.SIGINT, signal.SIGINT), pytest.raises(KeyboardInterrupt):
        run_to_end(stubborn())
    assert time.monotonic() - began < 1


def test_a_handler_of_ones_own_is_left_alone():
    came = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(True))
    try:
        stage, _ = make_stage(blocking, lambda policy, prompt: "2")
        limits = make_limits(timeout=5.0)
        with after(0.05, signal.SIGTERM):
            (group,) = run_to_end(rollout(stage, [make_task("tool")], limits, size=1, seed="s"))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (came, group.episodes[0].error) == ([True], None)
    assert LIMIT / 2 > 0.05
