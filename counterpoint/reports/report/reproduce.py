"""The making of the runs of a report, and how to make them again."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from counterpoint.errors import counted
from counterpoint.experiments.collected import RunRecord
from counterpoint.files import command
from counterpoint.reports.report.parts import Reproduction
from counterpoint.reports.seen import Gathered, Seen

MOST_COMMANDS = 6
_SHORT = 12
"""Characters of a digest that are shown."""


def reproduction(gathered: Gathered, places: Sequence[Path], out: Path) -> Reproduction:
    """The commands, versions and digests."""
    runs = [run for cell in gathered.cells for run in cell.runs]
    records = [run.record for run in runs]
    report = command("report", *places, "--out", out)
    return Reproduction(
        commands=[*_training(runs), *([report] if places else [])],
        notes=list(_notes(records)),
        cells=[
            (cell.name, _digests([run.record.config_sha256 for run in cell.runs]), _digests(_tasks(cell.runs)))
            for cell in gathered.cells
        ],
    )


def _training(runs: Sequence[Seen]) -> Iterator[str]:
    """The command that trains each run again, from the recipe that its directory holds."""
    if any(run.record.compare for run in runs):
        folders = list(dict.fromkeys(str(run.folder.parent) for run in runs if run.folder is not None))
        yield from (f"{command('study', Path(folder).name)}  # {folder}" for folder in folders)
        return
    there = [run.folder for run in runs if run.folder is not None]
    for folder in there[:MOST_COMMANDS]:
        again = folder.with_name(f"{folder.name}-again")
        yield command("train", folder / "config.toml", "--out", again)
    if len(there) > MOST_COMMANDS:
        yield f"# and {len(there) - MOST_COMMANDS} more, in the same way"


def _notes(records: Sequence[RunRecord]) -> Iterator[str]:
    versions = {one.version for one in records if one.version}
    commits = {one.commit for one in records if one.commit}
    if len(versions) > 1:
        yield f"The runs were made by {counted(len(versions), 'version')}: {', '.join(sorted(versions))}."
    if len(commits) > 1:
        listed = ", ".join(one[:10] for one in sorted(commits))
        yield f"The runs were made from {counted(len(commits), 'commit')}: {listed}."
    yield (
        "A run with equal recipe, seed, threads, versions and kind of processor has the same numbers, bit for bit; on "
        "another processor the last digits of sums differ, and courses part after some steps."
    )


def _tasks(runs: Sequence[Seen]) -> list[str]:
    return [run.record.tasks_sha256 for run in runs]


def _digests(values: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(value[:_SHORT] for value in values if value))
