"""Whatever keeps a plan from starting on this machine: found before a run directory is made or weights are read."""

import asyncio
from pathlib import Path

import torch

from counterpoint.adapter import Adapter
from counterpoint.config import ModelConfig
from counterpoint.errors import ConfigError, ModelError
from counterpoint.event_loop import run_to_end
from counterpoint.judges.base import Judging
from counterpoint.plan.plan import Plan

_SECONDS = 120.0
"""The longest that a judge may take to start."""


def check_startable(planned: Plan) -> None:
    """Raises CounterpointError if a device or an adapter is not there, or the judge does not start.

    The judge, or the sandbox of code tasks, is started and closed again.
    """
    for name, settings in planned.settings.items():
        if settings.endpoint is None:
            check_device(settings.model)
        if settings.adapter:
            Adapter.read(Path(settings.adapter).expanduser(), policy=name)
    run_to_end(_starts(planned.setup.tasks.judging))


def check_device(model: ModelConfig) -> None:
    """Raises ModelError unless torch can compute on the model's device."""
    try:
        torch.empty(1, device=model.device)
    except (RuntimeError, AssertionError) as error:  # torch raises either for an unknown device
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"model.device = {model.device!r} cannot be used: {reason}") from error


async def _starts(judging: Judging) -> None:
    try:
        async with asyncio.timeout(_SECONDS):
            async with judging:
                pass
    except TimeoutError:
        raise ConfigError(f"the judge has not started after {_SECONDS:g} s") from None
