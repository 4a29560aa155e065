"""Where the time goes: every moment to one thing, by a clock that is moved by hand."""

import asyncio
from contextlib import suppress

import pytest
import torch

from counterpoint.cli.profile import lines
from counterpoint.clock import Clock, timed
from counterpoint.plan import threads
from counterpoint.plan.threads import with_threads
from counterpoint.recipe import config_from


class Hand:
    """A clock's hand."""

    def __init__(self):
        self.at = 0.0

    def __call__(self):
        return self.at

    def on(self, seconds):
        self.at += seconds


@pytest.fixture
def hand():
    return Hand()


def test_a_lap_is_what_was_in_no_part_and_the_parts_stand_beneath_it(hand):
    clock = Clock(hand)
    hand.on(1)
    with clock.part("sampling"):
        hand.on(4)
    hand.on(2)
    clock.lap("act")
    hand.on(8)
    clock.lap("judge")
    assert clock.laps() == {"time/act": 7.0, "time/judge": 8.0, "time/step": 15.0}
    assert clock.read("keep") == {"act": 3.0, "act/sampling": 4.0, "judge": 8.0, "keep": 0.0}
    assert clock.read("keep") == {"keep": 0.0}


def test_a_part_within_a_part_is_not_counted_twice(hand):
    clock = Clock(hand)
    with clock.part("evaluation"):
        hand.on(1)
        with clock.part("sampling"):
            hand.on(2)
        hand.on(4)
    assert clock.read("keep") == {"keep": 0.0, "keep/evaluation": 5.0, "keep/evaluation/sampling": 2.0}


def test_parts_side_by_side_under_one_name_count_once(hand):
    clock = Clock(hand)
    first, second = clock.part("sampling"), clock.part("sampling")
    first.__enter__()
    hand.on(1)
    second.__enter__()
    hand.on(2)
    first.__exit__(None, None, None)
    hand.on(4)
    second.__exit__(None, None, None)
    assert clock.read("act") == {"act": 0.0, "act/sampling": 7.0}


def test_a_part_that_raises_ends(hand):
    clock = Clock(hand)
    with suppress(ZeroDivisionError), clock.part("sampling"):
        hand.on(1)
        raise ZeroDivisionError
    hand.on(2)
    assert clock.read("act") == {"act": 2.0, "act/sampling": 1.0}


def test_what_takes_time_tells_the_clock_that_runs_in_its_task_and_otherwise_none():
    @timed("work")
    def work():
        return 7

    async def with_a_clock():
        clock = Clock.started()
        await asyncio.gather(asyncio.to_thread(work))
        return clock.read("lap")

    assert work() == 7
    assert set(asyncio.run(with_a_clock())) == {"lap", "lap/work"}
    assert work() == 7


def test_the_table_has_every_second_once_at_each_depth():
    own = {"act": 1.0, "act/sampling": 5.0, "act/judging": 7.0, "learn/one/solver": 2.0, "judge": 3.0}
    assert lines(own) == [
        ("act", 13.0),
        ("  judging", 7.0),
        ("  sampling", 5.0),
        ("  all else", 1.0),
        ("learn", 2.0),
        ("  one", 2.0),
        ("    solver", 2.0),
        ("judge", 3.0),
    ]


def test_threads_that_are_slower_than_one_are_told_with_what_to_do():
    assert threads.slow(10.0, 9.5, 2) is None
    assert threads.slow(10.0, 4.0, 2) == (
        "2 threads reach 40% of the speed of one: other work keeps the cores busy; train with run.threads=1"
    )


def test_one_thread_is_not_compared_with_itself(monkeypatch):
    monkeypatch.setattr(threads, "rates", lambda count: 1 / 0)
    assert threads.warning(1) is None


def test_both_rates_are_measured_and_torch_keeps_its_threads():
    had = torch.get_num_threads()
    one, two = threads.rates(2)
    assert one > 0
    assert two > 0
    assert torch.get_num_threads() == had


@pytest.mark.parametrize(("told", "threads_taken"), [("2 threads reach 20% of the speed of one", 1), (None, 3)])
def test_threads_left_open_are_one_where_several_are_slower(monkeypatch, told, threads_taken):
    monkeypatch.setattr("counterpoint.plan.threads.warning", lambda threads: told)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2})
    assert with_threads(config_from({})).run.threads == threads_taken
    assert with_threads(config_from({"run": {"threads": 2}})).run.threads == 2
