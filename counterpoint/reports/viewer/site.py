"""The folder that is viewed: what is in it, its versions, and the values that were read of it."""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

from counterpoint.errors import CounterpointError
from counterpoint.record import Record
from counterpoint.reports.viewer.links import TRAIN
from counterpoint.reports.viewer.live import LiveRuns
from counterpoint.reports.viewer.look import Look, look_at, mark_of, state_version, version_of, versions
from counterpoint.reports.viewer.parts import EVALUATED
from counterpoint.reports.viewer.rows import Row, row_of
from counterpoint.reports.viewer.scan import Place, Places, scan
from counterpoint.run_files import EVALUATIONS, FINAL, SUMMARY

Value = TypeVar("Value")
_SCANNED = 1.0
"""Seconds for which the places in a folder are known without looking again."""
_KEPT = 256
"""Values that are kept in memory."""
_EPISODE = re.compile(rf"episode/([0-9]{{1,9}})/({'|'.join((*EVALUATED, TRAIN))})")
RUNS = "runs"
"""The part of a page that is a table of runs."""


class Kept:
    """Values by key and version: one is made again when its version is another one."""

    def __init__(self, most: int = _KEPT) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, tuple[Hashable, Any]] = OrderedDict()
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, version: Hashable, make: Callable[[], Value]) -> Value:
        """The value; made by one thread, while the others that want it wait."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                known = self._values.get(key)
                if known is not None and known[0] == version:
                    self._values.move_to_end(key)
                    value: Value = known[1]
                    return value
            made = make()
            with self._lock:
                self._values[key] = (version, made)
                self._values.move_to_end(key)
                while len(self._values) > self._most:
                    gone, _ = self._values.popitem(last=False)
                    self._making.pop(gone, None)
            return made

    def last(self, key: Hashable) -> tuple[Hashable, Any] | None:
        """The version and the value that were made last; None if none is kept."""
        with self._lock:
            return self._values.get(key)


class Site:
    """The contents of a folder. Its methods may be called from several threads."""

    def __init__(self, root: Path) -> None:
        """Raises RunError if there is no such folder."""
        self.root = root.resolve()
        self.runs = LiveRuns(self.root)
        self.kept = Kept()
        self._rows = Kept(100_000)
        self._lock = threading.Lock()
        self._places = scan(self.root)
        self._scanned = time.monotonic()

    @property
    def places(self) -> Places:
        """The runs and studies that are in the folder now."""
        with self._lock:
            if time.monotonic() - self._scanned > _SCANNED:
                self._places = scan(self.root)
                self._scanned = time.monotonic()
            return self._places

    def rows(self, places: list[Place] | None = None) -> list[Row]:
        """A line for each run, or for some."""
        wanted = list(self.places.runs.values()) if places is None else places
        return [self.row(place, look_at(place.path)) for place in wanted]

    def row(self, place: Place, look: Look) -> Row:
        """The line of a run, which looks so now."""
        return self._rows.get(place.id, state_version(look), lambda: row_of(self.root, place))

    def versions(self, subject: str) -> dict[str, str]:
        """Part -> version of the page at an address; empty if there is no such page any more."""
        try:
            return self._versions(subject)
        except (OSError, CounterpointError):
            return {}

    def _versions(self, subject: str) -> dict[str, str]:
        kind, _, rest = subject.strip("/").partition("/")
        places = self.places
        if not kind:
            looks = {place.id: state_version(look_at(place.path)) for place in places.runs.values()}
            return {RUNS: version_of((*looks.items(), *places.studies))}
        if kind == "run":
            id, _, page = rest.partition("/")
            episode = _EPISODE.fullmatch(page)
            if episode and id in places.runs:
                return _version_of_episode(places.runs[id].path, int(episode[1]), episode[2])
            found = versions(look_at(places.runs[id].path)) if id in places.runs else {}
            return {name: one for name, one in found.items() if page == "" or name == page}
        if kind == "study" and rest in places.studies:
            runs = places.of_study(rest)
            states = [(run.id, state_version(look_at(run.path))) for run in runs]
            return {RUNS: version_of(states), "map": self.map_version(runs)}
        return {}

    @staticmethod
    def map_version(runs: list[Place]) -> str:
        """The version of what a study has found so far: another one when a run is finished."""
        names = (SUMMARY, FINAL)
        done = [run for run in runs if mark_of(run.path / SUMMARY)]
        return version_of(mark_of(run.path / name) for run in done for name in (*names, EVALUATIONS))


def _version_of_episode(run: Path, step: int, split: str) -> dict[str, str]:
    """The version of the episodes of a step; none if they are not there, or deleted by a resumed run."""
    file = Record(run).episodes_file(step, None if split == TRAIN else split)
    return {"episode": version_of(mark_of(file))}
