"""Runs compared by their paths: studies, folders of collected files and run directories, in any mix."""

from collections.abc import Sequence
from pathlib import Path

from counterpoint.errors import ConfigError
from counterpoint.experiments.collect import collect
from counterpoint.experiments.compare import compare_runs
from counterpoint.experiments.compared import Compared
from counterpoint.experiments.prevented import Prevented
from counterpoint.experiments.preventing import BY, prevention


def compare_paths(
    paths: Sequence[Path], *, against: Sequence[Path] = (), by: str = "", margin: float | None = None
) -> Compared:
    """The runs at `paths` compared with each other or, if there are others to be `against`, with those.

    Raises ConfigError for a margin or an axis that cannot be, RunError as `collect` and `compare_runs` do.
    """
    _check_margin(margin)
    if by and against:
        raise ConfigError("--by and --against exclude each other: both say what is compared")
    collected = collect([*paths, *against])
    if not against:
        return compare_runs(collected, by=by, margin=margin)
    places = {Path(run.path).resolve() for run in collect(against).runs}
    others = [run.run for run in collected.runs if Path(run.path).resolve() in places]
    return compare_runs(collected, others=others, margin=margin)


def prevention_paths(paths: Sequence[Path], *, reference: str, by: str = "", margin: float | None = None) -> Prevented:
    """Every label of an axis (`intervention`, unless `by` names another) against one of them, of the runs at `paths`.

    Raises ConfigError for a margin, an axis or a label that cannot be, RunError as `collect` and `compare_runs` do.
    """
    _check_margin(margin)
    return prevention(collect(paths), by=by or BY, reference=reference, margin=margin)


def _check_margin(margin: float | None) -> None:
    if margin is not None and not 0 <= margin < 1:
        raise ConfigError(f"a margin of {100 * margin:g} points cannot be: it is at least 0 and less than 100")
