"""Versions of policies in an engine, without vLLM: what its workers report decides, and nothing is named twice."""

import asyncio
from pathlib import Path

import pytest
import torch

from counterpoint.adapter import Adapter
from counterpoint.errors import EngineError, ProofError
from counterpoint.samplers._async_llm import room_for
from counterpoint.samplers._folder import Folders
from counterpoint.samplers._versions import Versions

_LAYER = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"


def _adapter(version: int) -> Adapter:
    tensors = {_LAYER.format("A"): torch.full((2, 4), float(version)), _LAYER.format("B"): torch.ones(4, 2)}
    return Adapter(policy="one", version=version, tensors=tensors, scale=1.0, settings={})


class _Stale:
    """An engine whose worker reports what it was first given; or one that dies when asked."""

    def __init__(self, dies: bool = False) -> None:
        self.first, self.dies, self.places = "", dies, []

    async def add(self, place):
        self.places.append(place)

    async def prove(self, place, scale):
        if self.dies:
            raise RuntimeError("the engine is dead")
        self.first = self.first or _adapter(1).digest
        return [{"digest": self.first}]

    async def remove(self, place):
        pass

    def close(self):
        pass


def test_stale_slots_are_caught_and_the_version_before_stays(tmp_path: Path):
    engine = _Stale()
    versions = Versions(engine, Folders(tmp_path), {"one": 2}, 16)
    asyncio.run(versions.load([_adapter(1)]))
    with pytest.raises(ProofError, match="does not hold version 2"):
        asyncio.run(versions.load([_adapter(2)]))
    assert versions.digests() == {"one": _adapter(1).digest}
    first, second = engine.places
    assert (first.number, first.name, first.folder) != (second.number, second.name, second.folder)
    assert len({first.number, second.number}) == len({first.name, second.name}) == 2
    versions.close()
    assert not [*tmp_path.iterdir()]


def test_an_engine_that_raises_is_dead_for_good(tmp_path: Path):
    versions = Versions(_Stale(dies=True), Folders(tmp_path), {"one": 2}, 16)
    for _ in range(2):
        with pytest.raises(EngineError):
            asyncio.run(versions.load([_adapter(1)]))
    versions.close()


def test_room_is_made_for_the_next_rank_that_vllm_knows():
    assert [room_for(rank) for rank in (1, 2, 8, 9, 129, 512)] == [1, 8, 8, 16, 256, 512]
