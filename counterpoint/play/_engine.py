"""The death of an engine: it ends the rollout, whatever a workflow does with exceptions."""

import asyncio

from counterpoint.errors import EndpointError, EngineError, WorkflowError, told
from counterpoint.samplers.base import Completion, Request, Session


class Engine:
    """The sampler as one rollout sees it: its calls, and the error by which it died."""

    def __init__(self) -> None:
        self._error: Exception | None = None
        self._waiting: set[asyncio.Task[object]] = set()

    async def sample(self, session: Session, request: Request) -> Completion:
        """The completion of a request. Raises EndpointError, or CancelledError if the engine is dead.

        A workflow that catches exceptions cannot mistake the death of the engine for an error of its own, because a
        cancellation is not an `Exception`; and it cannot hide it, because `check` is asked after every episode.
        """
        self._cancel_if_dead()
        me = asyncio.current_task()
        assert me is not None
        self._waiting.add(me)
        try:
            return await session.sample(request)
        except (EndpointError, WorkflowError):
            raise
        except Exception as error:  # whatever else a sampler raises, no workflow can be blamed for it
            self._error = self._error or error
            self._cancel_if_dead()
            raise
        finally:
            self._waiting.discard(me)

    def check(self) -> None:
        """Raises EngineError if the engine is dead."""
        if self._error is not None:
            raise EngineError(f"the sampler failed: {told(self._error)}") from self._error

    async def abandon(self) -> None:
        """Cancel every call that still waits, such as one that a workflow started and did not await."""
        left = list(self._waiting)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _cancel_if_dead(self) -> None:
        if self._error is not None:
            raise asyncio.CancelledError from self._error
