"""The cells of a study: which runs it is made of, and which evaluations of finished runs are its controls."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SEED = "seed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of a study."""

    name: str
    """The directory of the run within that of the study; made from the labels and the seed, unique in the study."""
    labels: Mapping[str, str]
    """Axis -> label, such as workflow -> voting; equal for all seeds of a cell."""
    seed: int
    recipe: str
    """A recipe's name or file."""
    overrides: tuple[str, ...]
    """`key=value`, applied in this order; the last one sets `run.seed`."""
    control: str = ""
    """The name of the control that this run is trained for; empty for a run of the comparison."""

    @property
    def group(self) -> str:
        """The name without the seed: equal for runs that differ in nothing else."""
        return group_of(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """An evaluation of finished runs that serves as a control: a process that writes one JSON file."""

    name: str
    """The name of the control, such as swap."""
    cell: str
    """The name of the cell to which it belongs; its result is `<cell>/controls/<name>.json`."""
    needs: tuple[str, ...]
    """The names of the cells that must be finished first."""
    arguments: tuple[str, ...]
    """The arguments of `counterpoint` without `--out`; `{NAME}` stands for the directory of the cell NAME."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """A combination of labels that the study leaves out."""

    where: Mapping[str, str]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Everything that a study's file says, expanded."""

    name: str
    file: Path | None
    """The file that was read; None for a study that a command makes."""
    compare: str
    """The axis whose labels are compared, such as sharing; empty for a study of one cell."""
    axes: Mapping[str, tuple[str, ...]]
    """Axis -> its labels, in the order of the file."""
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    """Seed-major: every cell of the first seed, then of the next; within a seed in the order of the file."""
    measures: tuple[Measure, ...] = ()
    excluded: tuple[Excluded, ...] = ()
    margin: float = 0.03
    """Differences in accuracy within this margin count as alike."""
    about: str = ""
    """One sentence about the study."""
    least_evaluations: int = 0
    """Fewer evaluations of a run, the base included, are refused; 0 for a study that a command makes."""
    notes: tuple[str, ...] = ()
    """Remarks on how the study was expanded: calls that were counted, controls that some cells cannot have."""


def group_of(run: str) -> str:
    """The name of a run of a study without its seed."""
    return run.rpartition("-s")[0]
