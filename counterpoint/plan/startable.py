"""Whatever keeps a plan from starting on this machine: found before a run directory is made or weights are read."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.adapter import starting_adapter
from counterpoint.errors import ConfigError, ModelError
from counterpoint.event_loop import run_to_end
from counterpoint.judges.base import Judging
from counterpoint.plan.plan import Plan, gigabytes
from counterpoint.runtimes import is_elsewhere, processes

if TYPE_CHECKING:
    from counterpoint.plan.memory import Memory

_SECONDS = 120.0
"""The longest that a judge may take to start."""
_VERSIONS = 2
"""Versions of a policy on tmpfs: one that calls still name, and the next."""
_BYTES = 4
"""Bytes of each number of an adapter."""


def check_startable(planned: Plan) -> None:
    """Raises CounterpointError if memory is too small, an adapter cannot be read, or the judge does not start.

    The judge, or the sandbox of code tasks, is started and closed again.
    """
    check_room(planned)
    check_adapters_fit(planned)
    for name, own in planned.settings.items():
        if own.adapter:
            starting_adapter(Path(own.adapter).expanduser(), policy=name, alpha=own.alpha, rank=own.rank)
    check_judge(planned.setup.tasks.judging)


def check_room(planned: Plan) -> None:
    """Raises ConfigError if a process holds more all the time than the GPU that it would have.

    Of GPUs on other machines, of bases on several GPUs and of engines that share one model nothing is known.
    """
    devices = {own.model.device for own in planned.settings.values() if own.endpoint is None}
    if (
        len(devices) != 1
        or is_elsewhere(planned.config)
        or planned.config.sampler.options.get("tensor_parallel", 1) > 1
    ):
        return
    from counterpoint.samplers._room import total_memory  # not above: it imports torch

    total = total_memory(devices.pop())
    if total is None:
        return
    for place, memory in _memories(planned).items():
        held = sum(memory.lasting.values())
        if held > total:
            parts = ", ".join(f"{gigabytes(size)} {name}" for name, size in memory.lasting.items())
            raise ConfigError(
                f"the GPU has {gigabytes(total)}, and {gigabytes(held)} would be held all the time"
                f"{place and ' ' + place}: {parts}"
            )


def check_adapters_fit(planned: Plan) -> None:
    """Raises AbsentRoomError if tmpfs cannot hold the adapters that a run gives to vLLM, two versions of each."""
    if planned.config.sampler.name != "vllm" or is_elsewhere(planned.config):
        return
    from counterpoint.samplers._servable import check_tmpfs

    adapters = sum(_VERSIONS * _BYTES * planned.adapter_parameters(policy) for policy in planned.sizes)
    samplers = max(1, processes(planned.config)[0])
    bases = len({planned.settings[policy].model.path for policy in planned.sizes})
    check_tmpfs(samplers * bases, samplers * adapters)


def _memories(planned: Plan) -> "Mapping[str, Memory]":
    try:
        return planned.memories()
    except ModelError:  # that of a model which cannot be counted is unknown
        return {}


def check_judge(judging: Judging) -> None:
    """Raises CounterpointError if the judge does not start; it is closed again."""
    run_to_end(_starts(judging))


async def _starts(judging: Judging) -> None:
    try:
        async with asyncio.timeout(_SECONDS):
            async with judging:
                pass
    except TimeoutError:
        raise ConfigError(f"the judge has not started after {_SECONDS:g} s") from None
