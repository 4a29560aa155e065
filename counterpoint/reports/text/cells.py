"""Every cell in a row: accuracies, falls, time and tokens."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from counterpoint.analysis.comparison import Level
from counterpoint.errors import counted
from counterpoint.experiments.collected import RunRecord
from counterpoint.experiments.compared import TEAM, Compared, GroupLevel, shown_accuracy
from counterpoint.experiments.matrices import has_outcomes
from counterpoint.reports.seen import CellSeen, Gathered
from counterpoint.reports.text.statement import Part, Rows, Statement, listed, not_run

_FEW_SEEDS = 5


def accuracies(gathered: Gathered) -> Part:
    """Base, peak, terminal, gain and drop of every cell, with falls; of controls too."""
    found = gathered.compared
    title = "Every cell"
    if found is None:
        return Part(title=title, statements=[not_run(listed(gathered.reasons))])
    rows = list(_accuracy_rows(found))
    seeds = [one.peak.seeds for one in found.levels if one.who == TEAM]
    statements = [Statement(text=f"{counted(len(seeds), 'cell')} with finished runs, {_span(seeds)} seeds each")]
    if 1 in seeds:
        one = counted(seeds.count(1), "cell")
        statements.append(
            Statement(
                text=(
                    f"the intervals of {one} with one seed, marked with *, are over tasks alone: they say nothing of"
                    " what another seed would give"
                )
            )
        )
    improved = _improved(found)
    statements += [improved] if improved else []
    about = (
        "Accuracy of the team on test tasks in %, gain (peak minus base) and drop (peak minus terminal) in points, with"
        " 95 % intervals over seeds and tasks; fell: runs, of those of which it can be told; open: those of which it"
        " cannot be told yet"
    )
    columns = ("cell", "seeds", "base", "peak", "terminal", "gain", "drop", "fell")
    table = Rows(columns=columns, rows=rows, about=about)
    return Part(title=title, statements=statements, tables=[table], figures=("map",))


def _improved(found: Compared) -> Statement | None:
    """The cells whose gain is above 0; None without a cell of two seeds."""
    told = improved(found)
    if told is None:
        return None
    better, worse, count = told
    names = f"; it cannot be told in {'; '.join(worse)}" if worse else ""
    return Statement(
        text=(
            f"the team gained over its base, at the peak, in {len(better)} of {counted(count, 'cell')} of two seeds or"
            f" more (after Holm over {count}){names}"
        ),
    )


def improved(found: Compared) -> tuple[list[str], list[str], int] | None:
    """The cells with a gain above 0 after Holm, those of which that cannot be said, and their number."""
    from counterpoint.analysis.contrast import CONFIDENCE
    from counterpoint.analysis.multiplicity import holm

    tested = [(one, one.gain.estimate) for one in found.levels if one.who == TEAM and one.gain.estimate is not None]
    if not tested:
        return None
    p_values = holm([estimate.p_value for _, estimate in tested])
    better: list[str] = []
    worse: list[str] = []
    for (one, estimate), p_value in zip(tested, p_values, strict=True):
        is_better = p_value <= 1 - CONFIDENCE and estimate.value > 0
        (better if is_better else worse).append(_name(one))
    return better, worse, len(tested)


def _name(one: GroupLevel) -> str:
    return f"{one.block}, {one.group}" if one.block else one.group


def _accuracy_rows(found: Compared) -> Iterator[tuple[str, ...]]:
    fell = {(one.block, one.group): one.rate for one in found.falls}
    for one in (*(level for level in found.levels if level.who == TEAM), *found.controls):
        rate = fell.get((one.block, one.group))
        told = "" if rate is None else f"{rate.fell} of {rate.told}"
        open_ = rate.cannot_tell if rate is not None else 0
        yield (
            f"control {one.group}" if one in found.controls else _name(one),
            f"{one.peak.seeds}",
            *(_percent(level) for level in (one.base, one.peak, one.terminal)),
            *(_points(level) for level in (one.gain, one.drop)),
            f"{told}, {open_} open" if open_ else told,
        )


def _percent(found: Level) -> str:
    value, low, high = (100 * part for part in shown_accuracy(found))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]{_mark(found)}"


def _points(found: Level) -> str:
    value, low, high = (100 * part for part in found.shown)
    return f"{value:+z.1f} [{low:z.1f}, {high:z.1f}]{_mark(found)}"


def _mark(found: Level) -> str:
    return "" if found.over_seeds else "*"


def cost(gathered: Gathered) -> Part:
    """Wall-clock time, CPU time and tokens of every cell."""
    title = "What did it cost?"
    rows, every = [], []
    for cell in gathered.cells:
        runs = [run.record for run in cell.finished]
        if runs:
            every += runs
            rows.append((cell.name, f"{len(runs)}", *_costs(runs)))
    if not rows:
        return Part(title=title, statements=[not_run("no run is finished")])
    total = _costs(every, sums=True)
    statements = [
        Statement(
            text=(
                f"{counted(len(every), 'finished run')}, with those of controls: {total[0]} hours of wall-clock time of"
                f" training steps, {total[1]} hours of CPU time, {total[2]} million generated tokens"
            )
        )
    ]
    about = (
        "Means over the finished runs of a cell: wall-clock minutes of the training steps (on a machine that may have"
        " done other work), minutes of CPU time of the whole run with its evaluations, and thousands of tokens that"
        " training episodes generated"
    )
    columns = ("cell", "runs", "minutes of steps", "minutes of CPU", "thousand tokens")
    return Part(title=title, statements=statements, tables=[Rows(columns=columns, rows=rows, about=about)])


def _costs(runs: Sequence[RunRecord], *, sums: bool = False) -> tuple[str, str, str]:
    """Wall-clock and CPU time and tokens: means in minutes and thousands, or sums in hours and millions."""
    parts = (
        [run.seconds for run in runs if run.seconds is not None],
        [run.cpu_seconds for run in runs if run.cpu_seconds is not None],
        [run.tokens for run in runs],
    )
    units = (3600.0, 3600.0, 1e6) if sums else (60.0, 60.0, 1e3)
    found = [
        f"{'at least ' if sums and len(values) < len(runs) else ''}"
        f"{(sum(values) if sums else fmean(values)) / unit:,.1f}"
        if values
        else "unknown"
        for values, unit in zip(parts, units, strict=True)
    ]
    return found[0], found[1], found[2]


def missing(gathered: Gathered) -> Part:
    """The parts that a study asks for and that are not there: seeds of cells, cells, controls."""
    cells = [cell for cell in gathered.cells if not cell.control]
    statements = [*_seeds(cells), *_unfinished(gathered), *_controls(gathered)]
    done = Statement(text="all runs that the study asks for are finished")
    excluded = [Statement(text=f"left out on purpose: {where} ({why})") for where, why in gathered.excluded.items()]
    return Part(title="What is not run yet?", statements=[*(statements or [done]), *excluded])


def _seeds(cells: Sequence[CellSeen]) -> Iterator[Statement]:
    counts = [len(cell.finished) for cell in cells]
    if not counts:
        yield not_run("there is no run")
        return
    least, most = min(counts), max(counts)
    if most < _FEW_SEEDS or least < most:
        asked = [len(cell.runs) for cell in cells]
        yield Statement(
            verdict="not run yet" if sum(asked) > sum(counts) else None,
            text=(
                f"{sum(counts)} of {counted(sum(asked), 'run')} of {counted(len(cells), 'cell')} are finished:"
                f" {_span(counts)} seeds per cell, of {_span(asked)} that are asked for"
            ),
        )


def _unfinished(gathered: Gathered) -> Iterator[Statement]:
    """The cells with runs that are not finished, by what became of them."""
    alike: dict[tuple[tuple[int, str], ...], list[str]] = {}
    for cell in gathered.cells:
        left = [run.record for run in cell.runs if not has_outcomes(run.record)]
        if left:
            alike.setdefault(tuple((one.seed, _state(one)) for one in left), []).append(cell.name)
    for left_of, names in sorted(alike.items(), key=lambda one: -len(one[1])):
        states = dict.fromkeys(state for _, state in left_of)
        told = "; ".join(
            f"seed{'' if len(own) == 1 else 's'} {listed(own)} {state}"
            for state in states
            if (own := [f"{seed}" for seed, one in left_of if one == state])
        )
        yield not_run(f"{told} in {counted(len(names), 'cell')}: {', '.join(names)}")


def _state(run: RunRecord) -> str:
    return "finished, not evaluated" if run.state == "finished" else run.state


def _controls(gathered: Gathered) -> Iterator[Statement]:
    runs = [run for run in gathered.collected.runs if has_outcomes(run)]
    if runs and not any(run.control for run in runs):
        yield not_run("no single agent was trained as a control: whether a team is worth its tokens cannot be said")
    evaluated = sum(bool(run.controls) for run in runs)
    if runs and not evaluated:
        yield not_run("no run was evaluated with controls (transfer, majority, swap)")


def confounded(gathered: Gathered) -> list[str]:
    """The axes whose labels were trained for different numbers of steps, in whole sentences."""
    return [
        f"Runs differ in length with {axis}: {told} steps. What differs between them, falls above all, may be due to"
        " the steps."
        for axis, told in lengths(gathered).items()
    ]


def lengths(gathered: Gathered) -> dict[str, str]:
    """Axis -> its labels with their steps, of the axes whose labels were trained for different numbers of steps."""
    planned: dict[str, dict[str, set[int]]] = {}
    for run in gathered.collected.runs:
        for axis, label in run.labels.items() if not run.control and run.planned else ():
            planned.setdefault(axis, {}).setdefault(label, set()).add(run.planned)
    found: dict[str, str] = {}
    for axis, labels in planned.items():
        if len({frozenset(steps) for steps in labels.values()}) > 1 and all(
            len(steps) == 1 for steps in labels.values()
        ):
            found[axis] = listed([f"{label} {min(steps)}" for label, steps in labels.items()])
    return found


def _span(counts: Sequence[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
