"""Collected results of runs: all that statistics, advice and reports read.

runs.jsonl          one line per run: `RunRecord`
recipes.jsonl       one line per recipe of these runs
outcomes.parquet    one row per (run, milestone, role, task)
metrics.parquet     one row per (run, step, name)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from counterpoint.analysis.fallen import Explained
from counterpoint.analysis.falls import Fell as Fell
from counterpoint.analysis.intervals import Interval
from counterpoint.analysis.signatures.base import Finding

if TYPE_CHECKING:
    import polars as pl

Milestone = Literal["base", "peak", "terminal"]
_Part = tuple[str, str, str | None]
MILESTONES: tuple[Milestone, ...] = ("base", "peak", "terminal")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run."""

    run: str
    """Its name, unique among the collected runs: that of its cell, or of its directory."""
    path: str
    labels: Mapping[str, str]
    """Axis -> label: those of its cell or, for runs that no study made, the keys in which the runs differ."""
    seed: int
    workflow: str = ""
    """The name of its workflow, as its recipe has it."""
    sharing: str = ""
    """`policies.sharing` of its recipe: shared, isolated, slots, or a text of the map from roles to policies."""
    control: str = ""
    """The name of the control that the run was trained for."""
    state: str
    """One of the six states; only finished runs have what follows."""
    steps: int = 0
    peak_step: int | None = None
    terminal_steps: tuple[int, ...] = ()
    stopped: str = ""
    """Why an intervention ended the run early."""
    samples: int = 0
    """Episodes per task at the milestones."""
    drop: Interval | None = None
    """Peak minus terminal, over tasks: of this run, not of its method."""
    fell: Fell | None = None
    onset: int | None = None
    """The first evaluation from which all lie below the peak's interval; None unless the run fell."""
    signatures: tuple[str, ...] = ()
    """`name: where`, for every failure signature that was found."""
    findings: tuple[Finding, ...] = ()
    """The same, with the steps and the evidence; empty in files of versions that did not collect them."""
    explained: Explained | None = None
    """The roles that fell and what changed; None unless the run fell, and in files of earlier versions."""
    controls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Control -> `{role or "team": {"accuracy": ..., "outcomes": {task: mean}, "samples": {task: count}}}` of the
    evaluations made for it. Files of versions that did not count the samples say 1."""
    tokens: float = 0.0
    """Tokens generated in training episodes."""
    cpu_seconds: float | None = None
    seconds: float | None = None
    """Wall-clock time of the recorded steps."""
    version: str = ""
    commit: str = ""
    config_sha256: str = ""
    """A digest of the recipe without seed and threads: equal for the seeds of a cell."""
    tasks_sha256: str = ""
    """The fingerprint of the test split: only runs with an equal one can be compared task by task."""
    compare: str = ""
    """The axis that the run's study compares; empty for a run that no study made."""
    margin: float | None = None
    """The margin of its study, within which differences in accuracy count as alike."""
    task: str = ""
    """The name of its task set, as its recipe has it."""
    model: str = ""
    """The path of its base model, as its recipe has it."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Shipped base model -> the SHA-256 of its files: a model of the same name may be another one in another version.
    """
    planned: int = 0
    """The training steps that its recipe asks for."""
    routing: Mapping[str, Any] = field(default_factory=dict)
    """Role -> its policy, or the list of the policies of its slots; empty before the run has begun."""
    rate: str = ""
    """The learning rate of its policies, as its recipe has it: several, joined by "and", where they differ. Empty in
    files of versions that did not collect it."""
    base_sha256: str = ""
    """A digest of what decides how the base plays the test tasks: equal for runs that differ in their training alone.
    Empty before the run has begun, and in files of versions that did not collect it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Runs with their outcomes and metrics."""

    runs: tuple[RunRecord, ...]
    outcomes: "pl.DataFrame"
    """run, milestone, role (null for the team), task, value (mean over samples and, at the end, evaluations), samples.
    """
    metrics: "pl.DataFrame"
    """run, step, name, value."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Run -> the reason why it could not be read; empty unless such runs were asked for (`collect`)."""
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """`config_sha256` -> the recipe without seed and threads; older collected files have none."""
    _parts: "dict[_Part, pl.DataFrame]" = field(default_factory=dict, init=False, repr=False, compare=False)
    """The outcomes of each run, milestone and role; made at first use, as a comparison asks thousands of times."""

    def outcomes_of(self, run: str, milestone: Milestone, role: str | None = None) -> dict[str, float]:
        """Task -> mean outcome of the team, or of a role, in a run; empty if there is none."""
        found = self._by_part().get((run, milestone, role))
        return {} if found is None else dict(zip(found["task"].to_list(), found["value"].to_list(), strict=True))

    def roles_of(self, runs: Iterable[str]) -> list[str]:
        """The roles of which any of the runs has an outcome, sorted."""
        names = set(runs)
        return sorted({role for run, _, role in self._by_part() if role is not None and run in names})

    def _by_part(self) -> "dict[_Part, pl.DataFrame]":
        if not self._parts and self.outcomes.height:
            self._parts.update(self.outcomes.partition_by("run", "milestone", "role", as_dict=True))
        return self._parts
