"""Engines that stand in for vLLM's, behind the same few methods, and folders that name things twice."""

from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file
from torch_build import fresh_model

from counterpoint.adapter import Adapter, digest_of
from counterpoint.samplers._async_llm import Said
from counterpoint.samplers._engine import Engine
from counterpoint.samplers._folder import Folders, Place
from counterpoint.samplers.in_process import InProcess

BARE = "bare"
"""The name by which the engine has a policy without an adapter."""


class Recalling:
    """Slots and a cache of prefixes as vLLM has them: an identifier that is known is not read again, and what was
    computed of a prompt is found by the name and the folder of its adapter.

    An adapter is one number, the first of its tensors, and a reply's log-probabilities are that number.
    """

    def __init__(self, in_place: bool = False) -> None:
        self.in_place, self.is_closed = in_place, False
        self.slots: dict[int, dict] = {}
        self.prefixes: dict[tuple[str, Path], float] = {}

    async def add(self, place: Place) -> None:
        if place.number not in self.slots or self.in_place:
            self.slots[place.number] = load_file(place.folder / "adapter_model.safetensors")

    async def prove(self, place: Place, scale: float) -> list[dict[str, str]]:
        digest = digest_of(load_file(place.folder / "adapter_model.safetensors"))
        if digest_of(self.slots[place.number]) != digest:
            return [{"fault": "the slot holds something else than its file"}]
        return [{"digest": digest}]

    async def remove(self, place: Place) -> None:
        del self.slots[place.number]

    async def generate(self, request, place: Place | None) -> Said:
        if place is None:
            return Said((1,), (0.0,), stopped=False)
        mine = float(next(iter(self.slots[place.number].values())).flatten()[0])
        spoken = self.prefixes.setdefault((place.name, place.folder), mine)
        return Said((1,), (-spoken,), stopped=False)

    def close(self) -> None:
        self.is_closed = True


class ReusesNumbers(Folders):
    def write(self, adapter: Adapter) -> Place:
        return replace(super().write(adapter), number=1)


class ReusesPlaces(Folders):
    """One name and one folder for all versions; the identifier is one too, or a new one each time."""

    def __init__(self, place: Path, *, new_numbers: bool) -> None:
        super().__init__(place)
        self._new_numbers = new_numbers

    def write(self, adapter: Adapter) -> Place:
        self._count += 1
        place = Place(self._count if self._new_numbers else 1, "same", self.root / "same")
        replace(adapter, settings={}).write(place.folder)
        return place


class Inside:
    """An engine in this process, in place of vLLM's, with the tiny model: adapters come to it as files."""

    def __init__(self, model, options, demand) -> None:
        self.demand, self.is_closed, self.asked = demand, False, 0
        self.dies_at: int | None = None
        self.held: dict[int, str] = {}
        self._sampler = InProcess(Engine(fresh_model(), demand.stops))

    async def add(self, place: Place) -> None:
        await self._sampler.load([Adapter.read(place.folder, policy=place.name)])
        self.held[place.number] = place.name

    async def prove(self, place: Place, scale: float) -> list[dict[str, str]]:
        return [{"digest": self._sampler.digests()[place.name]}]

    async def remove(self, place: Place) -> None:
        del self.held[place.number]

    async def generate(self, request, place: Place | None) -> Said:
        self.asked += 1
        if self.asked == self.dies_at:
            raise RuntimeError("the engine's process is gone")
        if place is None:
            await self._sampler.load([Adapter.base(BARE)])
        assert place is None or self.held[place.number] == place.name
        assert len(self.held) <= 2 * self.demand.policies
        with self._sampler.session() as session:
            found = await session.sample(replace(request, policy=place.name if place else BARE))
        return Said(found.ids, found.logprobs, found.finish == "stop")

    def close(self) -> None:
        self.is_closed = True
