"""Collected runs of a study of interventions, with planted peaks, ends and falls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.collected_files import METRICS, OUTCOMES, frame_of

ABILITY = 1.0
"""The peak without an intervention, on the logit scale: about 70 % of tasks of unequal difficulty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a label does: all on the logit scale, where 1 is about 16 points."""

    peak: float = 0.0
    fall: float = 1.2
    """How far a run that falls ends below its peak."""
    falls: int = 4
    """The number of its first seeds that fall."""
    stopped: bool = False
    """True if runs that would fall are stopped, and go back to their peak."""


def study_of(
    effects: Mapping[str, Effect],
    *,
    cells: Sequence[str] = ("isolated",),
    seeds: int = 5,
    tasks: int = 128,
    samples: int = 4,
    spread: float = 0.1,
    source: int = 0,
) -> Collected:
    """One run per label, cell and seed, evaluated on the same tasks; `spread` is that of runs, on the logit scale."""
    chance = np.random.default_rng(source)
    difficulty = chance.normal(0.0, 1.5, tasks)
    runs, rows = [], []
    for cell in cells:
        for seed in range(seeds):
            own = chance.normal(0.0, spread)
            for label, effect in effects.items():
                name = f"{label}-{cell}-s{seed}"
                would_fall = seed < effect.falls
                peak = ABILITY + effect.peak + own + chance.normal(0.0, spread)
                end = peak - effect.fall * (would_fall and not effect.stopped)
                for milestone, ability in (("base", 0.0), ("peak", peak), ("terminal", end)):
                    drawn = _drawn(chance, expit(ability + difficulty), samples, milestone, seed, tasks)
                    rows += [(name, milestone, None, f"t{j}", float(value), samples) for j, value in enumerate(drawn)]
                runs.append(_record(name, label, cell, seed, effect, would_fall=would_fall))
    return Collected(runs=tuple(runs), outcomes=frame_of(OUTCOMES, rows), metrics=frame_of(METRICS, []))


def _drawn(chance, probabilities, samples, milestone, seed, tasks):
    """The mean outcomes of every task; those of the base are the same in all runs of a seed, as they really are."""
    own = np.random.default_rng([seed, tasks]) if milestone == "base" else chance
    return own.binomial(samples, probabilities) / samples


def _record(name: str, label: str, cell: str, seed: int, effect: Effect, *, would_fall: bool) -> RunRecord:
    was_stopped = would_fall and effect.stopped
    return RunRecord(
        run=name,
        path=f"runs/falls_micro/{name}",
        labels={"intervention": label, "sharing": cell},
        seed=seed,
        workflow="voting",
        sharing=cell,
        state="finished",
        steps=100,
        planned=100,
        peak_step=40,
        terminal_steps=(90, 95, 100),
        stopped="validation accuracy fell off its peak" if was_stopped else "",
        samples=4,
        fell=("cannot tell" if was_stopped else "fell") if would_fall else "held",
        signatures=("cliff: team",) if would_fall and not was_stopped else (),
        compare="intervention",
        task="arithmetic",
        model="lab-medium",
        tasks_sha256="same",
        config_sha256=f"{label}-{cell}",
    )
