"""A run that is tracked: each tracker has a process of its own, which is told when there is something to read.

The process that trains writes a few bytes to a pipe after each step, and waits for nothing until the run has ended.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cloudpickle

from counterpoint.errors import ConfigError, told
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
_LOOK = b"look\n"
_START = (
    "import json, sys; arguments = json.loads(sys.argv[1]); sys.path[:] = arguments.pop('modules');"
    " from counterpoint.trackers.follow import main; main(**arguments)"
)
Say = Callable[[str], None]
Told = Callable[[int, Mapping[str, float]], None]


@contextmanager
def tracked(run: Run, say: Say) -> Iterator[Told]:
    """Inside, the run's trackers follow it; what is yielded is called after each step and each evaluation.

    A tracker that fails or hangs raises nothing here: a line says so once, and `run.json` at the end. Raises
    ConfigError if a Python object cannot be sent to the process of a tracker.
    """
    trackers = [_Process(run, number, spec, say) for number, spec in enumerate(run.config.track)]
    ending: Ending = "finished"
    try:
        yield lambda step, numbers: _look(trackers)
    except Exception:
        ending = "failed"
        raise
    except BaseException:
        ending = "interrupted"
        raise
    finally:
        _end(run, trackers, ending, say)


class _Process:
    """The process of a tracker."""

    def __init__(self, run: Run, number: int, spec: Spec, say: Say) -> None:
        self.label = label_of(spec)
        self._run, self._say, self._told = run, say, ""
        folder = run.path / FOLDER
        folder.mkdir(exist_ok=True)
        self.log = folder / f"{self.label}.log"
        self._length = self.log.stat().st_size if self.log.is_file() else 0
        arguments = {"path": str(run.path.resolve()), "number": number, "process": os.getpid(), "folders": searched()}
        command = [sys.executable, "-c", _START, json.dumps({**arguments, "modules": sys.path})]
        objects = _pickled(run)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._write(objects)
        os.set_blocking(self._input.fileno(), False)

    @property
    def _input(self) -> Any:
        return self._process.stdin

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def look(self) -> None:
        """It is told to look, and a line says so if it failed since the last time."""
        self._write(_LOOK)
        error = self.error()
        if error and not self._told:
            self.tell(f"{error}; the run goes on, and it is tried again")
        self._told = error

    def tell(self, text: str) -> None:
        """A line for the person who trains."""
        self._say(f"warning: tracker {self.label}: {text}")

    def finish(self, ending: Ending) -> None:
        """It is told how the work on the run ended."""
        self._write(f"{ending}\n".encode())

    def kill(self) -> None:
        """It is gone, with every process that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with suppress(OSError):
            self._input.close()

    def error(self) -> str:
        """The error of the tracker now; empty if there is none."""
        state = read_state(self._run, self.label)
        if state.error or not self._process.poll():
            return state.error
        return f"its process ended with status {self._process.returncode}: {_last_line(self.log, self._length)}"

    def _write(self, data: bytes) -> None:
        with suppress(
            BlockingIOError, BrokenPipeError, ValueError
        ):  # it hangs and need not be told again, or it is gone
            self._input.write(data)
            self._input.flush()


def _look(trackers: Sequence[_Process]) -> None:
    for tracker in trackers:
        tracker.look()


def _end(run: Run, trackers: Sequence[_Process], ending: Ending, say: Say) -> None:
    """No process is left, `run.json` says what was sent, and a line names each tracker that lacks something."""
    late: list[_Process] = []
    seconds = FINISH if ending == "finished" else FINISH_INTERRUPTED
    try:
        for tracker in trackers:
            tracker.finish(ending)
        _wait(trackers, _SILENT)
        if busy := [one.label for one in trackers if not one.has_ended]:
            say(f"sending the rest to {', '.join(busy)}, for at most {seconds:g} seconds ...")
        _wait(trackers, seconds)
    finally:  # a second interrupt does not leave one behind either
        late = [one for one in trackers if not one.has_ended]
        for tracker in trackers:
            tracker.kill()
    if trackers:
        with suppress(OSError):
            run.note({"tracked": {one.label: _facts(run, one, late, seconds) for one in trackers}})


def _wait(trackers: Sequence[_Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not all(one.has_ended for one in trackers):
        time.sleep(_PAUSE)


def _facts(run: Run, tracker: _Process, late: Sequence[_Process], seconds: float) -> dict[str, Any]:
    state = read_state(run, tracker.label)
    is_late = f"not done {seconds:g} seconds after the run had ended" if tracker in late else ""
    error = ", ".join(filter(None, (state.error if is_late else tracker.error(), is_late)))
    dropped = sum(row.step > state.marks.get(row.kind, -1) for row in Rows(run).new())
    if error or dropped:
        tracker.tell(f"{error or 'it was not sent everything'}; {dropped} of the run's rows were not sent")
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
