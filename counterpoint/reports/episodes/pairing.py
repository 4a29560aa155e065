"""Two runs on the same tasks: which tasks differ most, and an episode beside the other run's."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from counterpoint.reports.episodes.line import EpisodeLine
from counterpoint.reports.episodes.listing import lines_of
from counterpoint.reports.episodes.shown import Shown
from counterpoint.reports.episodes.view import CallView, EpisodeView
from counterpoint.reports.episodes.words import Chip, chip_of_line, names_of
from counterpoint.task import RIGHT_FROM


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The episodes of a task in one run."""

    mean: float
    """The mean value of those that were judged."""
    chips: tuple[Chip, ...]
    """The verdicts, by rollout."""
    rollouts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTask:
    """A task that both runs played."""

    task: str
    a: Side
    b: Side

    @property
    def difference(self) -> float:
        """The mean of the first run minus that of the second."""
        return self.a.mean - self.b.mean

    @property
    def rollout(self) -> int | None:
        """The first rollout that both have, of those that differ if any does; None if they have none in common."""
        mine = dict(zip(self.a.rollouts, self.a.chips, strict=True))
        other = dict(zip(self.b.rollouts, self.b.chips, strict=True))
        common = [number for number in mine if number in other]
        return next((number for number in common if mine[number] != other[number]), next(iter(common), None))


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedRuns:
    """The tasks of two files of episodes."""

    tasks: tuple[PairedTask, ...]
    """Those that both have and that were judged in both; the largest differences first."""
    counts: dict[str, int]
    """`both`, `only_a`, `only_b`, `neither`: the number of tasks that are right on average (above one half) there."""
    only_a: int
    """Tasks that only the first file has, or that were judged there alone."""
    only_b: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A line of what differs between two episodes."""

    name: str
    a: str
    b: str
    chip_a: Chip | None = None
    chip_b: Chip | None = None

    @property
    def differs(self) -> bool:
        """True if the two sides are not the same."""
        return (self.a, self.chip_a) != (self.b, self.chip_b)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairView:
    """The same task in two runs."""

    names: tuple[str, str]
    """The names of the runs."""
    a: EpisodeView
    b: EpisodeView
    facts: tuple[Fact, ...]
    """Those that differ first."""


def pair_runs(a: Path, b: Path) -> PairedRuns:
    """The tasks of two files of episodes, those that differ most first. Raises RunError if one cannot be read."""
    mine, other = _sides(lines_of(a)), _sides(lines_of(b))
    tasks = [PairedTask(task=task, a=side, b=other[task]) for task, side in mine.items() if task in other]
    tasks.sort(key=lambda one: -abs(one.difference))
    counts = Counter(_where(one) for one in tasks)
    return PairedRuns(
        tasks=tuple(tasks),
        counts={name: counts[name] for name in ("both", "only_a", "only_b", "neither")},
        only_a=len(mine) - len(tasks),
        only_b=len(other) - len(tasks),
    )


def pair_view(a: EpisodeView, b: EpisodeView, names: tuple[str, str]) -> PairView:
    """Two episodes side by side; their `anchor`s must differ."""
    facts = sorted(_facts(a, b), key=lambda fact: not fact.differs)
    return PairView(names=names, a=a, b=b, facts=tuple(facts))


def _sides(lines: Iterable[EpisodeLine]) -> dict[str, Side]:
    by_task: dict[str, list[EpisodeLine]] = {}
    for line in lines:
        if line.success is not None:
            by_task.setdefault(line.task, []).append(line)
    return {task: _side(sorted(mine, key=lambda line: line.rollout)) for task, mine in by_task.items()}


def _side(lines: Sequence[EpisodeLine]) -> Side:
    return Side(
        mean=fmean(line.success or 0.0 for line in lines),
        chips=tuple(map(chip_of_line, lines)),
        rollouts=tuple(line.rollout for line in lines),
    )


def _where(task: PairedTask) -> str:
    a, b = (side.mean > RIGHT_FROM / 2 for side in (task.a, task.b))
    return "both" if a and b else "only_a" if a else "only_b" if b else "neither"


def _facts(a: EpisodeView, b: EpisodeView) -> Iterator[Fact]:
    yield Fact(name="team's answer", a=_short(a.answer), b=_short(b.answer), chip_a=a.chip, chip_b=b.chip)
    yield Fact(name="reward", a=a.reward or "none", b=b.reward or "none")
    yield Fact(name="calls", a=str(len(a.calls)), b=str(len(b.calls)))
    yield Fact(name="tokens", a=_tokens(a), b=_tokens(b))
    mine, other = ({call.key: call for call in view.calls} for view in (a, b))
    for key, name in names_of(list(dict.fromkeys([*mine, *other]))).items():
        one, two = mine.get(key), other.get(key)
        yield Fact(
            name=name,
            a=_claim(one),
            b=_claim(two),
            chip_a=None if one is None else one.chip,
            chip_b=None if two is None else two.chip,
        )


def _claim(call: CallView | None) -> str:
    if call is None:
        return "not called"
    about = "" if call.claim.about is None else call.claim.about.name
    return " ".join(part for part in (call.claim.before, about, call.claim.after) if part)


def _tokens(view: EpisodeView) -> str:
    return f"{sum(call.tokens for call in view.calls):,}"


def _short(text: Shown | None) -> str:
    if text is None:
        return "none"
    line = " ".join(" ".join(piece.text for chunk in text.chunks for piece in chunk).split())
    return line if len(line) <= 80 else f"{line[:80]}…"
