"""The plan of a study, as `counterpoint study STUDY --dry-run` prints it; nothing is written."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from counterpoint.cli.out import Terminal
from counterpoint.errors import counted
from counterpoint.experiments.cells import Cell, Study
from counterpoint.experiments.check import CellPlan, Checked, check
from counterpoint.experiments.cost import Cost, cost_of, gigabytes


def planned(
    console: Terminal, study: Study, folder: Path, jobs: int, *, dry_run: bool, now: str = ""
) -> Mapping[str, float]:
    """The plan of a study, checked and printed; run -> its seconds, as far as they are known.

    `now` says how its cells are. Nothing is written. Raises ConfigError if a cell cannot be run; unless it is a dry
    run, also if something is not on this machine, or memory or disk do not suffice.
    """
    checked = check(study)
    cost = cost_of(checked, folder, jobs)
    print_plan(console, checked, cost, folder)
    if now:
        console.print(f"now       {now}", markup=False, soft_wrap=True)
    if not dry_run:
        checked.refuse_if_missing()
        cost.refuse_if_too_large()
    elif reason := cost.problem():
        console.print(f"cannot start here: {reason}", markup=False, soft_wrap=True)
    return cost.by_run


def print_plan(console: Terminal, checked: Checked, cost: Cost, folder: Path) -> None:
    """The cells, what is left out and why, the controls, and what it all costs."""
    for line in head(checked.study, folder):
        console.print(line, markup=False, soft_wrap=True)
    for line in ("", *cell_lines(checked), "", *below(checked, cost)):
        console.print(line, markup=False, soft_wrap=True)


def head(study: Study, folder: Path) -> list[str]:
    """The study in a few lines."""
    compared = f"compared along {study.compare}" if study.compare else "nothing is compared"
    groups = {cell.group for cell in study.cells if not cell.control}
    runs = [cell for cell in study.cells if not cell.control]
    controls = len(study.cells) - len(runs)
    return [
        f"study     {study.name}" + (f": {study.about}" if study.about else ""),
        f"folder    {folder}",
        *(f"axis      {axis}: {', '.join(labels)}" for axis, labels in study.axes.items()),
        f"seeds     {', '.join(map(str, study.seeds))}",
        f"cells     {counted(len(groups), 'cell')} x {counted(len(study.seeds), 'seed')}"
        + (" = " if len(groups) * len(study.seeds) == len(runs) else ", left: ")
        + f"{counted(len(runs), 'run')},"
        f" {compared}; {counted(controls, 'run')} of controls; {counted(len(study.measures), 'evaluation')} afterwards",
        *([] if len(study.seeds) >= _ENOUGH else [_few(len(study.seeds))]),
    ]


def below(checked: Checked, cost: Cost) -> list[str]:
    """The combinations that are left out, remarks, absent things, and the cost."""
    study = checked.study
    return [
        *(f"left out  {_where(one.where)}: {one.reason}" for one in study.excluded),
        *(f"control   {note}" for note in study.notes),
        *(f"control   {line}" for line in _measures(study)),
        *(f"warning   {line}" for line in checked.warnings),
        *(f"checked without: {line}" for line in checked.missing),
        *([f"finished  {counted(cost.finished, 'run')}, which will not be run again"] if cost.finished else []),
        *cost.lines(),
    ]


def cell_lines(checked: Checked) -> list[str]:
    """One line per cell, without its seeds, below their heads. None is cut, whatever the width of the console."""
    rows = [_HEAD, *(_row(cell, checked.plans[cell.group]) for cell in _first(checked.study.cells))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


_ENOUGH = 5
_HEAD = ("cell", "steps", "evaluations", "calls", "calls per step", "memory")


def _few(seeds: int) -> str:
    return f"warning   {counted(seeds, 'seed')}: an interval over seeds is wide with fewer than {_ENOUGH}"


def _row(cell: Cell, plan: CellPlan) -> tuple[str, ...]:
    memory = "?" if plan.memory is None else gigabytes(plan.memory)
    counts = (plan.steps, plan.evaluations, plan.calls, plan.calls_per_step)
    return (cell.group, *map(str, counts), memory)


def _first(cells: Iterable[Cell]) -> list[Cell]:
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(cell.group, cell)
    return list(first.values())


def _measures(study: Study) -> list[str]:
    """One line for each kind of evaluation."""
    counts: dict[str, int] = {}
    for one in study.measures:
        counts[one.name] = counts.get(one.name, 0) + 1
    return [f"{name}: {counted(count, 'evaluation')} of finished runs" for name, count in counts.items()]


def _where(where: Mapping[str, str]) -> str:
    return ", ".join(f"{axis} = {label}" for axis, label in where.items())
