"""The last act of a step: its checkpoint, and that of an interrupt, which is gone once a regular one comes after it.

The state of an interrupt's checkpoint says `interrupted`; if the interrupt prevented an evaluation, `evaluation` says
with which facts it is to be recorded. A run that is resumed from it makes up for the evaluation first.
"""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from counterpoint.files import partial_of, write_whole
from counterpoint.run import Run, Stateful


class Keeper:
    """Saves the checkpoints of a run while it is trained."""

    def __init__(self, run: Run, parts: Mapping[str, Stateful], digests: Callable[[], Mapping[str, str]]) -> None:
        """`parts` are saved; `digests` gives those of the adapters as they are now."""
        self._run = run
        self._parts = parts
        self._digests = digests

    def regular(self) -> list[int]:
        """The steps of the checkpoints that an undisturbed run would have, too."""
        return [step for step in self._run.checkpoints() if "interrupted" not in self._run.checkpoint_state(step)]

    def save(self, step: int, *, stopped: str | None) -> None:
        """The run has a regular checkpoint of this step, and none of an interrupt."""
        self._run.checkpoint(step, self._parts, {"digests": self._digests(), "stopped": stopped})
        self._drop_interrupted()

    @contextmanager
    def saved_at_interrupt(
        self, step: int, *, stopped: str | None = None, evaluation: Mapping[str, Any] | None = None
    ) -> Iterator[None]:
        """If what is inside is cancelled, the run has a checkpoint of `step`, the last whole one.

        `evaluation` holds the facts of the evaluation that is then missing; None if none is.
        """
        try:
            yield
        except asyncio.CancelledError:
            if step not in self._run.checkpoints():
                state = {"digests": self._digests(), "stopped": stopped, "interrupted": True, "evaluation": evaluation}
                self._run.checkpoint(step, self._parts, state)
                self._drop_interrupted(but=step)
            raise

    def missing(self, step: int) -> Mapping[str, Any] | None:
        """The facts of the evaluation that is missing at the checkpoint of `step`; None if none is."""
        found: Mapping[str, Any] | None = self._run.checkpoint_state(step).get("evaluation")
        return found

    def evaluated(self, step: int) -> None:
        """The evaluation that was missing at the checkpoint of `step` is recorded, and the checkpoint complete."""
        config, state = self._run.config.run, self._run.checkpoint_state(step)
        del state["evaluation"]
        if step % config.save_every == 0 or step == config.steps or state["stopped"] is not None:
            del state["interrupted"]
        write_whole(self._run.checkpoint_path(step) / "state.json", json.dumps(state, indent=2) + "\n")
        self._drop_interrupted(but=step)

    def _drop_interrupted(self, but: int | None = None) -> None:
        for step in set(self._run.checkpoints()) - {*self.regular(), but}:
            path = self._run.checkpoint_path(step)
            path.rename(partial_of(path))
            shutil.rmtree(partial_of(path))
