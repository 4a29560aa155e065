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
from counterpoint.interventions.base import Stop
from counterpoint.run import Run, Stateful


def regular_checkpoints(run: Run) -> list[int]:
    """The steps of the checkpoints that an undisturbed run would have, too."""
    return [step for step in run.checkpoints() if "interrupted" not in run.checkpoint_state(step)]


class Keeper:
    """Saves the checkpoints of a run while it is trained."""

    def __init__(self, run: Run, parts: Mapping[str, Stateful], digests: Callable[[], Mapping[str, str]]) -> None:
        """`parts` are saved; `digests` gives those of the adapters as they are now."""
        self._run = run
        self._parts = parts
        self._digests = digests

    def save(self, step: int, stop: Stop | None = None) -> None:
        """The run has a regular checkpoint of this step, and none of an interrupt."""
        self._run.checkpoint(step, self._parts, {"digests": self._digests(), "stopped": stop and stop.reason})
        self._drop_interrupted()

    @contextmanager
    def saved_at_interrupt(
        self, step: int, stop: Stop | None = None, *, evaluation: Mapping[str, Any] | None = None
    ) -> Iterator[None]:
        """If what is inside is cancelled, the run has a checkpoint of `step`, the last whole one.

        `evaluation` holds the facts of the evaluation that is then missing; None if none is.
        """
        try:
            yield
        except asyncio.CancelledError:
            if step not in self._run.checkpoints():
                state = {"digests": self._digests(), "stopped": stop and stop.reason}
                self._run.checkpoint(step, self._parts, {**state, "interrupted": True, "evaluation": evaluation})
                self._drop_interrupted(but=step)
            raise

    def owes_evaluation(self, start: int | None) -> bool:
        """True if an evaluation is due before the next step.

        It is that of the base models, one that an interrupt prevented, or that of a run which was shortened to `start`,
        the step of the last checkpoint, None if there is none.
        """
        if start is None or self._run.checkpoint_state(start).get("evaluation") is not None:
            return True
        recorded = {row["split"] for row in self._run.evaluation_rows() if row["step"] == start}
        return start == self._run.config.run.steps and not recorded >= {"validation", "test"}

    def is_rolled_back(self, start: int | None) -> bool:
        """True if the evaluation that is due is one of weights to which the run returned."""
        missed = None if start is None else self._run.checkpoint_state(start).get("evaluation")
        return missed is not None and bool(missed["rolled_back"])

    def evaluated(self, start: int | None) -> None:
        """The evaluation that was due is recorded, and the checkpoint that belongs to it complete."""
        if start is None:
            self.save(0)
        else:
            self._complete(start)

    def _complete(self, step: int) -> None:
        config, state = self._run.config.run, self._run.checkpoint_state(step)
        state.pop("evaluation", None)
        if step % config.save_every == 0 or step == config.steps or state["stopped"] is not None:
            state.pop("interrupted", None)
        write_whole(self._run.checkpoint_path(step) / "state.json", json.dumps(state, indent=2) + "\n")
        self._drop_interrupted(but=step)

    def _drop_interrupted(self, but: int | None = None) -> None:
        for step in set(self._run.checkpoints()) - {*regular_checkpoints(self._run), but}:
            path = self._run.checkpoint_path(step)
            path.rename(partial_of(path))
            shutil.rmtree(partial_of(path))
