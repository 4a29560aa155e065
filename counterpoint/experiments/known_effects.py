"""The measured effects of interventions, which ship with the package and are quoted with their figures."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from counterpoint.analysis.outliers import points
from counterpoint.config import Config
from counterpoint.errors import RunError, counted
from counterpoint.experiments.cells import Cell, Study
from counterpoint.experiments.prevented import Outcome, Prevented, Prevention

FILE = "known_effects.json"
FALL = "cliff"
"""The signature of a fall."""
Interval = tuple[float, float, float]
HARMFUL: frozenset[Outcome] = frozenset({"ends lower", "costs the peak", "ends higher, costs the peak"})
"""Outcomes in a cell alone against which a mean over several cells is not quoted."""
_MOST = 3
"""Interventions that are quoted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The effect of one intervention against none, over the cells of one study in which it was measured."""

    study: str
    label: str
    keys: tuple[str, ...]
    """The keys of a recipe that make the intervention, `key=value`; empty if the study did not say."""
    workflows: tuple[str, ...]
    sharings: tuple[str, ...]
    what: str
    """Workflow, task, model, steps and episodes per task, in words."""
    cells: tuple[str, ...]
    seeds: int
    paired: bool
    """True if the differences are those of runs with equal seeds."""
    tasks: int
    outcome: Outcome
    kept: Interval
    """Value, low and high of the difference at the end, as a fraction."""
    peak: Interval
    fell: tuple[int, int]
    """The runs that fell with it, and those of which it can be told."""
    fell_without: tuple[int, int]
    p_falls: float
    stopped: int
    runs: tuple[int, int]
    """The finished runs with it and without it."""
    signatures: Mapping[str, tuple[int, int]]
    """Failure signature -> the runs that show it, with and without."""

    @property
    def origin(self) -> str:
        """`in 5 paired seeds of voting on arithmetic with lab-medium, 100 steps`."""
        cells = f", mean over {' and '.join(self.cells)}" if len(self.cells) > 1 else ""
        return f"in {counted(self.seeds, 'paired seed' if self.paired else 'seed')} of {self.what}{cells}"

    @property
    def figures(self) -> str:
        """`+8.1 points [2.0, 14.2] at the end, -0.3 [-1.5, 0.9] at the peak; 4 of 5 fell without it, 0 of 5 with it`.

        With the runs that were stopped, if any.
        """
        end, peak = (
            f"{100 * value:+z.1f}{unit} [{points(low)}, {points(high)}]"
            for (value, low, high), unit in ((self.kept, " points"), (self.peak, ""))
        )
        fell = "{} of {} fell without it, {} of {} with it".format(*self.fell_without, *self.fell)
        stopped = f", {self.stopped} of {self.runs[0]} were stopped" if self.stopped else ""
        return f"{end} at the end, {peak} at the peak; {fell}{stopped}"


def known_for(config: Config, signatures: Collection[str]) -> list[str]:
    """`known_lines` for a run with this recipe."""
    sharing = config.policies.sharing
    return known_lines(config.workflow.name, sharing if isinstance(sharing, str) else "other", signatures)


def known_after(workflow: str, fell: Sequence[str]) -> tuple[str, ...]:
    """`known_lines` of a fall for every sharing among those of the runs that fell, with its name before each."""
    return tuple(
        f"{sharing}: {line}" for sharing in dict.fromkeys(fell) for line in known_lines(workflow, sharing, [FALL])
    )


def known_lines(
    workflow: str, sharing: str, signatures: Collection[str], known: Sequence[Known] | None = None
) -> list[str]:
    """The effects measured on runs of this workflow and sharing, if they show these signatures; what helped first.

    Nothing without a fall, or a signature that runs without an intervention showed there. If the fall was measured
    nowhere for this workflow and sharing, one line says so. `known` are the shipped effects unless given.
    """
    every = shipped() if known is None else known
    mine = [one for one in every if workflow in one.workflows and sharing in one.sharings]
    if not mine:
        where = f"{workflow} with {sharing} policies"
        missing = f"not measured: which intervention prevents a fall of {where} without costing its peak"
        return [missing] if FALL in signatures else []
    there = {name for one in mine for name, (_, without) in one.signatures.items() if without}
    if not {FALL, *there} & {*signatures}:
        return []
    return list(_told(mine, [name for name in signatures if name != FALL and name in there]))


def _told(mine: Sequence[Known], others: Sequence[str]) -> Iterator[str]:
    harmful = {one.label for one in mine if len(one.cells) == 1 and one.outcome in HARMFUL}
    helping = [one for one in mine if one.outcome == "prevents the fall" and one.label not in harmful]
    best = {one.label: one for one in sorted(helping, key=_rank, reverse=True)}
    if len(best) > 1:
        yield f"measured: {len(best)} interventions prevent the fall; which of them is the best was not tested"
    for one in sorted(best.values(), key=_rank)[:_MOST]:
        shown = [
            f"{name}: {one.signatures[name][0]} of {one.runs[0]} runs with it, {one.signatures[name][1]} of"
            f" {one.runs[1]} without"
            for name in others
            if name in one.signatures
        ]
        more = f"; {'; '.join(shown)}" if shown else ""
        keys = f" ({' '.join(one.keys)})" if one.keys else ""
        yield f"measured: `{one.label}`{keys} prevents the fall: {one.origin}, {one.figures}{more}"
    labels = list(dict.fromkeys(one.label for one in mine))
    if not best:
        named = f"measured: of {counted(len(labels), 'intervention')} ({', '.join(labels)})"
        yield f"{named} none is shown to prevent the fall without a lower peak, {mine[0].origin}"
    for one in {one.label: one for one in mine if one.outcome == "goes back to the peak"}.values():
        yield f"measured: `{one.label}` goes back to the peak: {one.origin}, {one.figures}"


def _rank(one: Known) -> tuple[int, float]:
    """The nearest first: few cells, then the highest end."""
    return len(one.cells), -one.kept[0]


@cache
def shipped() -> tuple[Known, ...]:
    """The effects that ship with the package."""
    return read(json.loads((files("counterpoint.experiments") / FILE).read_text(encoding="utf-8")))


def read(table: Mapping[str, Any]) -> tuple[Known, ...]:
    """The effects in the content of a file that `write` wrote. Raises RunError if it is damaged."""
    try:
        return TypeAdapter(tuple[Known, ...]).validate_python(table["effects"])
    except (KeyError, ValueError) as error:
        raise RunError(f"{FILE} is damaged: {type(error).__name__}: {error}") from error


def write(known: Sequence[Known], path: Path) -> None:
    """`path` holds the effects as JSON, which `read` reads back."""
    path.write_text(json.dumps({"effects": [asdict(one) for one in known]}, indent=1) + "\n", encoding="utf-8")


def known_of(study: Study, found: Prevented) -> list[Known]:
    """The effects that a study measured: over its cells, then in each."""
    keys = _keys_of(study, found)
    return [_measured(study.name, one, found.what, keys.get(one.label, ())) for one in (*found.pooled, *found.cells)]


def _keys_of(study: Study, found: Prevented) -> dict[str, tuple[str, ...]]:
    """Label -> the overrides that its cells have and those of the reference have not; controls are neither."""
    cells = [cell for cell in study.cells if not cell.control]
    without: dict[tuple[str, ...], set[str]] = {}
    for cell in cells:
        if cell.labels[found.by] == found.reference:
            without.setdefault(_rest(cell, found.by), set()).update(cell.overrides)
    keys: dict[str, tuple[str, ...]] = {}
    for cell in cells:
        common = without.get(_rest(cell, found.by))
        if common is not None:
            own = tuple(key for key in cell.overrides if key not in common and not key.startswith("run.seed="))
            keys.setdefault(cell.labels[found.by], own)
    return keys


def _rest(cell: Cell, by: str) -> tuple[str, ...]:
    return tuple(label for axis, label in cell.labels.items() if axis != by)


def _measured(study: str, one: Prevention, what: str, keys: tuple[str, ...]) -> Known:
    return Known(
        study=study,
        label=one.label,
        keys=keys,
        workflows=one.workflows,
        sharings=one.sharings,
        what=what,
        cells=one.cells,
        seeds=min(one.kept.found.seeds),
        paired=one.kept.found.paired,
        tasks=one.kept.found.tasks,
        outcome=one.outcome,
        kept=one.kept.found.shown,
        peak=one.peak.found.shown,
        fell=(one.falls.fell, one.falls.told),
        fell_without=(one.falls_without.fell, one.falls_without.told),
        p_falls=one.pairs.p_value,
        stopped=one.stopped,
        runs=(one.runs, one.runs_without),
        signatures=dict(one.signatures),
    )
