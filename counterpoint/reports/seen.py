"""The numbers that pages and figures are made from, of finished runs and of runs that train."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from counterpoint.analysis.signatures.base import Finding
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.compared import Compared

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One run."""

    record: RunRecord
    roles: Sequence[str]
    """The roles of its workflow, in their order."""
    routing: Mapping[str, Sequence[str]]
    """Role -> the policies of its slots; one policy where all slots have the same."""
    metrics: "pl.DataFrame"
    """step, name, value: the numbers of training steps and, as `eval/<split>/<number>`, of evaluations."""
    outcomes: "pl.DataFrame"
    """milestone, role (null for the team), task, value, samples: empty before the run is finished."""
    findings: Sequence[Finding] = ()
    """The failure signatures with their evidence; empty where only collected files are there (`record.signatures` has
    the names)."""
    folder: Path | None = None
    """The run directory, if it can be read."""

    @property
    def policies(self) -> list[str]:
        """The policies, in the order in which the roles first use them."""
        return list(dict.fromkeys(policy for route in self.routing.values() for policy in route))

    @property
    def is_shared(self) -> bool:
        """True if one policy plays all roles: only then do gradient norms of roles compare."""
        return len(self.policies) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSeen:
    """The runs of a cell: they differ in their seeds alone."""

    name: str
    labels: Mapping[str, str]
    runs: Sequence[Seen]
    """In the order of seeds; of all states."""
    control: str = ""

    @property
    def begun(self) -> list[Seen]:
        """The runs that have recorded something: those that a figure can show."""
        return [run for run in self.runs if run.metrics.height]

    @property
    def finished(self) -> list[Seen]:
        """The runs that are finished and have milestones."""
        return [run for run in self.runs if run.record.peak_step is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Everything that a report is made from."""

    title: str
    about: str = ""
    """One sentence of the study's file."""
    cells: Sequence[CellSeen]
    collected: Collected
    compared: Compared | None
    """None where nothing can be compared: one run, or none that is finished."""
    reasons: Sequence[str] = ()
    """Why parts are missing, in words, such as why the runs cannot be compared."""
    excluded: Mapping[str, str] = field(default_factory=dict)
    """Combination of labels -> the reason why the study leaves it out."""
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Results by name: sentences, figures and tables have the same numbers."""

    def once(self, name: str, make: "Callable[[Gathered], T]") -> T:
        """`make` of this, made at the first call with this name."""
        if name not in self._made:
            self._made[name] = make(self)
        found: T = self._made[name]
        return found

    @property
    def roles(self) -> list[str]:
        """The roles of all runs, in one order: a role has the same colour in every figure."""
        return list(dict.fromkeys(role for cell in self.cells for run in cell.runs for role in run.roles))
