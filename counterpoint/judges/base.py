"""What judges answers: ready before the first of them, closed after the last."""

from collections.abc import Mapping
from typing import Self


class Judging:
    """What judges the answers to a set of tasks: entered before the first, left after the last. By itself nothing."""

    async def __aenter__(self) -> Self:
        """It is ready. Raises SandboxError if it cannot be trusted."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """It is ready."""

    async def close(self) -> None:
        """Nothing of it is left running."""

    def facts(self) -> Mapping[str, str]:
        """What it is, for a run's metadata."""
        return {}

    def numbers(self) -> dict[str, float]:
        """What it had to do since this was last asked, by the names of `docs/metrics.md`."""
        return {}
