"""A coroutine is run to its end whether or not an event loop is running."""

import asyncio
import threading
from contextvars import ContextVar

import pytest

from counterpoint.event_loop import run_to_end
from counterpoint.options import Spec
from counterpoint.testing.by_hand import play_by_hand
from counterpoint.testing.workflow_conformance import check_workflow
from counterpoint.workflows import load_workflow

COLOUR = ContextVar("colour", default="none")


async def work(value):
    await asyncio.sleep(0)
    return value, COLOUR.get(), threading.current_thread() is threading.main_thread()


def test_without_a_loop_it_runs_in_this_thread():
    COLOUR.set("red")
    assert run_to_end(work(1)) == (1, "red", True)


def test_within_a_running_loop_it_runs_in_a_thread_of_its_own_with_the_same_context():
    async def main():
        COLOUR.set("blue")
        return run_to_end(work(2))

    assert asyncio.run(main()) == (2, "blue", False)


@pytest.mark.parametrize("nested", [False, True])
def test_what_it_raises_is_raised(nested):
    async def fail():
        await asyncio.sleep(0)
        raise ValueError("no")

    async def main():
        run_to_end(fail())

    with pytest.raises(ValueError, match="no"):
        asyncio.run(main()) if nested else run_to_end(fail())


def test_an_interrupt_cancels_it_and_waits_until_it_has_cleaned_up(monkeypatch):
    cleaned = []

    async def endless():
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(True)

    def interrupted(thread, timeout=None):
        monkeypatch.undo()
        raise KeyboardInterrupt

    async def main():
        monkeypatch.setattr(threading.Thread, "join", interrupted)
        run_to_end(endless())

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert cleaned == [True]


def test_a_workflow_can_be_checked_and_played_by_hand_in_a_notebook():
    single = load_workflow(Spec(name="single"))

    async def cells() -> str | None:
        check_workflow(single)
        return play_by_hand(single, lambda role, prompt: r"\boxed{3}", key="3").answer

    assert asyncio.run(cells()) == "3"
