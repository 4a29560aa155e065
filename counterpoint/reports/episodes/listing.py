"""Lists of the episodes in a file, and one episode out of it, without reading the rest.

The tokens and log-probabilities of an episode are most of its file. A list decodes the columns that it shows and the
calls of its page, or those of all rows for a role or an outcome that calls decide. One episode is a slice.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from counterpoint.analysis.frames import read_samples
from counterpoint.episode import CallKey, Episode, claim_from_json, episode_of_row, is_readable, not_episodes
from counterpoint.errors import ConfigError, RunError, unknown
from counterpoint.record import Record
from counterpoint.reports.episodes.line import OF_CALLS, OUTCOMES, CallLine, EpisodeLine, is_selected
from counterpoint.reports.episodes.words import Chip, chip_of_line

if TYPE_CHECKING:
    import polars as pl

Order = Literal["recorded", "lowest", "highest"]
ORDERS: tuple[Order, ...] = ("recorded", "lowest", "highest")
"""As they were recorded, or by reward: the lowest or the highest first."""
PAGE = 50
"""Episodes on a page of a list."""
_LONGEST_CLAIM = 400
"""Characters of a claim as it is recorded that a line has of a long answer."""
_ANSWER = '{"kind": "answer"'
_KEPT = 8
"""Files whose lines are kept in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which episodes of a file are listed."""

    role: str | None = None
    """Only episodes that called this role; outcomes that calls decide then look at its calls alone."""
    outcome: str = "any"
    task: str = ""
    """The beginning of the ids of the tasks."""
    order: Order = "recorded"
    page: int = 1
    """From 1."""
    per_page: int = PAGE

    def check(self) -> None:
        """Raises ConfigError for a value that is not allowed."""
        if self.outcome not in OUTCOMES:
            raise ConfigError(unknown("outcome", self.outcome, OUTCOMES))
        if self.order not in ORDERS:
            raise ConfigError(unknown("order", self.order, ORDERS))
        if self.page < 1 or self.per_page < 1:
            raise ConfigError(
                f"page {self.page} of {self.per_page} episodes: pages and their sizes are numbered from 1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A page of a list of episodes."""

    lines: tuple[EpisodeLine, ...]
    """With their calls."""
    page: int
    """The page that this is: the last one if a later one was asked for."""
    pages: int
    """At least 1."""
    matching: int
    """Episodes on all pages together."""
    total: int
    """Episodes in the file, without those that a role played alone."""
    tasks: int
    """Tasks in the file."""
    counts: Mapping[str, int]
    """Outcome -> the number of episodes in the file that have it; those that calls decide only where a scan of all
    calls was needed for the list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """An episode of the same task."""

    task: str
    rollout: int
    chip: Chip


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """The episodes that a reader of one may want next."""

    rollouts: tuple[Rollout, ...]
    """The episodes of its task, by their numbers."""
    before: tuple[str, int] | None
    """The first episode of the task before: its task and rollout; None at the first task."""
    after: tuple[str, int] | None


def episodes_file(folder: Path, step: int, split: str | None = None) -> Path:
    """The file of the episodes of a training step of the run at `folder`, or of an evaluation of a split.

    Raises RunError if none are recorded.
    """
    return Record(folder).episodes_file(step, split)


def list_episodes(file: Path, wanted: Wanted) -> Listed:
    """A page of the episodes of a file. Raises ConfigError for what is not allowed, RunError if it cannot be read."""
    wanted.check()
    needs_calls = wanted.role is not None or wanted.outcome in OF_CALLS
    with _reading(file) as identity:
        every = _whole_lines(identity) if needs_calls else _lines(identity)
        lines = [line for line in every if not line.solo]
        kept = [line for line in lines if _is_wanted(line, wanted)]
        if wanted.order != "recorded":
            kept.sort(key=_by_reward(wanted.order))
        pages = max(1, -(-len(kept) // wanted.per_page))
        page = min(wanted.page, pages)
        shown = kept[(page - 1) * wanted.per_page : page * wanted.per_page]
        return Listed(
            lines=tuple(shown if needs_calls else _with_calls(identity, shown)),
            page=page,
            pages=pages,
            matching=len(kept),
            total=len(lines),
            tasks=len({line.task for line in lines}),
            counts=_counts(lines, of_calls=needs_calls),
        )


def lines_of(file: Path) -> list[EpisodeLine]:
    """A line per episode, with its calls, without those that a role played alone. Raises RunError."""
    with _reading(file) as identity:
        return [line for line in _whole_lines(identity) if not line.solo]


def read_episode(file: Path, task: str, rollout: int) -> Episode:
    """One episode of a file. Raises RunError if it has no such episode or cannot be read."""
    with _reading(file) as identity:
        line = _line(file, _lines(identity), task, rollout)
        row = _scan(file).slice(line.row, 1).collect().row(0, named=True)
        return episode_of_row(row)


def around(file: Path, task: str, rollout: int) -> Around:
    """The other rollouts of an episode's task, and the tasks beside it. Raises RunError."""
    with _reading(file) as identity:
        lines = [line for line in _lines(identity) if not line.solo]
    _line(file, lines, task, rollout)
    firsts: dict[str, tuple[str, int]] = {}
    for line in lines:
        firsts.setdefault(line.task, (line.task, line.rollout))
    tasks = list(firsts)
    place = tasks.index(task)
    mine = sorted((line for line in lines if line.task == task), key=lambda line: line.rollout)
    return Around(
        rollouts=tuple(Rollout(task=line.task, rollout=line.rollout, chip=chip_of_line(line)) for line in mine),
        before=firsts[tasks[place - 1]] if place > 0 else None,
        after=firsts[tasks[place + 1]] if place + 1 < len(tasks) else None,
    )


