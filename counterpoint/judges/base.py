"""The interface of a judge: ready before the first answer, closed after the last, and one score per answer.

A member of this family is one of these:

* a function `(answer, key) -> reward`, or `(answer, key, problem) -> reward`, plain or async, whose keyword-only
  parameters are its options: it runs in a process of its own (`judges/function/`);
* a class derived from `Judge` whose keyword-only parameters are its options, or such a judge itself: it runs in this
  process.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar, Self

from counterpoint.task import Score


class Judging:
    """The processes that have to run while answers are judged. This one is for tasks that need none."""

    async def __aenter__(self) -> Self:
        """Start it. Raises SandboxError if a sandbox cannot be trusted, ConfigError or TaskError if it cannot start."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Answers can be judged from here on."""

    async def close(self) -> None:
        """Nothing of it is left running."""

    def facts(self) -> Mapping[str, str]:
        """Its name and versions, for a run's metadata."""
        return {}

    def numbers(self) -> dict[str, float]:
        """Its work since this was last called, by the names of `docs/metrics.md`."""
        return {}


class Judge(Judging, ABC):
    """Scores answers. `judge(answer, key)` may be awaited by many tasks at the same time."""

    bounded: ClassVar[bool] = False
    """It bounds its own time. Otherwise `rollout.judge_timeout` does, which cannot stop what never awaits."""

    @abstractmethod
    async def judge(self, answer: str, key: str) -> Score:
        """The score of one answer."""

    def takes(self, key: str) -> bool:
        """False if not even the key itself would be a right answer, so that nothing could be; True if that is unknown.

        No process is needed, and none is started.
        """
        return True

    def for_problem(self, problem: str) -> Callable[[str, str], Awaitable[Score]]:
        """The judge of the answers to one problem, whose text it may use."""
        return self.judge


class Together(Judging):
    """Several of them, started and closed as one."""

    def __init__(self, parts: Sequence[Judging]) -> None:
        self._parts = parts

    async def start(self) -> None:
        try:
            for part in self._parts:
                await part.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        for part in self._parts:
            await part.close()

    def facts(self) -> Mapping[str, str]:
        return {name: fact for part in self._parts for name, fact in part.facts().items()}

    def numbers(self) -> dict[str, float]:
        return {name: number for part in self._parts for name, number in part.numbers().items()}
