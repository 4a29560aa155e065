"""The pages about episodes: a list, one, and the same task in two runs side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.errors import ConfigError, RunError
from counterpoint.reports.episodes.line import OUTCOMES
from counterpoint.reports.episodes.listing import (
    ORDERS,
    PAGE,
    Around,
    Listed,
    Wanted,
    around,
    episodes_file,
    list_episodes,
    read_episode,
    samples_of,
)
from counterpoint.reports.episodes.pairing import pair_runs, pair_view
from counterpoint.reports.episodes.shown import one_line, visible
from counterpoint.reports.episodes.view import EpisodeView, episode_view
from counterpoint.reports.episodes.words import chip_of_call, chip_of_line
from counterpoint.reports.viewer.links import TRAIN
from counterpoint.reports.viewer.pages import MissingError, Pages, Query
from counterpoint.reports.viewer.parts import EVALUATED, recorded
from counterpoint.reports.viewer.scan import Place, check_file
from counterpoint.reports.viewer.site import Site
from counterpoint.run import Run

SPLITS = (*EVALUATED, TRAIN)
_PART = "episodes"
_EPISODE = "episode"
_PARAMETERS = ("a", "b", "split", "step", "role", "outcome", "task", "order", "rollout")
_NUMBER = 9
"""Digits that a number in an address has at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """Episodes of a run: those of a split after a step."""

    place: Place
    run: Run
    split: str
    step: int
    steps: Sequence[int]
    """The steps of this split whose episodes are recorded."""
    splits: Sequence[str]
    """The splits that have any."""
    file: Path

    @property
    def where(self) -> str:
        """As "test evaluation at step 40"."""
        if self.split == TRAIN:
            return f"training step {self.step}"
        return f"{self.split} evaluation at " + (f"step {self.step}" if self.step else "the base")


def listed(pages: Pages, id: str, query: Query, most: int = PAGE) -> str:
    """A list of the episodes of a step, `most` on a page, or its part."""
    place = pages.place(id)
    versions = pages.site.versions(f"/run/{id}/{_PART}")
    at = at_of(pages.site, place, query)
    found = list_episodes(at.file, wanted_of(query, most)) if at else None
    content = {_PART: lambda: _list(pages, at, found, query)}
    if query.get("part") is not None:
        return pages.one_section(content, versions, str(query["part"]))
    return pages.page(
        "view/episodes.html",
        subject=f"/run/{id}/{_PART}",
        sections=pages.sections(content, versions),
        place=place,
        at=at,
        found=found,
        roles=_roles(at),
        query=_whole(query),
        outcomes=OUTCOMES,
        orders=ORDERS,
    )


def one(
    pages: Pages,
    id: str,
    step: int,
    split: str,
    task: str,
    rollout: int,
    *,
    beside: Around | None = None,
    part: str | None = None,
) -> str:
    """One episode, call by call, or its part; `beside` are the others with links to them, if not all of its file."""
    place = pages.place(id)
    at = _exactly(pages, place, step, split or TRAIN)
    subject = f"/run/{id}/episode/{step}/{at.split}"
    versions = pages.site.versions(subject)
    view, every = _episode(at, task, rollout, "episode")

    def address(task: str, rollout: int) -> str:
        return pages.links.episode(id, step, at.split, task, rollout)

    def episode() -> str:
        return pages.render("view/_one_episode.html", view=view, around=beside or every, address=address)

    content = {_EPISODE: episode}
    if part is not None:
        return pages.one_section(content, versions, part)
    other = pages.links.compare({"a": id, "split": at.split, "step": str(step), "task": task})
    sections = pages.sections(content, versions)
    return pages.page(
        "view/episode.html", subject=subject, sections=sections, place=place, at=at, view=view, other=other
    )


def compared(pages: Pages, query: Query) -> str:
    """The same tasks in two runs: a table, or one task side by side; without two runs, the choice of them."""
    runs = pages.site.places.runs
    a, b = (runs.get(query.get(name, "")) for name in "ab")
    given: dict[str, Any] = {"runs": list(runs.values()), "query": _whole(query), "splits": SPLITS, "address": None}
    given |= {"sides": [], "steps": [], "problem": "", "paired": None, "pair": None, "rollouts": [], "names": ()}
    if a is None or b is None:
        return pages.page("view/compare.html", subject="", **given)
    try:
        found = _together(pages, [_side(pages, place, query) for place in (a, b)], query)
    except (RunError, MissingError) as error:
        found = {"problem": str(error)}
    return pages.page("view/compare.html", subject="", **{**given, **found})


def wanted_of(query: Query, most: int = PAGE) -> Wanted:
    """The list that the parameters of an address ask for. Raises ConfigError for a value that is not allowed."""
    order = query.get("order") or "recorded"
    if order not in ORDERS:
        raise ConfigError(f"order {order!r}: allowed are {', '.join(ORDERS)}")
    return Wanted(
        role=query.get("role") or None,
        outcome=query.get("outcome") or "any",
        task=query.get("task", ""),
        order=order,
        page=_number(query.get("page") or "1", "page"),
        per_page=most,
    )


