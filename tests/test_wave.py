"""Calls are computed together when every open session waits, and the batches are always the same."""

import asyncio
from asyncio import gather
from contextlib import suppress

import pytest

from counterpoint.errors import SamplerError
from counterpoint.samplers._wave import Wave
from counterpoint.samplers.base import Completion, Request


def ask(number: int, *, policy: str = "p", prompt: tuple[int, ...] = (1, 2)) -> Request:
    return Request(policy=policy, prompt_ids=prompt, max_tokens=4, temperature=1.0, seed=number)


class Recorder:
    """Answers each request with its seed, and remembers every wave."""

    def __init__(self):
        self.waves = []

    def __call__(self, requests):
        self.waves.append([request.seed for request in requests])
        return [Completion(ids=(request.seed,), logprobs=(0.0,), finish="stop", version=0) for request in requests]


def run(*players, compute=None):
    """The waves that these coroutine functions of a session lead to, played side by side, and their results."""
    record = compute or Recorder()
    wave = Wave(record)

    async def seat(player):
        with wave.session() as session:
            return await player(session)

    async def main():
        return await asyncio.wait_for(gather(*map(seat, players), return_exceptions=True), timeout=5)

    return asyncio.run(main()), record


async def say(session, number, **fields):
    return (await session.sample(ask(number, **fields))).ids[0]


async def passes(count):
    for _ in range(count):
        await asyncio.sleep(0)


def speaker(*numbers, pause=0):
    """Says one number after the other."""

    async def player(session):
        said = []
        for number in numbers:
            await passes(pause)
            said.append(await say(session, number))
        return said

    return player


def test_calls_of_all_sessions_are_computed_together_turn_by_turn():
    results, record = run(speaker(1, 11), speaker(2, 12), speaker(3, 13))
    assert results == [[1, 11], [2, 12], [3, 13]]
    assert record.waves == [[1, 2, 3], [11, 12, 13]]


@pytest.mark.parametrize("pause", [1, 7, 30, 100])
def test_a_wave_waits_for_a_session_that_takes_its_time(pause):
    results, record = run(speaker(1, 11), speaker(2, 12, pause=pause))
    assert results == [[1, 11], [2, 12]]
    assert record.waves == [[1, 2], [11, 12]]


def test_a_wave_waits_for_a_session_that_waits_for_the_world():
    async def slow(session):
        await asyncio.sleep(0.03)
        return await say(session, 2)

    results, record = run(speaker(1), slow)
    assert results == [[1], 2]
    assert record.waves == [[1, 2]]


def test_a_session_that_has_finished_holds_up_nobody():
    results, record = run(speaker(1), speaker(2, 12, 22), speaker(3, 13))
    assert results == [[1], [2, 12, 22], [3, 13]]
    assert record.waves == [[1, 2, 3], [12, 13], [22]]


def test_a_session_that_never_asks_holds_up_the_wave_until_it_ends():
    async def idle(session):
        await passes(50)

    results, record = run(speaker(1), idle)
    assert results == [[1], None]
    assert record.waves == [[1]]


def test_nested_gathers_end_up_in_one_wave():
    async def nested(session, depth, number):
        if depth:
            left, right = await gather(
                nested(session, depth - 1, 2 * number), nested(session, depth - 1, 2 * number + 1)
            )
            return left + right
        return [await say(session, number)]

    async def uneven(session):
        shallow, deep = await gather(say(session, 1), nested(session, 3, 1))
        return [shallow, *deep]

    results, record = run(uneven, speaker(100))
    assert results == [[1, *range(8, 16)], [100]]
    assert record.waves == [[1, *range(8, 16), 100]]


def test_the_order_of_computing_does_not_depend_on_who_asks_first():
    requests = [
        ask(5, policy="b", prompt=(1, 2)),
        ask(9, policy="a", prompt=(3,)),
        ask(2, policy="a", prompt=(3,)),
        ask(7, policy="a", prompt=(1, 2, 3)),
        ask(4, policy="b", prompt=(1,)),
    ]

    def player(request):
        return lambda session: session.sample(request)

    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        results, record = run(*(player(requests[index]) for index in order))
        assert record.waves == [[7, 2, 9, 4, 5]]
        assert [result.ids[0] for result in results] == [requests[index].seed for index in order]


