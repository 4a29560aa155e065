"""Weights & Biases: online for who is logged in, else offline."""

import netrc
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, cast
from urllib.parse import urlsplit
from uuid import uuid4

from counterpoint.trackers.base import About, Ending, Tracked, Tracker, Value

_HOST = "https://api.wandb.ai"
_START = 30
_FINISH = 20
"""Seconds that wandb may take to start and to finish."""
Mode = Literal["", "online", "offline"]


class Wandb(Tracker):
    """A run of Weights & Biases in `project`, of `entity` or whoever is logged in.

    `mode` is "online" or "offline"; if it is empty, that of WANDB_MODE, or else online if there is a login and offline
    if there is none. An offline run lies in the run directory, in `trackers/wandb/`, for `wandb sync`. `live = false`
    sends a step when a checkpoint holds it.
    """

    package: ClassVar[str] = "wandb"
    extra: ClassVar[str] = "wandb"

    def __init__(self, *, project: str = "counterpoint", entity: str = "", mode: Mode = "", live: bool = True) -> None:
        self._project, self._entity, self._mode, self.live = project, entity, mode, live

    def begin(self, about: About) -> Tracked:
        import wandb

        folder = os.environ.get("WANDB_DIR") or str(about.folder)
        mode = self._mode or os.environ.get("WANDB_MODE") or _mode()
        is_empty = mode == "offline" and _forget_offline(Path(folder), about.id)
        settings = wandb.Settings(
            root_dir=folder,
            console="off",
            silent=True,
            disable_git=True,
            save_code=False,
            x_save_requirements=False,
            init_timeout=_START,
            finish_timeout=_FINISH,
            x_stats_pid=about.process,
        )
        self._run = wandb.init(
            project=self._project,
            entity=self._entity or None,
            id=about.id or uuid4().hex[:8],
            resume="allow",
            mode=cast(Any, mode),
            name=about.name,
            group=about.group,
            tags=[tag[:64] for tag in about.tags],
            notes=f"run directory: {about.path}",
            config={**about.recipe, "run_directory": str(about.path)},
            allow_val_change=True,
            settings=settings,
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        self._count, self._last = self._run.step - 1, -1
        place = self._run.url or str(Path(self._run.dir).parent)
        return Tracked(id=self._run.id, place=place, is_empty=is_empty)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        # wandb's own count must not go down; the x axis is `step`, which does for the evaluations at the end of a run.
        if step > self._count:
            self._count = step
        elif step != self._last:
            self._count += 1
        self._last = step
        self._run.log({"step": step, **numbers}, step=self._count)

    def summarize(self, values: Mapping[str, Value]) -> None:
        self._run.summary.update(dict(values))

    def end(self, ending: Ending) -> None:
        self._run.finish(exit_code=0 if ending == "finished" else 1)


def _forget_offline(folder: Path, id: str) -> bool:
    """True if no part of the offline run has been uploaded; what there is of it is deleted."""
    parts = [one for one in (folder / "wandb").glob(f"offline-run-*-{id}") if id]
    is_elsewhere = bool(id) and not parts
    if is_elsewhere or any(found for one in parts for found in one.glob("*.synced")):
        return False
    for one in parts:
        shutil.rmtree(one)
    return True


def _mode() -> Mode:
    return "online" if _is_logged_in() else "offline"


def _is_logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or _HOST).hostname or ""
    files = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    return any(_has_login(Path(file).expanduser(), host) for file in files if file)


def _has_login(file: Path, host: str) -> bool:
    try:
        return netrc.netrc(file).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
