"""Early warning: of the runs of a study with such a number by a step, how many fell later.

A calibration quotes counts of one study. It holds no model and gives no probability: the rate of another workflow, task
or size may be another one. Thresholds are chosen without the falls: they are those of the failure signatures, fixed
before any study, or else the median of the study's values. A run that is read against a calibration is not part of it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from counterpoint.analysis.early import DIAGNOSTICS, Measured, Numbers, measured
from counterpoint.analysis.fall_counts import Count, FallCount, Fate, fall_counts, in_words
from counterpoint.analysis.falls import Fell, bracket, rate
from counterpoint.analysis.left_out import left_out_auc
from counterpoint.errors import ConfigError, counted
from counterpoint.files import write_whole
from counterpoint.options import explain

if TYPE_CHECKING:
    import polars as pl

FORMAT: Literal[1] = 1
STEPS = (10, 20)
"""Steps at which runs are looked at, unless others are given."""
FLOOR = 8
"""Least number of runs of which a rate is quoted: below, its interval spans most of what is possible."""
LEAST_FALLS = 3
"""Least number of later falls from which a diagnostic is quoted."""
LEAST_AUC = 0.65
"""Least left-out AUC of a diagnostic whose rates are quoted; at 0.5 it says nothing."""

Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A run of a study, as a calibration sees it."""

    run: str
    cell: str
    """Equal for the runs that differ only in their seed."""
    workflow: str
    sharing: str
    fell: Fell | None
    """None for a run that did not finish, which is left out."""
    onset: int | None
    """The step from which it lay below its peak; None unless it fell."""
    last: int
    """Its last training step."""
    numbers: Numbers
    held_until: int | None = None
    """The last evaluation before the onset, after which the fall may have begun; the step before it if not given."""
    labels: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    task: str = ""
    rate: str = ""

    def goes_on_at(self, step: int) -> bool:
        """True if the run had not begun to fall by then, and went on."""
        until = self.last if self.onset is None else self.onset - 1 if self.held_until is None else self.held_until
        return self.last > step and (self.onset is None or until >= step)


class _Data(BaseModel):
    """A part of the file: immutable, strict about types, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Side(_Data):
    """The runs on one side of a threshold."""

    fell: Count
    """Those that fell later."""
    told: Count
    """Those that fell later or held."""

    @model_validator(mode="after")
    def _is_count(self) -> "Side":
        if self.fell > self.told:
            raise ValueError(f"{self.fell} of {self.told} runs cannot have fallen")
        return self

    @property
    def count(self) -> str:
        """`4 of 11`."""
        return f"{self.fell} of {self.told}"

    @property
    def interval(self) -> str:
        """Wilson's interval of the rate: `[15 %, 65 %]`."""
        found = rate(self.fell, self.told)
        return bracket(found.low, found.high)


class Entry(_Data):
    """A diagnostic of a role at a step, over the runs of one workflow and one sharing that had not fallen by then."""

    workflow: str
    sharing: str
    diagnostic: str
    role: str
    """Empty for a diagnostic of a whole policy."""
    slots: Count
    """The parallel calls of the role; 0 if it has none, or if the diagnostic does not depend on them."""
    step: Annotated[int, Field(ge=1)]
    threshold: Finite
    chosen: Literal["signature", "median"]
    """The origin of the threshold: a failure signature, or the median of these runs."""
    above: Side
    """At least the threshold."""
    below: Side
    auc: Annotated[float, Field(ge=0.0, le=1.0)] | None
    """`left_out_auc`; None if every run fell, none did, or there are too few cells."""
    cannot_tell: Count
    """Runs that have the number, and of which it cannot be told whether they fell."""

    @property
    def key(self) -> tuple[str, str, str, str, int, int]:
        """Unique in a calibration."""
        return self.workflow, self.sharing, self.diagnostic, self.role, self.slots, self.step

    @property
    def measured(self) -> Measured:
        """The diagnostic of the role."""
        return Measured(self.diagnostic, self.role, self.slots)

    def side(self, value: float) -> Side:
        """The runs on the same side of the threshold as `value`."""
        return self.above if value >= self.threshold else self.below

    def sentence(self, *values: float) -> str:
        """The rate of the runs on the same side as `values`, which are all on one, and that of the others."""
        kind = DIAGNOSTICS[self.diagnostic]
        is_above = values[0] >= self.threshold
        same, others = self.side(values[0]), self.below if is_above else self.above
        name = f"{self.diagnostic} of {self.role}" if self.role else self.diagnostic
        unit = f" of {self.slots} slots" if self.diagnostic == "amplification" else kind.unit
        here = ", ".join(f"{value:.3g}" for value in values)
        return (
            f"{name} {'at least' if is_above else 'below'} {self.threshold:.3g}{unit} by step {self.step} (here"
            f" {here}): {same.count} such runs fell later {same.interval}; of the others, {others.count}"
            f" {others.interval}"
        )


