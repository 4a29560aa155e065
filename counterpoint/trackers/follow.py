"""The process of a tracker: it follows the files of a run that another process trains, and sends what they hold.

The files are its queue, so that a slow tracker costs the run nothing and one that was down catches up. It is told when
to look, and how the work on the run ended, on its standard input.
"""

import base64
import json
import os
import queue
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import cast

import cloudpickle

from counterpoint.errors import told
from counterpoint.family import give, look_in
from counterpoint.files import lock
from counterpoint.pins import executed
from counterpoint.run import Run
from counterpoint.trackers.base import Ending, Tracker, Value
from counterpoint.trackers.build import build_tracker, label_of, repeats_differ
from counterpoint.trackers.rows import Row, Rows, about, summary_of
from counterpoint.trackers.state import State, path_of, read_state, write_state

LOOK = "look"
GONE = "gone"
"""The process that trains was killed."""
ENDINGS = ("finished", "failed", "interrupted")
_AFTER_A_KILL = 20.0
"""Seconds that it may take to end after the process that trains was killed."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds before something that failed is tried again; they double."""
_AT_THE_END = 3
"""The number of times that something that fails is tried when the work on the run has ended."""
_FOR_THE_LOCK = 60.0
_PATIENCE = 1.0


class Follower:
    """Sends the rows of a run to a tracker."""

    def __init__(self, run: Run, label: str, tracker: Tracker, process: int) -> None:
        self._run, self._label, self._tracker, self._process = run, label, tracker, process
        self._waits = True
        self._rows: Rows | None = None
        self._left: list[Row] = []
        self._has_begun = False
        self.state = replace(read_state(run, label), ended=False, waiting=0, error="")

    def look(self) -> None:
        """The rows that were recorded since the last look are to be sent."""
        self._rows = self._rows or Rows(self._run)
        self._left += self._rows.new()

    def send(self) -> bool:
        """Everything that is due is sent; False if the tracker failed."""
        try:
            if not self._has_begun:
                self._begin()
            for row in self._due():
                self._send(row)
            if self.state.error:
                self._note(replace(self.state, error=""))
        except Exception as error:
            with suppress(OSError):  # a full disk is what failed, and it is tried again
                self._note(self.state.failed(error))
                print(f"{time.strftime('%X')} {told(error)}", flush=True)
            return False
        return True

    def end(self, ending: Ending) -> None:
        """The tracked run has ended. Raises what the tracker raises."""
        if not self._has_begun:
            return
        try:
            if ending == "finished" and (values := summary_of(self._run)):
                self._summarize(values)
        finally:
            self._tracker.end(ending)

    def _summarize(self, values: dict[str, Value]) -> None:
        digest = sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
        if digest != self.state.summary:
            self._tracker.summarize(values)
            self._note(replace(self.state, summary=digest))

    def close(self, error: BaseException | None = None) -> None:
        """The state on the disk is the last one."""
        state = self.state if error is None else self.state.failed(error)
        self._note(replace(state, ended=True))

    def _begin(self) -> None:
        known = about(self._run, id=self.state.id, place=self.state.place, process=self._process)
        found = self._tracker.begin(known)
        before = State(run=self.state.run) if found.is_empty else self.state
        self._has_begun = True
        self._waits = not self._tracker.live or (repeats_differ(self._run.config) and not found.is_empty)
        self._note(replace(before, id=found.id, place=found.place))

    def _due(self) -> list[Row]:
        """Rows that are not sent yet; where a repeated step may differ, only those that are never repeated."""
        self._left = [row for row in self._left if row.step > self.state.marks.get(row.kind, -1)]
        if not self._waits:
            return [*self._left]
        saved = max(self._run.checkpoints(), default=-1)
        return [row for row in self._left if row.step <= saved]

    def _send(self, row: Row) -> None:
        """The row is noted first: a kill between the two must not send it twice."""
        before = self.state
        try:
            self._note(replace(before, marks={**before.marks, row.kind: row.step}, sent=before.sent + 1))
            self._tracker.log(row.step, row.numbers)
        except BaseException:
            self.state = before
            raise
        self._left.remove(row)

    def _note(self, state: State) -> None:
        self.state = replace(state, waiting=len(self._left))
        write_state(self._run, self._label, self.state)


def follow(follower: Follower, orders: "queue.Queue[str]") -> None:
    """The run is followed until it ends; what fails is tried again after a pause."""
    pause = _FIRST_PAUSE
    works = follower.send()
    while True:
        order = _next(orders, None if works else pause)
        if order == GONE:
            return _quietly(follower, "interrupted")
        if order is not None:
            follower.look()
        if order in ENDINGS:
            return _finish(follower, cast(Ending, order))
        if order is None or works:
            works = follower.send()
            pause = _FIRST_PAUSE if works else min(2 * pause, _LONGEST_PAUSE)


def _finish(follower: Follower, ending: Ending) -> None:
    for attempt in range(_AT_THE_END):
        if follower.send():
            break
        if attempt + 1 < _AT_THE_END:
            time.sleep(_PATIENCE)
    _quietly(follower, ending)


def _quietly(follower: Follower, ending: Ending) -> None:
    try:
        follower.end(ending)
    except Exception as error:
        print(told(error), flush=True)
        follower.close(error)
    else:
        follower.close()


def _next(orders: "queue.Queue[str]", seconds: float | None) -> str | None:
    """The next order, of several looks the last; None if none came in time."""
    try:
        found = orders.get(timeout=seconds)
        while found == LOOK and not orders.empty():
            found = orders.get()
    except queue.Empty:
        return None
    return found


def _listen(orders: "queue.Queue[str]") -> None:
    """Every line of standard input is an order."""
    for line in sys.stdin.buffer:
        orders.put(line.decode().strip())


def _watch(process: int, orders: "queue.Queue[str]") -> None:
    """The process that trains is looked at; soon after it was killed, this one has ended too."""
    while os.getppid() == process:
        time.sleep(_PATIENCE)
    orders.put(GONE)
    time.sleep(_AFTER_A_KILL)
    os._exit(1)


def _locked(run: Run, label: str) -> int:
    """The lock of the tracker: what an attempt that was killed left behind has ended."""
    deadline = time.monotonic() + _FOR_THE_LOCK
    while True:
        try:
            return lock(path_of(run, label).with_suffix(".lock"))
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise


def main(path: str, number: int, process: int, folders: list[str]) -> None:
    """Follow the run at `path` for the tracker with this number in its recipe."""
    objects = cloudpickle.loads(base64.b64decode(sys.stdin.buffer.readline()))
    for name, member in objects.items():
        give(name, member)
    for folder in reversed(folders):
        look_in(Path(folder))
    run = Run.read(path)
    run.config = executed(run)
    spec = run.config.track[number]
    label = label_of(spec)
    orders: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    threading.Thread(target=_watch, args=(process, orders), daemon=True).start()
    _locked(run, label)
    follow(Follower(run, label, build_tracker(spec), process), orders)
    sys.stdout.flush()
    os._exit(0)  # what a package does when Python ends may take long, and everything is sent
