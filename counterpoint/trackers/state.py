"""The part of a run that a tracker has been sent, in `trackers/<name>.json`."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from counterpoint.errors import told
from counterpoint.files import write_whole
from counterpoint.run import Run
from counterpoint.run_files import is_run

FOLDER = "trackers"
_LONGEST_ERROR = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The part of a run that a tracker has been sent."""

    run: str
    """The run directory, absolute; a copy of the directory is another run."""
    id: str = ""
    """The id of the tracked run; empty if it could not be begun."""
    place: str = ""
    sent: int = 0
    """Rows of the run's files that were sent, over all attempts."""
    waiting: int = 0
    """Recorded rows that were not sent when this was written."""
    error: str = ""
    """The last error; empty once everything works again."""
    marks: dict[str, int] = field(default_factory=dict)
    """Kind of row -> the last step that was sent; for final evaluations, each has its own."""
    summary: str = ""
    """The digest of the values of the whole run that were sent."""
    ended: bool = False
    """True if the work on the run was ended in order."""

    def failed(self, error: BaseException) -> "State":
        """This state, with an error."""
        return replace(self, error=told(error).split("\n")[0][:_LONGEST_ERROR])


def path_of(run: Run, label: str) -> Path:
    """The file of a tracker's state."""
    return run.path / FOLDER / f"{label}.json"


def read_state(run: Run, label: str) -> State:
    """The part of a run that a tracker has been sent; nothing if the file belongs to a run of which this is a copy."""
    here = str(run.path.resolve())
    try:
        state = State(**json.loads(path_of(run, label).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none yet, or it is damaged
        return State(run=here)
    if state.run != here and is_run(Path(state.run)):
        return State(run=here)
    return replace(state, run=here)


def write_state(run: Run, label: str, state: State) -> None:
    """The file holds this state."""
    write_whole(path_of(run, label), json.dumps(asdict(state), indent=2, ensure_ascii=False) + "\n")
