"""The pages of the viewer as files, with relative links: for a static host, or to be opened from a disk."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError, RunError, counted
from counterpoint.files import partial_of, write_whole
from counterpoint.reports.episodes.line import EpisodeLine
from counterpoint.reports.episodes.listing import PAGE, Around, Rollout, Wanted, list_episodes
from counterpoint.reports.episodes.words import chip_of_line
from counterpoint.reports.viewer import episodes
from counterpoint.reports.viewer.assets import files
from counterpoint.reports.viewer.links import TRAIN, Links
from counterpoint.reports.viewer.names import coded
from counterpoint.reports.viewer.pages import Pages
from counterpoint.reports.viewer.parts import recorded
from counterpoint.reports.viewer.scan import Place
from counterpoint.reports.viewer.site import Site

MARK = "bundle.json"
"""The file by which a bundle is recognised."""
MOST = 2_000
"""Episodes of a bundle, over all runs."""
LEAST = 5
"""Episodes of each list, however many lists there are."""
_LONGEST = 120
"""Characters of the name of a file."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'"
)

Which = tuple[str, int]
"""Split and step."""
_Make = Callable[[Pages], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLinks(Links):
    """Links between the files of a bundle, from a file that lies `up` below its top."""

    is_live: bool = False
    up: str = ""
    """As `../../`."""
    kept: Mapping[str, Mapping[Which, Sequence[EpisodeLine]]] = field(default_factory=dict)
    """Run -> the lists of episodes that the bundle holds, each with its episodes."""

    @property
    def kind(self) -> str:
        """Equal for links that write the same addresses."""
        return f"files {self.up}"

    def home(self, query: Mapping[str, str] | None = None) -> str:
        """The table of runs."""
        return f"{self.up}index.html"

    def run(self, id: str) -> str:
        """The page of a run."""
        return f"{self.up}{run_file(id)}"

    def study(self, id: str) -> str:
        """The page of a study."""
        return f"{self.up}{study_file(id)}"

    def episodes(self, id: str, query: Mapping[str, str]) -> str:
        """A list of episodes; empty if the bundle does not hold it."""
        which = (query.get("split", ""), int(query.get("step", "-1")))
        return f"{self.up}{list_file(id, which)}" if which in self.kept.get(id, {}) else ""

    def episode(self, id: str, step: int, split: str, task: str, rollout: int) -> str:
        """One episode; empty if the bundle does not hold it."""
        lines = self.kept.get(id, {}).get((split, step), ())
        is_there = any((line.task, line.rollout) == (task, rollout) for line in lines)
        return f"{self.up}{episode_file(id, (split, step), task, rollout)}" if is_there else ""

    def compare(self, query: Mapping[str, str]) -> str:
        """There is no such page in a bundle."""
        return ""


def run_file(id: str) -> str:
    """The file of a run."""
    return f"run/{_file(id)}/index.html"


def study_file(id: str) -> str:
    """The file of a study."""
    return f"study/{_file(id)}.html"


def list_file(id: str, which: Which) -> str:
    """The file of a list of episodes."""
    return f"run/{_file(id)}/{which[0]}-{which[1]}.html"


def episode_file(id: str, which: Which, task: str, rollout: int) -> str:
    """The file of an episode."""
    return f"run/{_file(id)}/{which[0]}-{which[1]}/{_file(coded(task))}-{rollout}.html"


def check_place(root: Path, out: Path) -> None:
    """Raises RunError if a bundle cannot be written to `out`, before anything is read."""
    if out.exists() and not (out / MARK).is_file():
        raise RunError(f"--bundle {out} is there, and no bundle of the viewer: name a new folder, or an earlier bundle")
    if out.resolve().is_relative_to(root.resolve()):
        raise RunError(f"--bundle {out} lies in {root}: nothing is written beside the runs; name a folder elsewhere")
    if root.resolve().is_relative_to(out.resolve()):
        raise RunError(f"{root} lies in --bundle {out}, of which nothing would be left: name a folder elsewhere")


def write_bundle(root: Path, out: Path) -> list[str]:
    """The folder `out`, new or an earlier bundle, holds the pages of the runs in `root`; the lines to say about it.

    It is written beside its place first: a kill leaves what was there. Raises RunError.
    """
    check_place(root, out)
    site = Site(root)
    fresh = partial_of(out)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    writer = _Writer(site, fresh)
    writer.write()
    if out.exists():
        shutil.rmtree(out)
    fresh.rename(out)
    return [*writer.problems, writer.told(out)]


class _Writer:
    """Writes the pages below a folder."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site = site
        self._folder = folder
        self.problems: list[str] = []
        self._kept = {id: self._lists(place) for id, place in site.places.runs.items()}
        self._cut()

    def write(self) -> None:
        """All files are there."""
        for name, content in files().texts.items():
            if name != "live.js":
                self._file(f"static/{name}").write_bytes(content)
        self._page("index.html", 0, lambda pages: pages.runs({}))
        for id in self._site.places.studies:
            self._page(study_file(id), 1, partial(Pages.study, id=id))
        for id, lists in self._kept.items():
            self._page(run_file(id), 2, partial(Pages.run, id=id))
            for which, lines in lists.items():
                self._list(id, which, lines)
        mark = {"runs": len(self._kept), "episodes": self._count()}
        write_whole(self._folder / MARK, json.dumps(mark) + "\n")

    def told(self, out: Path) -> str:
        """One line about the files that were written, and their limit."""
        runs, count = counted(len(self._kept), "run"), counted(self._count(), "episode")
        limit = "test evaluations at the base, the peak and the end, and the last training step"
        return f"{out}: {runs}, {count} ({limit}; {self._most} at most of each): open {out / 'index.html'}"

    def _list(self, id: str, which: Which, lines: Sequence[EpisodeLine]) -> None:
        split, step = which
        query = {"split": split, "step": str(step)}
        self._page(list_file(id, which), 2, lambda pages: episodes.listed(pages, id, query, most=len(lines)))
        for line in lines:
            named: dict[str, Any] = {"task": line.task, "rollout": line.rollout, "beside": _around(lines, line)}
            make = partial(episodes.one, id=id, step=step, split=split, **named)
            self._page(episode_file(id, which, line.task, line.rollout), 3, make)

    def _page(self, name: str, depth: int, make: _Make) -> None:
        up = "../" * depth
        assets = replace(files().for_pages(f"{up}static/", is_live=False), csp=_POLICY)
        pages = Pages(self._site, FileLinks(assets=assets, up=up, kept=self._kept))
        try:
            text = make(pages)
        except (CounterpointError, OSError) as error:
            self.problems.append(f"{name} is left out: {error}")
            return
        self._file(name).write_bytes(text.encode("utf-8", "replace"))

    def _file(self, name: str) -> Path:
        file = self._folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def _lists(self, place: Place) -> dict[Which, Sequence[EpisodeLine]]:
        """The lists of a run that are written, with all of their episodes that a page has."""
        try:
            run = self._site.runs.read(place.path)
            there = {one.split: one.steps for one in recorded(run)}
            peak = run.summary.peak_step if run.summary is not None else None
        except (CounterpointError, OSError) as error:
            self.problems.append(f"{place.name} has no episodes here: {error}")
            return {}
        tested = "test" if "test" in there else "validation"
        steps = there.get(tested, [])
        chosen = [*steps[:1], *(step for step in steps if step == peak), *steps[-1:]]
        wanted = [(tested, step) for step in dict.fromkeys(chosen)]
        wanted += [(TRAIN, step) for step in there.get(TRAIN, [])[-1:]]
        return {which: self._lines(place, which) for which in wanted}

    def _lines(self, place: Place, which: Which) -> Sequence[EpisodeLine]:
        at = episodes.at_of(self._site, place, {"split": which[0], "step": str(which[1])})
        return list_episodes(at.file, Wanted(per_page=PAGE)).lines if at is not None else ()

    def _cut(self) -> None:
        """No more episodes are kept than a bundle may have."""
        lists = sum(len(one) for one in self._kept.values())
        self._most = max(LEAST, min(PAGE, MOST // max(1, lists)))
        self._kept = {
            id: {which: lines[: self._most] for which, lines in one.items()} for id, one in self._kept.items()
        }

    def _count(self) -> int:
        return sum(len(lines) for lists in self._kept.values() for lines in lists.values())


def _around(lines: Sequence[EpisodeLine], line: EpisodeLine) -> Around:
    """The neighbours of an episode among those that the bundle holds."""
    firsts = {one.task: (one.task, one.rollout) for one in reversed(lines)}
    tasks = list(dict.fromkeys(one.task for one in lines))
    place = tasks.index(line.task)
    return Around(
        rollouts=tuple(
            Rollout(task=one.task, rollout=one.rollout, chip=chip_of_line(one))
            for one in lines
            if one.task == line.task
        ),
        before=firsts[tasks[place - 1]] if place else None,
        after=firsts[tasks[place + 1]] if place + 1 < len(tasks) else None,
    )


def _file(code: str) -> str:
    """The code as the name of a file: a long one is cut, and stays unique."""
    if len(code) <= _LONGEST:
        return code
    return f"{code[:_LONGEST]}-{blake2b(code.encode(), digest_size=8).hexdigest()}"
