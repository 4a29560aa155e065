"""Several samplers behind one: what they promise together, how sessions are shared out, and replicas that fail."""

import asyncio
import pickle
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import pytest
from torch_build import fresh_model, tiny_base

from counterpoint.episode import Call, CallKey
from counterpoint.errors import EngineError, SamplerError
from counterpoint.samplers._engine import Engine
from counterpoint.samplers._host import Host, News
from counterpoint.samplers._weights import Beside
from counterpoint.samplers.base import Completion, Request, Scorer
from counterpoint.samplers.in_process import InProcess
from counterpoint.samplers.replicas import replicas
from counterpoint.testing.sampler_conformance import check_sampler
from counterpoint.testing.tiny import tiny_adapters, tiny_prompts

BASE = tiny_base()


class Far:
    """A host at the other end of a line: everything is pickled on its way, and takes some passes of the loop."""

    def __init__(self, host, latency=3):
        self.host, self.latency = host, latency

    async def _ask(self, method, *arguments, **options):
        arguments, options = pickle.loads(pickle.dumps((arguments, options)))
        for _ in range(self.latency):
            await asyncio.sleep(0)
        found = pickle.loads(pickle.dumps(await getattr(self.host, method)(*arguments, **options)))
        for _ in range(self.latency):
            await asyncio.sleep(0)
        return found

    async def hear(self, news):
        return await self._ask("hear", news)

    async def answers(self):
        return await self._ask("answers")

    async def load(self, adapters):
        return await self._ask("load", adapters)

    async def logprobs(self, calls, *, base):
        return await self._ask("logprobs", calls, base=base)

    async def close(self):
        return await self._ask("close")


class Recording(InProcess):
    """The in-process sampler, and the waves that it computed."""

    def __init__(self):
        super().__init__(Engine(fresh_model(), BASE.chat.stop_ids, weights=Beside))
        self.waves = []

    def _compute(self, requests):
        self.waves.append([one.seed for one in requests])
        return super()._compute(requests)


class Echo:
    """A sampler that answers at once, or when it is told to; a request with seed 13 it refuses, with 14 it hangs."""

    def __init__(self):
        self.asked, self.held, self.weights, self.closed = [], {}, {}, 0
        self.sessions = 0

    @contextmanager
    def session(self):
        self.sessions += 1
        yield self
        self.sessions -= 1

    async def sample(self, request):
        self.asked.append(request)
        await asyncio.sleep(0)
        if request.seed == 13:
            raise SamplerError("no such policy")
        if request.seed == 14:
            await asyncio.sleep(60)
        return Completion(ids=(request.seed,), logprobs=(0.0,), finish="stop", version=1)

    async def load(self, adapters):
        self.weights |= {one.policy: one.digest for one in adapters}

    def digests(self):
        return dict(self.weights)

    async def close(self):
        self.closed += 1


def ask_of(prompt, seed=1):
    return Request(policy="one", prompt_ids=prompt, max_tokens=8, temperature=1.0, seed=seed)


def of(*samplers, **options):
    return replicas([Far(Host(one)) for one in samplers], **options)


@pytest.mark.parametrize("count", [1, 2])
def test_replicas_keep_every_promise_of_a_sampler(count):
    found = of(*(Recording() for _ in range(count)), score=True)
    assert isinstance(found, Scorer)
    check_sampler(found, BASE)


def test_replicas_that_do_not_score_are_no_scorer():
    assert not isinstance(of(Echo()), Scorer)


async def episode(sampler, number, rounds=3):
    """Two calls side by side, then one that follows as soon as the first of them has its reply, and so on."""
    prompt = tiny_prompts(BASE.chat, 4)[number % 4]
    said = []

    async def chain(session, seed):
        for turn in range(rounds):
            request = Request(
                policy="one", prompt_ids=prompt, max_tokens=6, temperature=1.0, seed=1000 * number + 10 * turn + seed
            )
            said.append((request.seed, await session.sample(request)))

    with sampler.session() as session:
        await asyncio.sleep(0)
        await asyncio.gather(chain(session, 0), chain(session, 1))
    return said


async def play(sampler, count=6):
    await sampler.load(tiny_adapters(BASE.model, ["one"]))
    found = await asyncio.gather(*(episode(sampler, number, 2 + number % 2) for number in range(count)))
    return {seed: said for one in found for seed, said in one}


