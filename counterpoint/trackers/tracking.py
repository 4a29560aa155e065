"""A run that is tracked: each tracker has a process of its own, which is told when there is something to read.

The process that trains writes a few bytes to a pipe after each step, and waits for nothing until the run has ended.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, cast

import cloudpickle

from counterpoint.errors import ConfigError, told
from counterpoint.event_loop import Terminated
from counterpoint.family import given, searched
from counterpoint.options import Spec
from counterpoint.run import Run
from counterpoint.trackers.base import Ending
from counterpoint.trackers.build import label_of
from counterpoint.trackers.rows import Rows
from counterpoint.trackers.state import FOLDER, read_state

FINISH = 30.0
"""Seconds that a tracker may take to send what is left when a run has ended."""
FINISH_INTERRUPTED = 10.0
_SILENT = 5.0
"""Seconds of it without a line that says so."""
_PAUSE = 0.02
_STARTS = 3
"""The number of times that the process of a tracker is started while a run trains."""
_LOOK = b"look\n"
_START = (
    "import json, sys; arguments = json.loads(sys.argv[1]); sys.path[:] = arguments.pop('modules');"
    " from counterpoint.trackers.follow import main; main(**arguments)"
)
Say = Callable[[str], None]
Told = Callable[[int, Mapping[str, float]], None]


@contextmanager
def tracked(run: Run, warn: Say, say: Say) -> Iterator[Told]:
    """Inside, the run's trackers follow it; what is yielded is called after each step and each evaluation.

    A tracker that fails or hangs raises nothing here: `warn` is told once, and `run.json` at the end. `say` is told
    where each tracked run is. Raises ConfigError if a Python object cannot be sent to the process of a tracker.
    """
    objects = _pickled(run) if run.config.track else b""
    trackers = [_Process(run, number, spec, objects, warn, say) for number, spec in enumerate(run.config.track)]
    ending: Ending = "finished"
    try:
        for tracker in trackers:
            tracker.start()
        yield lambda step, numbers: _look(trackers)
    except Exception:
        ending = "failed"
        raise
    except BaseException:
        ending = "interrupted"
        raise
    finally:
        _end(run, trackers, ending, warn)


class _Process:
    """The process of a tracker."""

    def __init__(self, run: Run, number: int, spec: Spec, objects: bytes, warn: Say, say: Say) -> None:
        self.label = label_of(spec)
        self.log = run.path / FOLDER / f"{self.label}.log"
        self._run, self._number, self._objects, self._warn, self._say = run, number, objects, warn, say
        self._process: subprocess.Popen[bytes] | None = None
        self._starts, self._length, self._failed, self._told = 0, 0, "", ""
        self._has_said = self._is_finishing = False

    @property
    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def start(self) -> None:
        """It runs, if it can be started and was not too often."""
        if self._starts == _STARTS:
            return
        self._starts += 1
        self.kill()
        path = str(self._run.path.resolve())
        arguments = {"path": path, "number": self._number, "process": os.getpid(), "folders": searched()}
        modules = [place for place in sys.path if isinstance(place, str)]  # Python looks at no others
        command = [sys.executable, "-c", _START, json.dumps({**arguments, "modules": modules})]
        try:
            self.log.parent.mkdir(exist_ok=True)
            with self.log.open("ab") as log:
                self._length = log.tell()
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
        except OSError as error:
            self._failed = told(error)
            return
        self._failed = ""
        self._write(self._objects)
        os.set_blocking(cast(Any, self._process.stdin).fileno(), False)

    def look(self) -> None:
        """It is told to look; a line says where the tracked run is, and one if it failed since the last time."""
        error = self.error()
        is_lost = self.has_ended and self._starts == _STARTS
        if self.has_ended:
            self.start()
        self._write(_LOOK)
        if error and not self._told:
            self.tell(f"{error}; the run goes on{' without it' if is_lost else ', and it is tried again'}")
        self._told = error
        if not self._has_said and not error:
            state = read_state(self._run, self.label)
            if state.place and not state.ended:
                self._has_said = True
                self.say(state.place)

    def tell(self, text: str) -> None:
        """A warning for the person who trains."""
        self._warn(f"warning: tracker {self.label}: {text}")

    def say(self, text: str) -> None:
        """A line for the person who trains."""
        self._say(f"tracker {self.label}: {text}")

    def finish(self, ending: Ending) -> None:
        """It is told how the work on the run ended; one that ended by itself gets what it lacks of a finished run."""
        if self.has_ended and ending == "finished":
            self.start()
        self._is_finishing = True
        self._write(f"{ending}\n".encode())

    def kill(self) -> None:
        """It is gone, with every process that it started."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with suppress(OSError):
            cast(Any, self._process.stdin).close()

    def error(self) -> str:
        """The error of the tracker now; empty if there is none."""
        if self._process is None:
            return self._failed
        state = read_state(self._run, self.label)
        status = self._process.poll()
        if state.error or status is None or (status == 0 and self._is_finishing):
            return state.error
        if status < 0:
            return f"its process was ended by signal {-status}"
        return f"its process ended with status {status}: {_last_line(self.log, self._length)}"

    def _write(self, data: bytes) -> None:
        if self._process is None or self._process.stdin is None:
            return
        with suppress(
            BlockingIOError, BrokenPipeError, ValueError
        ):  # it hangs and need not be told again, or it is gone
            self._process.stdin.write(data)
            self._process.stdin.flush()


