"""The similarity of a role's gradient to its earlier gradients."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from counterpoint.diagnostics.base import Diagnostic, Numbers, Step
from counterpoint.learners.base import Gradient, Source, added, cosine

MEANS_FILE = "means.safetensors"


class Persistence(Diagnostic):
    """cos(g_r, m_r), with m_r the moving average of the role's contributions in earlier steps.

    m <- memory m + (1 - memory) g_r, after it was compared with; m begins as the first contribution. g_r is the sum
    over the updates of a step; steps in which it is zero are left out. Near 1 the role drifts along one direction;
    steps that are only noise give about 0. After the pilots of arXiv 2605.24202.
    """

    name = "persistence"

    def __init__(self, *, memory: Annotated[float, Field(ge=0, lt=1)] = 0.9) -> None:
        self._memory = memory
        self._means: dict[Source, Gradient] = {}

    def look(self, step: Step) -> Numbers:
        numbers: Numbers = {}
        for source, contribution in step.contributions.items():
            gradient = contribution.gradient
            if not gradient.norm():
                continue
            if source in self._means:
                mean = self._means[source]
                found = cosine(gradient, mean)
                if found is not None:
                    numbers[f"gradient/{source.policy}/{source.role}/persistence"] = found
                gradient = added([gradient.scaled(1.0 - self._memory), mean.scaled(self._memory)])
            self._means[source] = gradient
        return numbers

    def save(self, folder: Path) -> None:
        from counterpoint.learners.gradient import save_gradients  # not above: it needs torch, options do not

        save_gradients(folder / MEANS_FILE, {"/".join(source): mean for source, mean in self._means.items()})

    def load(self, folder: Path) -> None:
        from counterpoint.learners.gradient import load_gradients

        found = load_gradients(folder / MEANS_FILE)
        self._means = {Source(*name.split("/")): mean for name, mean in found.items()}