class Reading(NamedTuple):
    """The recorded rates that a run is read against."""

    found: tuple[tuple[Entry, float], ...]
    """The entries that say something about the run, each with the run's value."""
    reason: str
    """The reason why there is none; empty if there is one."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """The entries in words."""
        return tuple(entry.sentence(value) for entry, value in self.found)


class Calibration(_Data):
    """The recorded rates of one study, as `calibration.json` holds them."""

    format: Literal[1]
    study: str
    runs: Count
    """All runs that finished."""
    fell: Count
    cannot_tell: Count
    last: Count
    """The last step of the longest run: "later" means up to here."""
    entries: tuple[Entry, ...]
    falls: tuple[FallCount, ...] = ()
    models: tuple[str, ...] = ()
    """The base models of these runs."""
    tasks: tuple[str, ...] = ()
    rates: tuple[str, ...] = ()
    """The learning rates of these runs."""

    @model_validator(mode="after")
    def _is_consistent(self) -> "Calibration":
        if self.fell + self.cannot_tell > self.runs:
            raise ValueError(f"{self.fell} + {self.cannot_tell} runs are more than {self.runs}")
        if len({entry.key for entry in self.entries}) < len(self.entries):
            raise ValueError("two entries have the same workflow, sharing, diagnostic, role, slots and step")
        if unknown := {entry.diagnostic for entry in self.entries} - set(DIAGNOSTICS):
            raise ValueError(f"unknown diagnostic {min(unknown)!r}; allowed: {', '.join(DIAGNOSTICS)}")
        return self

    @property
    def about(self) -> str:
        """The origin of the rates, in a sentence without a full stop."""
        unclear = f", and of {self.cannot_tell} it cannot be told" if self.cannot_tell else ""
        trained = f" with {', '.join(self.models)}" if self.models else ""
        asked = f" on {', '.join(self.tasks)}" if self.tasks else ""
        fast = f" at the learning rate {', '.join(self.rates)}" if self.rates else ""
        return (
            f"the study {self.study}: {self.runs} runs{trained}{asked}{fast} of up to {self.last} steps,"
            f" {self.fell} fell{unclear}"
        )

    def falls_of(self, workflow: str, sharing: str) -> str:
        """The number of runs of this workflow and sharing that fell, in words; empty if there are none."""
        return in_words(self.falls, workflow, sharing)

    def unlike(self, model: str, task: str, rate: str) -> str:
        """The respects in which a run is none of the study's, in words; empty if there are none, or it is not known."""
        named = (("model", model, self.models), ("task", task, self.tasks), ("learning rate", rate, self.rates))
        found = [f"{name} {own}" for name, own, known in named if own and known and own not in known]
        told = f"none of these runs has the {' or the '.join(found)}, with which falls may be more or less frequent"
        return told if found else ""

    def write(self, path: Path) -> None:
        """`path` holds the calibration as JSON: the same bytes for the same calibration."""
        write_whole(path, self.model_dump_json(indent=1) + "\n")

    def read_against(self, workflow: str, sharing: str, numbers: Numbers) -> Reading:
        """The recorded rates for a run with these numbers, the diagnostic that told runs apart best first.

        It is read at the last calibrated step that it has reached. There is no sentence for another workflow, sharing,
        role or number of slots, for a diagnostic with an AUC below `LEAST_AUC`, or from fewer than `FLOOR` runs.
        """
        entries = [entry for entry in self.entries if (entry.workflow, entry.sharing) == (workflow, sharing)]
        if not entries:
            return Reading((), f"the study {self.study} has no calibrated runs of {workflow} with {sharing} policies")
        last = max((step for values in numbers.values() for step in values), default=0)
        reached = [entry.step for entry in entries if entry.step <= last]
        if not reached:
            first = min(entry.step for entry in entries)
            return Reading((), f"the first calibrated step is {first}, and the run has {last}")
        step = max(reached)
        return self._read_at([entry for entry in entries if entry.step == step], measured(numbers, step))

    def _read_at(self, entries: Sequence[Entry], values: Mapping[Measured, float]) -> Reading:
        there = [(entry, values[entry.measured]) for entry in entries if entry.measured in values]
        if not there:
            return Reading((), f"no diagnostic in the study {self.study} has the roles and slots of this run")
        told = [(entry, value) for entry, value in there if (entry.auc or 0.0) >= LEAST_AUC]
        sides = [side for entry, _ in there for side in (entry.above, entry.below)]
        if not any(side.fell for side in sides):
            return Reading(
                (), f"no run of the study {self.study} with these roles and policies is known to have fallen later"
            )
        most = max(entry.above.fell + entry.below.fell for entry, _ in there)
        if most < LEAST_FALLS:
            return Reading(
                (),
                f"{counted(most, 'run')} of the study {self.study} with these roles and policies fell later: too few",
            )
        if all(side.fell == side.told for side in sides):
            return Reading(
                (), f"all runs of the study {self.study} with these roles and policies that can be told fell later"
            )
        if all(entry.auc is None for entry, _ in there):
            return Reading((), f"the study {self.study} has too few cells to say which diagnostic tells runs apart")
        if not told:
            return Reading((), f"no diagnostic told runs that fell later from others in the study {self.study}")
        many = [(entry, value) for entry, value in told if entry.side(value).told >= FLOOR]
        if not many:
            return Reading((), f"fewer than {FLOOR} runs of the study {self.study} were like this one")
        ranked = sorted(many, key=lambda pair: (-(pair[0].auc or 0.0), pair[0].key))
        return Reading(tuple(ranked), "")