def test_an_error_of_the_computation_reaches_everybody_who_waits():
    def broken(requests):
        raise SamplerError("out of memory")

    results, _ = run(speaker(1), speaker(2), compute=broken)
    assert [(type(result), str(result)) for result in results] == [(SamplerError, "out of memory")] * 2


def test_one_wave_that_fails_does_not_end_the_next():
    record = Recorder()

    def once(requests):
        if not record.waves:
            record.waves.append("failed")
            raise ValueError("once")
        return record(requests)

    async def stubborn(session):
        with suppress(ValueError):
            await say(session, 1)
        return await say(session, 11)

    results, _ = run(stubborn, speaker(2), compute=once)
    assert results[0] == 11
    assert str(results[1]) == "once"
    assert record.waves == ["failed", [11]]


def test_a_computation_that_loses_a_request_is_an_error_and_not_a_wait_for_ever():
    record = Recorder()
    results, _ = run(speaker(1), speaker(2), compute=lambda requests: record(requests)[:1])
    assert [type(result) for result in results] == [ValueError, ValueError]


def test_a_call_that_was_cancelled_is_not_computed():
    async def impatient(session):
        call = asyncio.ensure_future(say(session, 1))
        await passes(3)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        return await say(session, 11)

    results, record = run(impatient, speaker(2))
    assert results == [11, [2]]
    assert record.waves == [[2, 11]]


def test_a_session_that_gave_up_its_only_call_holds_up_nobody():
    async def gives_up(session):
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await say(session, 1)

    async def slow(session):
        await asyncio.sleep(0.03)
        return await say(session, 2)

    results, record = run(gives_up, slow)
    assert results == [None, 2]
    assert record.waves == [[2]]


def test_the_calls_of_a_session_that_ended_are_not_computed():
    async def fails(session):
        calls = [asyncio.ensure_future(say(session, number)) for number in (1, 2)]
        await passes(3)
        assert not any(call.done() for call in calls)
        raise ValueError("the workflow failed")

    results, record = run(fails, speaker(3, 13))
    assert str(results[0]) == "the workflow failed"
    assert results[1] == [3, 13]
    assert record.waves == [[3], [13]]


def test_nothing_is_computed_when_nobody_waits_any_more():
    async def fails(session):
        asyncio.ensure_future(say(session, 1))  # noqa: RUF006
        await passes(2)
        raise ValueError("the workflow failed")

    async def linger(session):
        return None

    async def main():
        record = Recorder()
        wave = Wave(record)
        with suppress(ValueError), wave.session() as session:
            await fails(session)
        await passes(30)
        return record.waves

    assert asyncio.run(main()) == []


def test_a_call_after_the_end_of_its_session_is_an_error():
    async def main():
        wave = Wave(Recorder())
        with wave.session() as session:
            pass
        await session.sample(ask(1))

    with pytest.raises(SamplerError, match="after its episode had ended"):
        asyncio.run(main())


def test_a_wave_can_be_used_by_one_rollout_after_another():
    record = Recorder()
    wave = Wave(record)

    async def rollout(number):
        with wave.session() as one, wave.session() as other:
            return await gather(say(one, number), say(other, number + 1))

    async def main():
        return [await rollout(1), await rollout(3)]

    assert asyncio.run(main()) == [[1, 2], [3, 4]]
    assert asyncio.run(rollout(5)) == [5, 6]
    assert record.waves == [[1, 2], [3, 4], [5, 6]]


def test_with_patience_a_session_that_waits_for_the_world_holds_up_nobody_for_long():
    computed = []

    def compute(requests):
        computed.append(len(requests))
        return [Recorder()([request])[0] for request in requests]

    async def main():
        wave = Wave(compute, patience=0.05)
        with wave.session() as asking, wave.session():  # the second one never asks
            async with asyncio.timeout(5):
                return await say(asking, 1)

    asyncio.run(main())
    assert computed == [1]
