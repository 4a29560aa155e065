"""Studies and comparisons with one call, from a script or from a notebook."""

from collections.abc import Sequence
from pathlib import Path

from counterpoint.experiments.cells import Study
from counterpoint.experiments.check import check
from counterpoint.experiments.collect import collect_cells, together
from counterpoint.experiments.collected_files import is_collected, read
from counterpoint.experiments.compare import compare_runs
from counterpoint.experiments.compared import Compared
from counterpoint.experiments.comparing import compare_paths
from counterpoint.experiments.cost import cost_of
from counterpoint.experiments.done import left_of
from counterpoint.experiments.folder import refuse_foreign, whole_study
from counterpoint.experiments.launch import launch
from counterpoint.experiments.processes import places
from counterpoint.experiments.publish import merged, seeds_at
from counterpoint.experiments.results import write_results
from counterpoint.experiments.study import load_study
from counterpoint.run import Run

Place = str | Path | Run
"""A run, its directory, a study's folder, or a folder of collected files."""


def compare(
    runs: Place | Sequence[Place],
    *,
    against: Place | Sequence[Place] = (),
    by: str = "",
    margin: float | None = None,
) -> Compared:
    """Finished runs compared, grouped by what differs between them: the team and every role, over seeds and tasks.

    With `against` the runs are compared with those, whatever they differ in. `by` names the axis to compare, all else
    kept apart. Differences within `margin` (a fraction, by default that of the study, or 0.03) count as alike. Raises
    ConfigError and RunError, in one line.
    """
    return compare_paths(_paths(runs), against=_paths(against), by=by, margin=margin)


def study(
    named: str | Path,
    *,
    only: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    jobs: int | None = None,
    out: str | Path | None = None,
    done: str | Path | None = None,
) -> Compared:
    """A study run to its end, as `counterpoint study` does it, and its runs compared; called again, it continues.

    `named` is the name of a file in `studies/`, or a TOML file; `only` and `seeds` choose cells; `jobs` processes run
    at the same time. A run that fails does not stop the others: the warnings of the result name it. Its folder, `out`
    or one in `runs/`, then holds the collected files. Runs in the collected files at `done` are not made again, and are
    compared too. Raises ConfigError, before the first run starts, for whatever is wrong with a cell, and if memory or
    disk do not suffice; RunError if a folder cannot be used, `done` has a run with another recipe, or no run could be
    finished.
    """
    chosen = load_study(named, only, seeds)
    folder = Path(out).expanduser() if out else Path("runs") / chosen.name
    place = Path(done).expanduser() if done else None
    left = left_of(chosen, folder, place).study
    refuse_foreign(chosen, folder)
    if left.cells or left.measures:
        _run(left, folder, jobs, whole_study(named, chosen, folder))
    if place is None:
        return compare_paths([folder])
    whole = whole_study(named, chosen, folder, seeds_at(place))
    kept = read(place) if is_collected(place) else together([])
    return compare_runs(merged(kept, collect_cells(whole, folder), whole, place))


def _run(study: Study, folder: Path, jobs: int | None, whole: Study) -> None:
    """The study, a part of the `whole`, is run, and its folder holds the collected files.

    Raises ConfigError, RunError and KeyboardInterrupt.
    """
    checked = check(study)
    checked.refuse_if_missing()
    cost = cost_of(checked, folder, len(places(jobs, ())))
    cost.refuse_if_too_large()
    outcome = launch(study, folder, jobs=jobs, costs=cost.by_run, whole=whole)
    if outcome.signal is not None:
        raise KeyboardInterrupt
    write_results(folder, study.name)


def _paths(places: Place | Sequence[Place]) -> list[Path]:
    several: Sequence[Place] = [places] if isinstance(places, str | Path | Run) else places
    return [place.path if isinstance(place, Run) else Path(place).expanduser() for place in several]
