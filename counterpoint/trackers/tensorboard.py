"""TensorBoard's event files, beside the run's own."""

import json
from collections.abc import Mapping
from typing import ClassVar

from counterpoint.trackers.base import About, Ending, Tracked, Tracker, Value


class TensorBoard(Tracker):
    """Event files in the run directory, in `trackers/tensorboard/`, for `tensorboard --logdir runs`.

    They are written again from the run's files when work on the run begins again. Every step is on the disk after at
    most `flush_seconds`.
    """

    package: ClassVar[str] = "tensorboardX"
    extra: ClassVar[str] = "tensorboard"

    def __init__(self, *, flush_seconds: int = 10) -> None:
        self._seconds = flush_seconds

    def begin(self, about: About) -> Tracked:
        from tensorboardX import SummaryWriter

        folder = about.folder / "tensorboard"
        for left in folder.glob("events.*"):
            left.unlink()
        # A TensorBoard that has read the deleted files is told to forget them.
        self._writer = SummaryWriter(str(folder), purge_step=0, flush_secs=self._seconds)
        self._write_text("recipe", json.dumps(about.recipe, indent=2, ensure_ascii=False))
        self._write_text("run", "\n".join([str(about.path), about.group, *about.tags]))
        return Tracked(id=about.name, place=str(folder), is_empty=True)

    def _write_text(self, name: str, text: str) -> None:
        self._writer.add_text(name, "".join(f"    {line}\n" for line in text.splitlines()), 0)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def summarize(self, values: Mapping[str, Value]) -> None:
        self._write_text("summary", "\n".join(f"{name}: {value}" for name, value in values.items()))

    def end(self, ending: Ending) -> None:
        self._writer.close()