def calibrate(study: str, cases: Sequence[Case], steps: Iterable[int] = STEPS) -> Calibration:
    """The rates of falls after each of these steps, over the runs that had not fallen by then and went on.

    Runs are compared within a workflow and a sharing. Raises ValueError if a step is below 1, a run is given twice, or
    one fell without an onset.
    """
    steps = sorted({*steps})
    if steps and steps[0] < 1:
        raise ValueError(f"a step is at least 1, not {steps[0]}")
    if len({case.run for case in cases}) < len(cases):
        raise ValueError("a run is given twice")
    if unknown := [case.run for case in cases if case.fell == "fell" and case.onset is None]:
        raise ValueError(f"{unknown[0]} fell, and has no onset")
    finished = [case for case in cases if case.fell is not None]
    groups = sorted({(case.workflow, case.sharing) for case in finished})
    entries = [
        entry
        for (workflow, sharing), step in product(groups, steps)
        for entry in _entries([one for one in finished if (one.workflow, one.sharing) == (workflow, sharing)], step)
    ]
    return Calibration(
        format=FORMAT,
        study=study,
        runs=len(finished),
        fell=sum(case.fell == "fell" for case in finished),
        cannot_tell=sum(case.fell == "cannot tell" for case in finished),
        last=max((case.last for case in finished), default=0),
        entries=tuple(entries),
        falls=fall_counts(Fate(one.workflow, one.sharing, one.labels, one.fell) for one in finished if one.fell),
        models=tuple(sorted({case.model for case in finished if case.model})),
        tasks=tuple(sorted({case.task for case in finished if case.task})),
        rates=tuple(sorted({case.rate for case in finished if case.rate})),
    )


