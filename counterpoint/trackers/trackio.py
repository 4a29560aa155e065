"""Trackio: a local dashboard, a Space, or a server."""

import os
from collections.abc import Mapping
from typing import ClassVar
from uuid import uuid4

from counterpoint.trackers.base import About, Ending, Tracked, Tracker, Value

_AT_THE_END = "summary"
"""The group of the values of the whole run, which Trackio has no other place for."""


class Trackio(Tracker):
    """A run of Trackio in `project`, in the local files that `trackio show` reads, or in the Space `space`.

    Nothing leaves the machine without a Space or a server, which TRACKIO_SPACE_ID and TRACKIO_SERVER_URL name too.
    `live = false` sends a step when a checkpoint holds it.
    """

    package: ClassVar[str] = "trackio"
    extra: ClassVar[str] = "trackio"

    def __init__(self, *, project: str = "counterpoint", space: str = "", live: bool = True) -> None:
        self._project, self._space, self.live = project, space, live

    def begin(self, about: About) -> Tracked:
        if about.place.startswith(os.sep):
            os.environ["TRACKIO_DIR"] = about.place
        import trackio
        from trackio.utils import TRACKIO_DIR

        name = about.id or f"{about.name} ({uuid4().hex[:6]})"  # Trackio finds a run again by its name alone
        facts = {"group": about.group, "tags": list(about.tags), "run_directory": str(about.path)}
        self._run = trackio.init(
            project=self._project,
            name=name,
            group=about.group,
            space_id=self._space or None,
            resume="allow",
            config={**about.recipe, "counterpoint": facts},
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        place = self._run._space_id or self._run._server_base_url or str(TRACKIO_DIR)
        return Tracked(id=name, place=place)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def summarize(self, values: Mapping[str, Value]) -> None:
        named = {f"{_AT_THE_END}/{name}": value for name, value in values.items()}
        self._run.log(named, step=int(values["steps"]))

    def end(self, ending: Ending) -> None:
        self._run.finish()
