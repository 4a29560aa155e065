"""A run that is read while it is written, and the few that are kept in memory."""

from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

from counterpoint.config import Config
from counterpoint.errors import RunError
from counterpoint.reports.viewer.look import mark_of
from counterpoint.reports.viewer.scan import refuse_what_is_not_read
from counterpoint.reports.viewer.tail import Tail
from counterpoint.run import Run
from counterpoint.run_files import CONFIG, EVALUATIONS, FINAL, METRICS, PROFILE, SUMMARY

KEPT = 16
"""Runs whose rows are in memory; of the others the one that was not asked for the longest goes."""


class LiveRun(Run):
    """A run whose lines are parsed once, as often as they are asked for."""

    def __init__(self, path: Path, config: Config, descriptor: int | None) -> None:
        super().__init__(path, config, descriptor)
        self._tails = {name: Tail(path / name) for name in (METRICS, EVALUATIONS, FINAL, PROFILE)}
        self.lock = Lock()
        """Held by a thread that reads the run: the lines that were read belong to one reader at a time."""

    def metric_rows(self) -> list[dict[str, Any]]:
        """The complete lines of `metrics.jsonl`."""
        return self._tails[METRICS].rows()

    def evaluation_rows(self) -> list[dict[str, Any]]:
        """The complete lines of `evaluations.jsonl`."""
        return self._tails[EVALUATIONS].rows()

    def final_rows(self) -> list[dict[str, Any]]:
        """The complete lines of `final.jsonl`; none if the run has no final evaluations."""
        return self._tails[FINAL].rows()

    def profile_rows(self) -> list[dict[str, Any]]:
        """The complete lines of `profile.jsonl`; none if the run keeps no profile."""
        return self._tails[PROFILE].rows()


class LiveRuns:
    """The runs that were asked for last."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._kept: OrderedDict[Path, tuple[tuple[Any, ...], LiveRun]] = OrderedDict()
        self._lock = Lock()

    def read(self, path: Path) -> LiveRun:
        """The run at `path`. Raises RunError if it cannot be read, or has a link out of the folder that is viewed."""
        if not path.is_dir():
            raise RunError("the run is not there any more")
        refuse_what_is_not_read(self._root, path)
        mark = (mark_of(path / CONFIG), mark_of(path / SUMMARY) != ())
        with self._lock:
            known = self._kept.pop(path, None)
            run = known[1] if known is not None and known[0] == mark else LiveRun.read(path)
            assert isinstance(run, LiveRun)
            self._kept[path] = (mark, run)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return run