def samples_of(folder: Path, step: int, task: str, rollout: int) -> dict[CallKey, Mapping[str, Any]]:
    """Call -> reward, advantage, signal and in_loss, of an episode of a training step.

    Empty if no credit was given. Raises RunError if the file cannot be read.
    """
    import polars as pl

    try:
        rows = read_samples(folder / "samples" / f"{step:06d}.parquet", step)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{folder}: the samples of step {step} cannot be read: {_first_line(error)}") from error
    mine = rows.filter(pl.col("task").eq(task), pl.col("rollout").eq(rollout), ~pl.col("solo"))
    return {CallKey(row["role"], row["slot"], row["turn"]): row for row in mine.iter_rows(named=True)}


# The lines of a file, which are kept while the file stays as it is


@dataclass(frozen=True, slots=True)
class _Identity:
    """A file as it is at this moment: another one of the same name has another identity."""

    file: Path
    inode: int
    size: int
    modified: int


def _identity(file: Path) -> _Identity:
    found = file.stat()
    return _Identity(file, found.st_ino, found.st_size, found.st_mtime_ns)


@contextmanager
def _reading(file: Path) -> Iterator[_Identity]:
    """Errors of reading are RunErrors, and so is a file that was replaced or deleted in between."""
    import polars as pl

    try:
        before = _identity(file)
        yield before
        if _identity(file) != before:
            raise RunError(f"{file} was written again while it was read: read it again")
    except FileNotFoundError as error:
        raise RunError(f"{file} is not there any more: a run that is resumed deletes what it does again") from error
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{file} cannot be read as episodes: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


@lru_cache(_KEPT)
def _lines(identity: _Identity) -> tuple[EpisodeLine, ...]:
    """The lines without their calls."""
    rows = _scan(identity.file)
    there = [name for name in _EPISODE if name in rows.collect_schema()]
    frame = rows.select(there).with_row_index("row").collect()
    return tuple(EpisodeLine(**{"key": None, **row}) for row in frame.iter_rows(named=True))


