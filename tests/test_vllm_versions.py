"""Versions of policies in an engine, without vLLM: what its workers report decides, and nothing is named twice."""

import asyncio
from pathlib import Path

import pytest
import torch
from vllm_by_hand import Recalling, ReusesNumbers, ReusesPlaces

from counterpoint.adapter import Adapter
from counterpoint.episode import Call, CallKey
from counterpoint.errors import EngineError, ProofError, SamplerError
from counterpoint.proof import check_logprobs
from counterpoint.samplers._async_llm import room_for
from counterpoint.samplers._folder import Folders
from counterpoint.samplers._versions import Versions
from counterpoint.samplers.base import Request

LAYER = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
REQUEST = Request(policy="one", prompt_ids=(5, 6), max_tokens=1, temperature=1.0, seed=0)


def adapter(version, policy="one", scale=1.0, rank=2):
    tensors = {LAYER.format("A"): torch.full((rank, 4), float(version)), LAYER.format("B"): torch.ones(4, rank)}
    return Adapter(policy=policy, version=version, tensors=tensors, scale=scale, settings={})


class Learner:
    """Its log-probabilities are what `Recalling` says under the weights of this version."""

    def __init__(self, version):
        self.version = version

    def logprobs(self, calls):
        return [[-float(self.version)] for _ in calls]


def call_of(said, version):
    return Call(
        key=CallKey("speaker", 0, 0), policy="one", version=version, messages=(), prompt_ids=REQUEST.prompt_ids,
        completion_ids=said.ids, logprobs=said.logprobs, text="", finish="length", seed=0, temperature=1.0,
    )  # fmt: skip


async def published(versions, number):
    """A version is loaded while an episode of the one before is open, spoken with, and proved by a learner."""
    await versions.load([adapter(number)])
    version = versions.named("one")
    said = await versions.generate(REQUEST, version)
    check_logprobs(Learner(number), [call_of(said, number)], 1e-4)


def two_steps(versions):
    async def both():
        await published(versions, 1)
        await published(versions, 2)

    asyncio.run(both())


def test_what_is_named_once_is_right_at_every_step(tmp_path: Path):
    engine = Recalling()
    versions = Versions(engine, Folders(tmp_path), {"one": 2}, 16)
    two_steps(versions)
    assert versions.digests() == {"one": adapter(2).digest}
    versions.close()
    assert engine.is_closed
    assert not [*tmp_path.iterdir()]


def test_an_identifier_used_again_is_caught_by_the_slots_and_the_version_before_stays(tmp_path: Path):
    versions = Versions(Recalling(), ReusesNumbers(tmp_path), {"one": 2}, 16)
    with pytest.raises(ProofError, match=r"does not hold version 2, .*: the slot holds something else than its file"):
        two_steps(versions)
    assert versions.digests() == {"one": adapter(1).digest}
    versions.close()


@pytest.mark.parametrize("new_numbers", [False, True], ids=["loaded in place", "a new identifier with an old name"])
def test_a_name_used_again_is_caught_by_the_log_probabilities(tmp_path: Path, new_numbers):
    engine = Recalling(in_place=not new_numbers)
    versions = Versions(engine, ReusesPlaces(tmp_path, new_numbers=new_numbers), {"one": 2}, 16)
    with pytest.raises(ProofError, match=r"a log-probability of -1.0+, the learner -2.0+"):
        two_steps(versions)
    assert versions.digests() == {"one": adapter(2).digest}, "the slots cannot tell"
    versions.close()


def test_folders_never_name_anything_twice(tmp_path: Path):
    one, other = Folders(tmp_path), Folders(tmp_path)
    places = [folders.write(adapter(1)) for folders in (one, other, one)]
    assert len({place.name for place in places}) == len({place.folder for place in places}) == 3
    assert places[0].number != places[2].number
    again = Folders(tmp_path)
    again._count = 0
    again._given = {1}
    with pytest.raises(AssertionError, match="was given to the engine before"):
        again.write(adapter(1))


def test_folders_of_a_process_that_was_killed_are_swept(tmp_path: Path):
    left = tmp_path / "counterpoint-adapters-1-x"
    left.mkdir()
    (left / "lock").touch()
    mine = Folders(tmp_path)
    mine.write(adapter(1))
    Folders(tmp_path).close()
    assert [*tmp_path.iterdir()] == [mine.root]