def at_of(site: Site, place: Place, query: Query) -> At | None:
    """The episodes that the parameters name: of the last step and of the test split if they name none.

    None if the run has no episodes yet. Raises MissingError if it has none of that step.
    """
    run = site.runs.read(place.path)
    there = {one.split: one.steps for one in recorded(run)}
    split = query.get("split") or next(iter(there), "")
    if not there:
        return None
    if split not in there:
        raise MissingError(f"The run has no episodes of the split {split!r}; there are: {', '.join(there)}.")
    steps = there[split]
    step = _number(query["step"], "step") if query.get("step") else steps[-1]
    if step not in steps:
        raise MissingError(f"The run has no episodes of step {step}: they are not recorded, or were deleted.")
    file = check_file(site.root, episodes_file(run.path, step, None if split == TRAIN else split))
    return At(place=place, run=run, split=split, step=step, steps=steps, splits=list(there), file=file)


def _exactly(pages: Pages, place: Place, step: int, split: str) -> At:
    at = at_of(pages.site, place, {"step": str(step), "split": split})
    if at is None:
        raise MissingError("The run has no episodes yet.")
    return at


def _episode(at: At, task: str, rollout: int, anchor: str) -> tuple[EpisodeView, Around]:
    try:
        episode = read_episode(at.file, task, rollout)
        beside = around(at.file, task, rollout)
    except RunError as error:
        raise MissingError(str(error)) from error
    samples = samples_of(at.place.path, at.step, task, rollout) if at.split == TRAIN else None
    view = episode_view(episode, samples, _roles(at), anchor=anchor, where=at.where)
    return view, beside


def _list(pages: Pages, at: At | None, found: Listed | None, query: Query) -> str:
    if at is None or found is None:
        return pages.render("view/_episodes.html", at=None, found=None)

    def page(number: int) -> str:
        kept = {name: query[name] for name in ("role", "outcome", "task", "order") if query.get(name)}
        named = {"split": at.split, "step": str(at.step), **kept}
        return pages.links.episodes(at.place.id, {**named, "page": str(number)})

    return pages.render(
        "view/_episodes.html",
        at=at,
        found=found,
        page=page,
        team=chip_of_line,
        chip_of=chip_of_call,
        short=one_line,
        several=max((line.rollout for line in found.lines), default=0) > 0,
    )


def _roles(at: At | None) -> list[str]:
    """The roles of the run in their order."""
    return list(at.run.facts.get("routing", {})) if at is not None else []


def _side(pages: Pages, place: Place, query: Query) -> At:
    """Episodes of one of two runs: of the step and the split that are asked for, or of the last that it has."""
    run = pages.site.runs.read(place.path)
    there = {one.split: one.steps for one in recorded(run)}
    split = query.get("split") or next(iter(there), "")
    steps = there.get(split, [])
    if not steps:
        raise RunError(f"{place.name} has no episodes of the split {split!r}")
    wanted = _number(query["step"], "step") if query.get("step") else steps[-1]
    if wanted not in steps:
        raise RunError(f"{place.name} has no episodes of step {wanted}; the nearest is {_near(steps, wanted)}")
    return _exactly(pages, place, wanted, split)


def _together(pages: Pages, sides: Sequence[At], query: Query) -> dict[str, Any]:
    """The tasks that both have, or the episodes of the task that is asked for."""
    kept = {name: query[name] for name in ("a", "b", "split", "step") if query.get(name)}

    def address(task: str, rollout: int | None) -> str:
        return pages.links.compare({**kept, "task": task, "rollout": "" if rollout is None else str(rollout)})

    names = (visible(sides[0].place.name), visible(sides[1].place.name))
    steps = sorted({*sides[0].steps} & {*sides[1].steps})
    given: dict[str, Any] = {"sides": sides, "steps": steps, "address": address, "names": names}
    paired = pair_runs(sides[0].file, sides[1].file)
    if not paired.tasks:
        raise RunError("The two runs have no judged task in common.")
    if not query.get("task"):
        return {**given, "paired": paired}
    one = next((one for one in paired.tasks if one.task == query["task"]), None)
    if one is None:
        raise RunError(f"The two runs have no judged task {query['task']!r} in common.")
    rollouts = [number for number in one.a.rollouts if number in one.b.rollouts]
    rollout = _number(query["rollout"], "rollout") if query.get("rollout") else one.rollout
    if rollout not in rollouts:
        raise RunError(f"The two runs have no rollout {rollout} of this task in common.")
    views = [_episode(side, one.task, rollout, anchor)[0] for side, anchor in zip(sides, "ab", strict=True)]
    return {**given, "pair": pair_view(views[0], views[1], names), "rollouts": rollouts}


def _near(steps: Sequence[int], wanted: int) -> int:
    return min(steps, key=lambda step: abs(step - wanted))


def _whole(query: Query) -> dict[str, str]:
    """The parameters, with empty texts for those that are not given."""
    return {**dict.fromkeys(_PARAMETERS, ""), **query}


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _NUMBER):
        raise ConfigError(f"{name} {text[:40]!r}: a number is expected")
    return int(text)
