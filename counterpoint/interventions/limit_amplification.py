"""Parallel calls of a role that push no further than independent ones would."""

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field

from counterpoint.errors import RunError
from counterpoint.interventions.base import Intervention, Update
from counterpoint.learners.base import Source, chance_coherence, coherence

MEASURED_FILE = "amplification_over_chance.json"


class LimitAmplification(Intervention):
    """The role's part of the step divided by max(1, e_r / most)^weight, e_r its amplification over that by chance.

    e_r = |sum_s g_s| / sqrt(sum_s |g_s|^2) over the slots s of the role: about 1 if its parallel calls push
    independently of each other, whatever their number; the root of their number if all push alike. So independent
    calls are left alone. It is measured in every `every`-th step and kept in between. Against same-role amplification,
    arXiv 2605.24202. Divides the step and not the gradient, which Adam would not notice (`Update.with_steps_times`).
    """

    name = "limit_amplification"

    def __init__(
        self,
        *,
        weight: Annotated[float, Field(ge=0, le=1)] = 1.0,
        most: Annotated[float, Field(ge=1)] = 1.0,
        every: Annotated[int, Field(ge=1)] = 1,
    ) -> None:
        self._weight = weight
        self._most = most
        self._every = every
        self._measured: dict[Source, float] = {}

    def slots_apart(self, step: int) -> bool:
        return self._weight > 0 and step % self._every == 0

    def update(self, update: Update, step: int) -> Update:
        if not self._weight:
            return update
        # In other steps slots may be apart for a diagnostic, and a look must not change what is trained.
        for source, one in update.contributions.items() if self.slots_apart(step) else ():
            slots = list(one.slots.values())
            by_chance = chance_coherence(slots)
            if by_chance:
                self._measured[source] = coherence(slots) / by_chance
        factors = {
            source: max(1.0, measured / self._most) ** -self._weight
            for source, measured in self._measured.items()
            if source in update.contributions
        }
        return update.with_steps_times(factors)

    def save(self, folder: Path) -> None:
        rows = [[*source, value] for source, value in self._measured.items()]
        (folder / MEASURED_FILE).write_text(json.dumps(rows) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        path = folder / MEASURED_FILE
        if not path.is_file():
            raise RunError(
                f"{path} does not exist: the run was saved by a version whose limit_amplification divided by another"
                " number, so it cannot be resumed with this one"
            )
        rows = json.loads(path.read_text(encoding="utf-8"))
        self._measured = {Source(policy, role): value for policy, role, value in rows}