def _look(trackers: Sequence[_Process]) -> None:
    for tracker in trackers:
        tracker.look()


def _end(run: Run, trackers: Sequence[_Process], ending: Ending, warn: Say) -> None:
    """No process is left, `run.json` says what was sent, and a line says where it is or what is missing."""
    if not trackers:
        return
    seconds = FINISH if ending == "finished" else FINISH_INTERRUPTED
    why = "it was interrupted before everything was sent"
    try:
        with _ended_in_order():
            for tracker in trackers:
                tracker.finish(ending)
            _wait(trackers, _SILENT)
            if busy := [one.label for one in trackers if not one.has_ended]:
                warn(f"sending the rest to {', '.join(busy)}, for at most {seconds:g} seconds ...")
            _wait(trackers, seconds)
        why = f"not done {seconds:g} seconds after the run had ended"
    finally:  # a second interrupt does not leave one behind either
        late = [one for one in trackers if not one.has_ended]
        for tracker in trackers:
            tracker.kill()
        with suppress(OSError):
            run.note({"tracked": {one.label: _facts(run, one, why if one in late else "") for one in trackers}})


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM raises Terminated inside, as it does while a run trains, unless somebody else handles it."""
    is_free = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if not is_free or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _wait(trackers: Sequence[_Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not all(one.has_ended for one in trackers):
        time.sleep(_PAUSE)


def _facts(run: Run, tracker: _Process, late: str) -> dict[str, Any]:
    state = read_state(run, tracker.label)
    error = ", ".join(filter(None, (state.error if late else tracker.error(), late)))
    dropped = sum(row.step > state.marks.get(row.kind, -1) for row in Rows(run).new())
    if error or dropped:
        tracker.tell(f"{error or 'it was not sent everything'}; {dropped} of the run's rows were not sent")
    elif state.place:
        tracker.say(f"everything was sent to {state.place}")
    return {"id": state.id, "place": state.place, "sent": state.sent, "dropped": dropped, "error": error or None}


def _pickled(run: Run) -> bytes:
    """The Python objects that the recipe names and only this process has, in one line."""
    names = [spec.name for spec in run.config.track]
    try:
        return base64.b64encode(cloudpickle.dumps(given(names))) + b"\n"
    except Exception as error:
        raise ConfigError(f"track: the object cannot be sent to a process of its own: {told(error)}") from error


def _last_line(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