def test_a_full_tmpfs_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch):
    folders = Folders(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 10}))
    with pytest.raises(SamplerError, match=r"cannot be written to .*: make it larger, such as by --shm-size"):
        folders.write(adapter(1))
    assert [one.name for one in folders.root.iterdir()] == ["lock"]


class Dies(Recalling):
    async def prove(self, place, scale):
        raise RuntimeError("the engine is dead")


def test_an_engine_that_raises_is_dead_for_good(tmp_path: Path):
    versions = Versions(Dies(), Folders(tmp_path), {"one": 2}, 16)
    for _ in range(2):
        with pytest.raises(EngineError, match="vLLM died: RuntimeError: the engine is dead"):
            asyncio.run(versions.load([adapter(1)]))
    versions.close()
    assert not [*tmp_path.iterdir()]


def test_old_versions_stay_while_they_are_named_and_no_more_are_loaded_than_there_are_slots(tmp_path: Path):
    async def steps():
        engine = Recalling()
        versions = Versions(engine, Folders(tmp_path), {"one": 2}, 16)
        await versions.load([adapter(1)])
        first = versions.named("one")
        await versions.load([adapter(2)])
        assert len(engine.slots) == 2
        assert (await versions.generate(REQUEST, first)).logprobs == (-1.0,)
        with pytest.raises(SamplerError, match="new weights can be loaded once these episodes have ended"):
            await versions.load([adapter(3)])
        versions.let_go(first)
        await versions.load([adapter(3)])
        assert len(engine.slots) == 1
        assert len([*versions._folders.root.iterdir()]) == 2  # the lock, and the version
        versions.close()

    asyncio.run(steps())


def test_a_policy_that_is_its_base_takes_no_slot_and_speaks_without_an_adapter(tmp_path: Path):
    async def steps():
        engine = Recalling()
        versions = Versions(engine, Folders(tmp_path), {"one": 2}, 16)
        await versions.load([Adapter.base("one")])
        assert versions.digests() == {"one": Adapter.base("one").digest}
        assert not engine.slots
        base = versions.named("one")
        assert (await versions.generate(REQUEST, base)).logprobs == (0.0,)
        await versions.load([adapter(1)])
        assert (await versions.generate(REQUEST, versions.named("one"))).logprobs == (-1.0,)
        await versions.load([Adapter.base("one")])
        versions.let_go(base)
        versions.close()

    asyncio.run(steps())


@pytest.mark.parametrize(
    ("loaded", "message"),
    [
        ([adapter(1, "two")], "unknown policy 'two'"),
        ([adapter(1), adapter(2)], "loaded twice"),
        ([adapter(1, rank=3)], "an adapter of rank 3, but the engine has room for 2"),
    ],
)
def test_adapters_that_have_no_place_are_refused(tmp_path: Path, loaded, message):
    versions = Versions(Recalling(), Folders(tmp_path), {"one": 2}, 16)
    with pytest.raises(SamplerError, match=message):
        asyncio.run(versions.load(loaded))


def test_calls_longer_than_the_engine_was_started_for_are_refused(tmp_path: Path):
    versions = Versions(Recalling(), Folders(tmp_path), {"one": 2}, 2)
    asyncio.run(versions.load([adapter(1)]))
    with pytest.raises(SamplerError, match=r"a call of 2 \+ 1 tokens"):
        asyncio.run(versions.generate(REQUEST, versions.named("one")))


def test_a_scale_that_half_precision_rounds_once_more_is_told(tmp_path: Path, caplog):
    versions = Versions(Recalling(), Folders(tmp_path), {"one": 2}, 16, half=True)
    asyncio.run(versions.load([adapter(1, scale=0.5)]))
    assert not caplog.messages
    asyncio.run(versions.load([adapter(2, scale=0.3)]))
    assert "alpha / rank = 0.3 is no power of two" in caplog.text


def test_room_is_made_for_the_next_rank_that_vllm_knows():
    assert [room_for(rank) for rank in (1, 2, 8, 9, 129, 512)] == [1, 8, 8, 16, 256, 512]