def read_calibration(path: Path) -> Calibration:
    """The calibration in a file. Raises ConfigError, in one line, if it is none of this format."""
    try:
        text = path.read_text(encoding="utf-8")
        plain: Any = json.loads(text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{path} is not a calibration: it is not JSON") from None
    if not isinstance(plain, dict) or "format" not in plain:
        raise ConfigError(f"{path} is not a calibration: it has no format")
    if plain["format"] != FORMAT or isinstance(plain["format"], bool):
        raise ConfigError(f"{path} has the format {plain['format']!r}; this version reads {FORMAT}")
    try:
        return Calibration.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_fault(error)}") from None


def numbers_of(metrics: "pl.DataFrame") -> dict[str, Numbers]:
    """Run -> its numbers that diagnostics read, from a frame with the columns run, step, name, value."""
    import polars as pl

    wanted = metrics.filter(pl.col("name").str.contains("^(gradient|role)/") & pl.col("value").is_finite())
    found: dict[str, dict[str, dict[int, float]]] = {run: {} for run in metrics["run"].unique(maintain_order=True)}
    for run, step, name, value in wanted.select("run", "step", "name", "value").iter_rows():
        found[run].setdefault(name, {})[step] = value
    return dict(found)


def _entries(cases: Sequence[Case], step: int) -> list[Entry]:
    """The entries of one workflow and sharing at a step."""
    going = [case for case in cases if case.goes_on_at(step)]
    found = [(case, measured(case.numbers, step)) for case in going]
    names = sorted({name for _, values in found for name in values})
    made = [_entry(name, step, [(case, values[name]) for case, values in found if name in values]) for name in names]
    return [entry for entry in made if entry is not None]


def _entry(name: Measured, step: int, cases: Sequence[tuple[Case, float]]) -> Entry | None:
    """None if all runs have the same value, which tells none from another."""
    told = [(case, value) for case, value in cases if case.fell in ("fell", "held")]
    values = [value for _, value in told]
    if len({*values}) < 2:
        return None
    threshold, chosen = _threshold(name, values)
    fell = [case.fell == "fell" for case, _ in told]
    is_above = [value >= threshold for value in values]
    sides = [
        Side(
            fell=sum(one and side is above for one, above in zip(fell, is_above, strict=True)),
            told=is_above.count(side),
        )
        for side in (True, False)
    ]
    return Entry(
        workflow=cases[0][0].workflow,
        sharing=cases[0][0].sharing,
        diagnostic=name.diagnostic,
        role=name.role,
        slots=name.slots,
        step=step,
        threshold=threshold,
        chosen=chosen,
        above=sides[0],
        below=sides[1],
        auc=left_out_auc(values, fell, [case.cell for case, _ in told]),
        cannot_tell=len(cases) - len(told),
    )


def _threshold(name: Measured, values: Sequence[float]) -> tuple[float, Literal["signature", "median"]]:
    """That of the signature, if it leaves enough runs on both sides to quote a rate; else the median.

    It looks at the values alone, and never at the falls.
    """
    fixed = DIAGNOSTICS[name.diagnostic].threshold
    if fixed is not None:
        threshold = fixed * (name.slots or 1) if name.diagnostic == "amplification" else fixed
        if FLOOR <= sum(value >= threshold for value in values) <= len(values) - FLOOR:
            return threshold, "signature"
    return median(values), "median"


def _fault(error: ValidationError, most: int = 300) -> str:
    """The first fault in one line; of a long value, the middle is left out."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return ".".join(map(str, first["loc"])) + (": " if first["loc"] else "") + str(first["ctx"]["error"])
    line = " ".join(explain(error, Calibration).split())
    return line if len(line) <= most else f"{line[: most // 2]} ... {line[-most // 2 :]}"
