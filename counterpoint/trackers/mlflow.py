"""MLflow: a server, or a database file."""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, unquote

from counterpoint.trackers._names import escaped, flat
from counterpoint.trackers.base import About, Ending, Tracked, Tracker, Value

_MOST_METRICS = 1000
_MOST_PARAMETERS = 100
_LONGEST_VALUE = 6000
_LONGEST_NAME = 250
_VARIABLES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""Variables of MLflow's and their values, unless they are set: what fails is tried again anyway."""
_FILE = "sqlite:///"
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_LAST = "last/"
"""Before the names of values of the whole run, which MLflow keeps among the metrics."""


class MLflow(Tracker):
    """A run of MLflow in `experiment`, at the address `uri`, that of MLFLOW_TRACKING_URI, or in the file `mlflow.db`.

    Without an address nothing leaves the machine. `live = false` sends a step when a checkpoint holds it. MLflow stores
    an infinite number as the largest finite one.
    """

    package: ClassVar[str] = "mlflow"
    extra: ClassVar[str] = "mlflow"

    def __init__(self, *, experiment: str = "counterpoint", uri: str = "", live: bool = True) -> None:
        self._experiment, self._uri, self.live = experiment, uri, live

    def begin(self, about: About) -> Tracked:
        for name, value in _VARIABLES.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        place = about.place or _found_anywhere(self._uri or os.environ.get("MLFLOW_TRACKING_URI", "")) or _local()
        with _alone(place):
            self._client = client = MlflowClient(place)
            self._id = about.id or self._created(about)
        client.update_run(self._id, status="RUNNING")
        known = client.get_run(self._id).data.params
        parameters = [Param(escaped(key)[:_LONGEST_NAME], text[:_LONGEST_VALUE]) for key, text in flat(about.recipe)]
        new = [one for one in parameters if one.key not in known]  # MLflow keeps the first value of a parameter
        for start in range(0, len(new), _MOST_PARAMETERS):
            client.log_batch(self._id, params=new[start : start + _MOST_PARAMETERS])
        return Tracked(id=self._id, place=place)

    def _created(self, about: About) -> str:
        tags = {"group": about.group, "run_directory": str(about.path), "mlflow.source.name": "counterpoint"}
        tags |= {f"tag.{number}": text for number, text in enumerate(about.tags)}
        return str(self._client.create_run(self._experiment_id(), run_name=about.name, tags=tags).info.run_id)

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        if found is None:
            try:
                return str(self._client.create_experiment(self._experiment))
            except Exception:  # another run may have created it at this moment
                found = self._client.get_experiment_by_name(self._experiment)
                if found is None:
                    raise
        return str(found.experiment_id)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        rows = [Metric(escaped(name)[:_LONGEST_NAME], value, now, step) for name, value in numbers.items()]
        for start in range(0, len(rows), _MOST_METRICS):
            self._client.log_batch(self._id, metrics=rows[start : start + _MOST_METRICS])

    def summarize(self, values: Mapping[str, Value]) -> None:
        for name, value in values.items():
            if isinstance(value, str):
                self._client.set_tag(self._id, name, value)
            else:
                self._client.log_metric(self._id, f"{_LAST}{name}", value)

    def end(self, ending: Ending) -> None:
        self._client.set_terminated(self._id, _STATUS[ending])


@contextmanager
def _alone(place: str) -> Iterator[None]:
    """One process at a time: several that make the tables of a database file at once leave it damaged."""
    if not place.startswith(_FILE):
        yield
        return
    with Path(f"{unquote(place.removeprefix(_FILE))}.tables.lock").open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _found_anywhere(address: str) -> str:
    """The address; that of a file in this folder leads there from every other folder, from which a run may go on."""
    file = address.removeprefix(_FILE)
    is_here = file != address and not file.startswith(("/", ":memory:"))
    return f"{_FILE}{quote(str(Path.cwd()))}/{file}" if is_here else address


def _local() -> str:
    """The database file that `mlflow ui` reads in this folder."""
    return f"{_FILE}{quote(str(Path('mlflow.db').resolve()))}"