def test_one_replica_makes_the_waves_of_a_sampler_beside_the_workflow():
    near, far = Recording(), Recording()
    expected, found = asyncio.run(play(near)), asyncio.run(play(of(far)))
    assert far.waves == near.waves
    assert len(near.waves) == 3
    assert found == expected  # bit for bit


def test_two_replicas_say_what_one_says():
    near, one, other = Recording(), Recording(), Recording()
    expected, found = asyncio.run(play(near)), asyncio.run(play(of(one, other)))
    assert {seed: said.ids for seed, said in found.items()} == {seed: said.ids for seed, said in expected.items()}
    for seed, said in found.items():
        assert said.logprobs == pytest.approx(expected[seed].logprobs, abs=1e-5)
    assert [len(wave) for wave in one.waves + other.waves] == [6] * 5  # none is split up
    assert sorted(one.waves[0] + other.waves[0]) == sorted(near.waves[0])


def shares(prompts, count):
    """The replica of each session, all of them open at once."""
    samplers = [Echo() for _ in range(count)]

    async def inside():
        sampler = of(*samplers)

        async def one(number, prompt):
            with sampler.session() as session:
                for turn in range(3):
                    await session.sample(ask_of(prompt, 100 * number + turn))

        await asyncio.gather(*(one(*pair) for pair in enumerate(prompts, start=1)))
        await sampler.close()

    asyncio.run(inside())
    places = {}
    for place, sampler in enumerate(samplers):
        for request in sampler.asked:
            places.setdefault(request.seed // 100, set()).add(place)
        assert sampler.sessions == 0
    assert all(len(found) == 1 for found in places.values())  # all calls of a session go to one replica
    return [next(iter(places[number])) for number in range(1, len(prompts) + 1)]


def test_sessions_with_the_same_first_prompt_share_a_replica():
    found = shares([(task,) for task in range(6) for _ in range(8)], 3)
    assert all(len(set(found[8 * task : 8 * task + 8])) == 1 for task in range(6))
    assert Counter(found) == {0: 16, 1: 16, 2: 16}


def test_no_replica_has_more_than_five_quarters_of_the_mean_because_of_a_prompt():
    assert Counter(shares([(1, 2)] * 40, 4)) == {0: 12, 1: 12, 2: 12, 3: 4}
    assert set(shares([(1, 2)] * 2, 2)) == {0, 1}


def test_a_replica_is_chosen_in_the_same_way_whichever_session_asks_first():
    prompts = [(task,) for task in range(5) for _ in range(3)]
    one, other = shares(prompts, 2), shares(prompts[::-1], 2)[::-1]
    assert one == other


def test_errors_of_a_call_are_its_own():
    async def inside():
        sampler = of(Echo(), Echo())
        with sampler.session() as session:
            with pytest.raises(SamplerError, match="no such policy"):
                await session.sample(ask_of((1,), 13))
            assert (await session.sample(ask_of((1,), 5))).ids == (5,)
        with pytest.raises(SamplerError, match="after its episode had ended"):
            await session.sample(ask_of((1,), 5))

    asyncio.run(inside())


@pytest.mark.parametrize("by", ["call", "session"])
def test_calls_that_nobody_waits_for_are_ended_at_the_replica(by):
    async def inside():
        echo = Echo()
        host = Host(echo)
        sampler = replicas([Far(host)])
        with sampler.session() as session:
            hanging = asyncio.create_task(session.sample(ask_of((1,), 14)))
            await session.sample(ask_of((1,), 3))
            assert len(host._calls) == 1
            if by == "call":
                hanging.cancel()
                await session.sample(ask_of((1,), 4))
                await asyncio.sleep(0.05)
                assert not host._calls
        with sampler.session() as other:
            assert (await other.sample(ask_of((2,), 6))).ids == (6,)
        await asyncio.sleep(0.05)
        assert (len(host._calls), echo.sessions) == (0, 0)
        with pytest.raises(asyncio.CancelledError):
            await hanging
        await sampler.close()
        assert echo.closed == 1

    asyncio.run(inside())


class Stale(Echo):
    """Keeps the weights that it had first, and says so."""

    async def load(self, adapters):
        self.weights = self.weights or {one.policy: one.digest for one in adapters}


def test_a_replica_that_keeps_old_weights_ends_the_run():
    async def inside():
        sampler = of(Echo(), Stale())
        await sampler.load(tiny_adapters(BASE.model, ["one"]))
        assert set(sampler.digests()) == {"one"}
        with pytest.raises(
            EngineError, match=r"replica 1 of the sampler generates policy 'one' with .*, replica 0 with"
        ):
            await sampler.load(tiny_adapters(BASE.model, ["one"], seed=5))
        with pytest.raises(EngineError, match="replica 1"), sampler.session() as session:
            await session.sample(ask_of((1,)))

    asyncio.run(inside())


class Lying(Recording):
    """Keeps the weights that it had first, and reports those that it was given."""

    async def load(self, adapters):
        await super().load(adapters if not hasattr(self, "told") else [])
        self.told = {one.policy: one.digest for one in adapters}

    def digests(self):
        return self.told


@pytest.mark.parametrize("place", [0, 1])
def test_a_replica_that_lies_about_its_weights_is_found_by_its_scores(place):
    async def inside():
        samplers = [Recording()]
        samplers.insert(place, Lying())
        sampler = of(*samplers, score=True)
        await sampler.load(tiny_adapters(BASE.model, ["one"]))
        calls = [call_of(prompt) for prompt in tiny_prompts(BASE.chat, 3)]
        await sampler.logprobs(calls)
        await sampler.load(tiny_adapters(BASE.model, ["one"], seed=5))
        await sampler.logprobs(calls, base=True)
        with pytest.raises(EngineError, match="one of them does not compute with the weights of policy 'one'"):
            await sampler.logprobs(calls)

    asyncio.run(inside())


class Nowhere(Recording):
    """Its scores are no numbers from the second token on."""

    async def logprobs(self, calls, *, base=False):
        return [[row[0], *(float("nan") for _ in row[1:])] for row in await super().logprobs(calls, base=base)]


@pytest.mark.parametrize("place", [0, 1])
def test_a_replica_whose_scores_are_no_numbers_is_found(place):
    async def inside():
        samplers = [Recording()]
        samplers.insert(place, Nowhere())
        sampler = of(*samplers, score=True)
        await sampler.load(tiny_adapters(BASE.model, ["one"]))
        with pytest.raises(EngineError, match="than replica 0, by nan nats"):
            await sampler.logprobs([call_of(prompt) for prompt in tiny_prompts(BASE.chat, 2)])

    asyncio.run(inside())


def call_of(prompt):
    return Call(
        key=CallKey("solver", 0, 0),
        policy="one",
        version=1,
        messages=(),
        prompt_ids=prompt,
        completion_ids=(40, 41, 42),
        logprobs=(0.0, 0.0, 0.0),
        text="",
        finish="length",
        seed=0,
        temperature=1.0,
    )


class Dying(Far):
    """A line that breaks at the first call of a method."""

    def __init__(self, host, at):
        super().__init__(host)
        self.at = at

    async def _ask(self, method, *arguments, **options):
        if method == self.at:
            raise ConnectionError("the node is gone")
        return await super()._ask(method, *arguments, **options)


@pytest.mark.parametrize("at", ["hear", "answers", "load", "logprobs"])
def test_a_replica_that_dies_ends_every_call_with_an_engine_error(at):
    async def inside():
        sampler = replicas([Far(Host(Recording())), Dying(Host(Recording()), at)], score=True)
        with pytest.raises(EngineError, match="replica 1 of the sampler is gone: ConnectionError: the node is gone"):
            await used(sampler)
        with pytest.raises(EngineError, match="the node is gone"):
            await once(sampler, 9)
        await sampler.close()

    async def used(sampler):
        await sampler.load(tiny_adapters(BASE.model, ["one"]))
        await sampler.logprobs([call_of((3, 4))])
        await asyncio.gather(*(once(sampler, number) for number in range(4)))

    async def once(sampler, number):
        with sampler.session() as session:
            await session.sample(ask_of((number + 3,), number))

    asyncio.run(inside())


def test_every_call_of_a_batch_is_answered_once_also_if_its_session_is_closed_in_the_next_one():
    async def inside():
        from counterpoint.samplers._host import Asked

        host = Host(Echo())
        asked = tuple(Asked(1, call, replace(ask_of((1,)), seed=14)) for call in (2, 3, 4))
        await host.hear(News(opened=(1,), asked=asked))
        await host.hear(News(dropped=(3,), closed=(1,)))
        assert sorted(await host.answers()) == [(2, None), (3, None), (4, None)]

    asyncio.run(inside())
