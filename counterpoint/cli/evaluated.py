"""The episodes of evaluations, on the command line: the first one that failed, and files of all of them."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from counterpoint.controlled import AS_IT_IS, Row
from counterpoint.episode import Episode, write_episodes
from counterpoint.errors import ConfigError, RunError
from counterpoint.evaluation import Evaluation
from counterpoint.files import command


def check_episodes(file: Path | None) -> None:
    """Raises ConfigError, before any work is done, if episodes cannot be written to the file."""
    if file is None:
        return
    if file.suffix != ".parquet" or file.is_dir() or not file.parent.is_dir():
        raise ConfigError(f"--episodes {file} cannot be written: it must end in .parquet, and its folder must exist")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"--episodes {file} cannot be written: its folder is read-only for you")


def print_first_failure(console: Console, found: Evaluation) -> None:
    """The error of the first episode that failed, and of the first that was not judged, with file and line."""
    for outcome, episodes in _lost(found).items():
        for first in episodes[:1]:
            reason = first.score.reason if first.error is None else first.error
            where = f"first {outcome.replace('-', ' ')}: {first.task}, rollout {first.rollout}: "
            console.print(Text(where + reason), soft_wrap=True)
            if first.traceback:
                console.print(Text(first.traceback, style="dim"), soft_wrap=True)


def keep_episodes(row: Row, file: Path | None) -> None:
    """The episodes of an evaluation are on disk, if a file is given: `file` for the run, one beside it for a control.

    Raises RunError if it cannot be written.
    """
    if file is None:
        return
    try:
        write_episodes(_place(row, file), row.step, row.evaluation.groups, row.evaluation.split)
    except OSError as error:
        raise RunError(f"--episodes {_place(row, file)} cannot be written: {error}") from error


def tell_episodes(console: Console, rows: Sequence[Row], file: Path | None) -> None:
    """The commands to read the episodes that were kept, or to keep them if one failed or was not judged."""
    if file is not None:
        for row in rows:
            lost = [f" --outcome {outcome}" for outcome, episodes in _lost(row.evaluation).items() if episodes]
            line = f"episodes ({row.name}): {command('show', _place(row, file))}{''.join(lost[:1])}"
            console.print(line, markup=False, soft_wrap=True)
    elif any(lost for row in rows for lost in _lost(row.evaluation).values()):
        console.print("to read all such episodes, add --episodes FILE.parquet", markup=False, soft_wrap=True)


def _place(row: Row, file: Path) -> Path:
    return file if row.name == AS_IT_IS else file.with_name(f"{file.stem}-{_slug(row.name)}.parquet")


def _lost(found: Evaluation) -> dict[str, list[Episode]]:
    """Outcome -> the episodes that failed, and those that were not judged."""
    episodes = [one for group in found.groups for one in group.episodes]
    return {
        "failed": [one for one in episodes if one.error is not None],
        "not-judged": [one for one in episodes if one.error is None and one.success is None],
    }


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