@lru_cache(_KEPT)
def _whole_lines(identity: _Identity) -> tuple[EpisodeLine, ...]:
    """The lines with their calls: the whole file is decoded, a row group at a time."""
    calls = _scan(identity.file).select(_calls()).collect(engine="streaming")["calls"]
    return tuple(replace(line, calls=_call_lines(column)) for line, column in zip(_lines(identity), calls, strict=True))


def _with_calls(identity: _Identity, lines: Sequence[EpisodeLine]) -> list[EpisodeLine]:
    """The lines with their calls; the part of the file that holds these rows is decoded."""
    import polars as pl

    if not lines:
        return []
    rows = sorted(line.row for line in lines)
    first, count = rows[0], rows[-1] - rows[0] + 1
    part = _scan(identity.file).slice(first, count)
    if count > len(rows):
        part = part.with_row_index("row").filter((pl.col("row") + first).is_in(rows))
    found = part.select(_calls()).collect()["calls"]
    calls = dict(zip(rows, map(_call_lines, found), strict=True))
    return [replace(line, calls=calls[line.row]) for line in lines]


_EPISODE = ("task", "rollout", "solo", "key", "answer", "reward", "reason", "error", "error_kind")


def _scan(file: Path) -> "pl.LazyFrame":
    """The rows of a file of episodes. Raises RunError if it holds something else."""
    import polars as pl

    rows = pl.scan_parquet(file, glob=False)
    if not is_readable(rows.collect_schema()):
        raise RunError(not_episodes(file))
    return rows


def _calls() -> "pl.Expr":
    """The calls of an episode without messages, texts, tokens and log-probabilities; long answers shortened."""
    import polars as pl

    call = pl.element().struct
    claim = call.field("claim")
    is_long = claim.str.starts_with(_ANSWER) & (claim.str.len_bytes() > _LONGEST_CLAIM)
    # The cut may be within an escape of JSON: what is left of one goes too.
    short = claim.str.slice(0, _LONGEST_CLAIM).str.replace(r"\\+(u[0-9a-f]{0,4})?$", "") + pl.lit('…"}')
    tokens = pl.coalesce(call.field("counted_tokens"), call.field("completion_ids").list.len().cast(pl.Int32))
    fields = [call.field(name) for name in ("role", "slot", "turn", "score", "finish")]
    made = pl.struct(*fields, pl.when(is_long).then(short).otherwise(claim).alias("claim"), tokens.alias("tokens"))
    return pl.col("calls").list.eval(made)


def _call_lines(calls: Sequence[Mapping[str, Any]]) -> tuple[CallLine, ...]:
    return tuple(
        CallLine(
            key=CallKey(call["role"], call["slot"], call["turn"]),
            claim=claim_from_json(call["claim"]),
            score=call["score"],
            cut_off=call["finish"] == "length",
            tokens=call["tokens"],
        )
        for call in calls
    )


def _line(file: Path, lines: Sequence[EpisodeLine], task: str, rollout: int) -> EpisodeLine:
    for line in lines:
        if (line.task, line.rollout, line.solo) == (task, rollout, False):
            return line
    raise RunError(f"{file} has no rollout {rollout} of a task {task!r}")


def _is_wanted(line: EpisodeLine, wanted: Wanted) -> bool:
    return is_selected(line, role=wanted.role, outcome=wanted.outcome, task=wanted.task)


def _by_reward(order: Order) -> Callable[[EpisodeLine], tuple[bool, float]]:
    """Episodes without a value come last."""
    sign = 1.0 if order == "lowest" else -1.0
    return lambda line: (line.success is None, sign * (line.success or 0.0))


def _counts(lines: Sequence[EpisodeLine], *, of_calls: bool) -> dict[str, int]:
    outcomes = [name for name in OUTCOMES if of_calls or name not in OF_CALLS]
    found = Counter(name for line in lines for name in outcomes if is_selected(line, outcome=name))
    return {name: found[name] for name in outcomes}
