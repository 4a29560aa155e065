"""Smaller steps for a role that keeps pushing the same way."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from counterpoint.interventions.base import Intervention, Update
from counterpoint.learners.base import Gradient, Source, added, cosine

MEANS_FILE = "means.safetensors"


class DampCoherence(Intervention):
    """g_r <- g_r (1 - weight max(0, cos(g_r, m_r))), with m_r the moving average of the damped contributions.

    m <- memory m + (1 - memory) g_r; updates in which g_r is zero are left out. After intervention I6 of arXiv
    2605.24202, which does `of = "gradient"`: under Adam that is weak, for Adam divides a gradient by its own size, and
    a policy of one role hardly notices.
    `of = "step"` damps the role's part of the step instead (`Update.with_steps_times`).
    """

    name = "damp_coherence"

    def __init__(
        self,
        *,
        weight: Annotated[float, Field(ge=0, lt=1)] = 0.3,
        memory: Annotated[float, Field(ge=0, lt=1)] = 0.97,
        of: Literal["gradient", "step"] = "step",
    ) -> None:
        self._weight = weight
        self._memory = memory
        self._of = of
        self._means: dict[Source, Gradient] = {}

    def update(self, update: Update, step: int) -> Update:
        if not self._weight:
            return update
        gradients = {source: one.gradient for source, one in update.contributions.items() if one.gradient.norm()}
        factors = {
            source: 1.0 - self._weight * max(0.0, cosine(gradient, self._means[source]) or 0.0)
            for source, gradient in gradients.items()
            if source in self._means
        }
        for source, gradient in gradients.items():
            damped = gradient.scaled(factors.get(source, 1.0))
            mean = self._means.get(source)
            parts = [damped] if mean is None else [damped.scaled(1.0 - self._memory), mean.scaled(self._memory)]
            self._means[source] = added(parts)
        return update.with_gradients_times(factors) if self._of == "gradient" else update.with_steps_times(factors)

    def save(self, folder: Path) -> None:
        from counterpoint.learners.gradient import save_gradients  # not above: it needs torch, options do not

        save_gradients(folder / MEANS_FILE, {"/".join(source): mean for source, mean in self._means.items()})

    def load(self, folder: Path) -> None:
        from counterpoint.learners.gradient import load_gradients

        found = load_gradients(folder / MEANS_FILE)
        self._means = {Source(*name.split("/")): mean for name, mean in found.items()}
