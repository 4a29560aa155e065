"""The sampler `vllm` with an engine in this process in place of vLLM's: all but the engine is what a run has."""

import asyncio
import importlib
from types import SimpleNamespace

import pytest
from torch_build import CHOIR, start, tiny_base, tiny_folder, trained
from vllm_by_hand import Inside

from counterpoint.errors import EngineError, SamplerError
from counterpoint.run import Run
from counterpoint.samplers import _folder, _servable
from counterpoint.samplers.base import Request
from counterpoint.testing.sampler_conformance import check_sampler
from counterpoint.testing.tiny import tiny_adapters, tiny_config, tiny_prompts

BASE = tiny_base()
VLLM = importlib.import_module("counterpoint.samplers.vllm")
TABLE = {**CHOIR, "sampler": {"name": "vllm", "cache_gb": 0.5}}


@pytest.fixture
def engines(tmp_path, monkeypatch):
    """The engines that are made. vLLM seems to be installed, and to serve heads of the tiny model's size."""
    made = []

    def engine(*given):
        made.append(Inside(*given))
        return made[-1]

    monkeypatch.setattr(VLLM, "AsyncEngine", engine)
    monkeypatch.setattr(VLLM, "Folders", lambda: _folder.Folders(tmp_path / "shm"))
    monkeypatch.setattr(_servable, "find_spec", lambda name: name)
    monkeypatch.setattr(_servable, "_SMALLEST_HEAD", 8)
    (tmp_path / "shm").mkdir()
    return made


def sampler_of(folder, ranks=None, longest=512):
    config = tiny_config(folder).model
    ranks = ranks or {"one": 4, "two": 4}
    base = SimpleNamespace(config=config, policies=tuple(ranks), ranks=ranks, longest=longest, chat=BASE.chat)
    return VLLM.Vllm([base], cache_gb=0.5)


def test_it_keeps_every_promise_of_a_sampler(engines, tmp_path):
    sampler = sampler_of(tiny_folder())
    check_sampler(sampler, BASE)
    assert len(engines) == 1
    asyncio.run(sampler.close())
    assert engines[0].is_closed
    assert not [*(tmp_path / "shm").iterdir()]


def test_all_calls_of_an_episode_are_by_the_version_of_its_first(engines):
    sampler = sampler_of(tiny_folder())
    prompt = tiny_prompts(BASE.chat, 1)[0]
    request = Request(policy="one", prompt_ids=prompt, max_tokens=4, temperature=1.0, seed=1)

    async def play():
        await sampler.load(tiny_adapters(BASE.model, ["one", "two"]))
        with sampler.session() as old:
            before = await old.sample(request)
            await sampler.load(tiny_adapters(BASE.model, ["one"], version=2, seed=9))
            assert await old.sample(request) == before
            with sampler.session() as new:
                after = await new.sample(request)
        assert (before.version, after.version) == (1, 2)
        assert before.logprobs != after.logprobs
        with pytest.raises(SamplerError, match="after its episode had ended"):
            await old.sample(request)

    asyncio.run(play())


def test_a_call_that_outlives_its_episode_is_ended_before_its_version_is_taken_out(engines):
    """As where another call of the episode raised."""
    sampler = sampler_of(tiny_folder())
    request = Request(policy="one", prompt_ids=tiny_prompts(BASE.chat, 1)[0], max_tokens=4, temperature=1.0, seed=1)

    async def play():
        await sampler.load(tiny_adapters(BASE.model, ["one", "two"]))
        engine, going_on = engines[0], asyncio.Event()
        ended = []

        async def endless(request, place):
            try:
                going_on.set()
                await asyncio.Event().wait()
            finally:
                ended.append(place.number in engine.held)

        engine.generate = endless
        with sampler.session() as session:
            call = asyncio.create_task(session.sample(request))
            await going_on.wait()
        await sampler.load(tiny_adapters(BASE.model, ["one"], version=2, seed=9))
        await asyncio.wait([call], timeout=10)
        assert call.cancelled()
        assert ended == [True]
        assert len(engine.held) == 3, "its version is taken out when the next is loaded"
        await sampler.load(tiny_adapters(BASE.model, ["one"], version=3, seed=8))
        assert len(engine.held) == 2

    asyncio.run(play())


def test_a_run_with_it_learns_what_a_run_without_it_learns(engines, tmp_path):
    usual = trained(start(tmp_path / "usual", {**CHOIR, "sampler": {"name": "in_process"}}))
    run = trained(start(tmp_path / "run", TABLE))
    assert engines[0].is_closed
    assert not [*(tmp_path / "shm").iterdir()]
    tokens = [[row["role/soprano/tokens"] for row in one.metric_rows()] for one in (run, usual)]
    assert tokens[0] == tokens[1]


def test_an_engine_that_dies_ends_the_run_which_is_resumed_as_if_nothing_had_been(engines, tmp_path):
    whole = trained(start(tmp_path / "whole", TABLE))
    asked = engines[0].asked
    made = VLLM.AsyncEngine

    def dying(*given):
        engine = made(*given)
        engine.dies_at = asked - 5
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VLLM, "AsyncEngine", dying)
        with pytest.raises(EngineError, match="vLLM died: RuntimeError: the engine's process is gone"):
            trained(start(tmp_path / "broken", TABLE))
    assert engines[1].is_closed
    assert not [*(tmp_path / "shm").iterdir()]
    run = trained(Run.open(tmp_path / "broken"))
    last = whole.config.run.steps
    assert run.checkpoint_state(last)["digests"] == whole.checkpoint_state(last)["digests"]


def test_an_engine_that_does_not_start_leaves_no_folder(engines, tmp_path, monkeypatch):
    def broken(*given):
        raise EngineError("vLLM did not start")

    monkeypatch.setattr(VLLM, "AsyncEngine", broken)
    with pytest.raises(EngineError, match="did not start"):
        sampler_of(tiny_folder())
    assert not [*(tmp_path / "shm").iterdir()]
