"""Parallel calls of a role that count as one."""

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field

from counterpoint.interventions.base import Intervention, Update
from counterpoint.learners.base import Source, coherence

MEASURED_FILE = "amplification.json"


class LimitAmplification(Intervention):
    """The role's part of the step divided by max(1, a_r / most)^weight, a_r its measured amplification.

    a_r = slots x |sum_s g_s| / sum_s |g_s|, measured in every `every`-th step and kept in between: 1 if parallel calls
    add up to no more than one of them, the number of slots if all push alike. Against same-role amplification, arXiv
    2605.24202. Divides the step and not the gradient, which Adam would not notice (`Update.with_steps_times`).
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
        for source, one in update.contributions.items():
            if one.slots:
                slots = list(one.slots.values())
                self._measured[source] = len(slots) * coherence(slots)
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
        rows = json.loads((folder / MEASURED_FILE).read_text(encoding="utf-8"))
        self._measured = {Source(policy, role): value for policy, role, value in rows}
