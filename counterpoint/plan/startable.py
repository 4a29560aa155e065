"""Whatever keeps a plan from starting on this machine: found before a run directory is made or weights are read."""

import asyncio
from pathlib import Path

from counterpoint.adapter import Adapter
from counterpoint.errors import ConfigError
from counterpoint.event_loop import run_to_end
from counterpoint.judges.base import Judging
from counterpoint.plan.plan import Plan

_SECONDS = 120.0
"""The longest that a judge may take to start."""


def check_startable(planned: Plan) -> None:
    """Raises CounterpointError if an adapter cannot be read, or the judge does not start.

    The judge, or the sandbox of code tasks, is started and closed again.
    """
    for name, settings in planned.settings.items():
        if settings.adapter:
            Adapter.read(Path(settings.adapter).expanduser(), policy=name)
    check_judge(planned.setup.tasks.judging)


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
