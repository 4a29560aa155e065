"""An episode as a page shows it: a column per role, calls in time order on shared rows, everything as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from counterpoint.episode import Call, CallKey, Episode
from counterpoint.reports.episodes.line import line_of
from counterpoint.reports.episodes.links import Links, links_of, reads_of
from counterpoint.reports.episodes.prompt import PromptView, last_prompt, prompt_view
from counterpoint.reports.episodes.shown import VIEWER_LIMIT, Shown, cut, one_line, shown, visible
from counterpoint.reports.episodes.words import (
    ERROR_KINDS,
    Chip,
    ClaimView,
    Credit,
    Ref,
    chip_of_call,
    chip_of_line,
    claim_view,
    credit_of,
    names_of,
)
from counterpoint.reports.looks import PALETTES

SampleOf = Mapping[CallKey, Mapping[str, Any]]
"""Call -> its row of `samples/`: reward, advantage, signal and in_loss."""
MOST_COLUMNS = 5
"""Columns of cards that a page has room for; more roles are shown in one column in time order."""
_MOST_BESIDE = 3
"""Parallel calls of a role that are side by side."""
_COLOURS = len(PALETTES["light"].roles)
_TRACEBACK = 20_000
"""Characters of a traceback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallView:
    """A call."""

    number: int
    """Its place in time order, from 1."""
    anchor: str
    """The id of its element."""
    name: str
    colour: int
    """The place of its role's colour in the palette."""
    claim: ClaimView
    chip: Chip
    credit: Credit | None
    """None where no call gets credit: in evaluations."""
    policy: str
    """As `generator@v39`."""
    prompt_tokens: int
    left_out_tokens: int
    """Tokens that were left out of the middle of a prompt that was too long."""
    tokens: int
    cut_off: bool
    """True if the reply was ended at the token limit."""
    temperature: str
    prompt: PromptView
    text: Shown
    reasoning: Shown | None
    """None if there is none."""
    links: tuple[Links, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The column of a role."""

    role: str
    colour: int
    first: int
    """The first of the columns of cards that it takes, from 1."""
    width: int
    """How many it takes."""
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The calls of a role on a row, side by side in time."""

    column: Column
    calls: tuple[CallView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeView:
    """An episode."""

    anchor: str
    """The beginning of the ids of its elements."""
    where: str
    """As "test evaluation at step 40"; may be empty."""
    task: str
    rollout: int
    problem: Shown
    right_answer: Shown | None
    """None in an episode of an old file, which has none."""
    answer: Shown | None
    chip: Chip
    reward: str
    """Empty if the answer was not judged."""
    reason: str
    """The remark of the judge, or why it did not judge."""
    parts: tuple[tuple[str, str], ...]
    """The named components of the score."""
    error: str
    error_kind: str
    traceback: str
    columns: tuple[Column, ...]
    units: int
    """The columns of cards that all roles take together; 0 if there are too many: then all are in one column."""
    rows: tuple[tuple[Cell, ...], ...]
    calls: tuple[CallView, ...]
    """All calls in time order."""
    not_called: tuple[str, ...]
    has_credit: bool
    is_long: bool
    """True if it takes more than a window to read: a table of its calls then comes first."""


def episode_view(
    episode: Episode,
    samples: SampleOf | None,
    roles: Sequence[str] = (),
    *,
    limit: int = VIEWER_LIMIT,
    anchor: str = "episode",
    where: str = "",
) -> EpisodeView:
    """The episode with texts of at most `limit` characters.

    `samples` is None where no call gets credit, as in evaluations, and empty where credit was not yet given. `roles`
    are those of the workflow in their order, which gives columns and colours; the ones that were not called are named.
    Prompts as they were sent are there only with the viewer's limit.
    """
    order = list(dict.fromkeys([*roles, *(call.key.role for call in episode.calls)]))
    calls = _calls(episode, samples, order, limit, anchor)
    groups = _rows(episode.calls)
    columns, units = _columns(order, episode.calls, groups)
    return EpisodeView(
        anchor=anchor,
        where=where,
        task=one_line(episode.task),
        rollout=episode.rollout,
        problem=shown(episode.problem, limit),
        right_answer=None if episode.key is None else shown(episode.key, limit),
        answer=None if episode.answer is None else shown(episode.answer, limit),
        chip=chip_of_line(line_of(episode)),
        reward="" if episode.score.reward is None else f"{episode.score.reward:g}",
        reason=one_line(episode.score.reason, 300),
        parts=tuple((one_line(name, 60), f"{value:.4g}") for name, value in episode.score.parts.items()),
        error=one_line(episode.error or "", 1_000),
        error_kind=ERROR_KINDS.get(episode.error_kind or "", episode.error_kind or ""),
        traceback=visible(cut(episode.traceback, _TRACEBACK)[0]),
        columns=tuple(columns.values()),
        units=units,
        rows=tuple(_cells(group, calls, columns) for group in groups),
        calls=tuple(calls.values()),
        not_called=tuple(one_line(role, 60) for role in order if role not in columns),
        has_credit=samples is not None,
        is_long=len(calls) > 8 or sum(len(call.text) for call in episode.calls) > 6_000,
    )


def _calls(
    episode: Episode, samples: SampleOf | None, order: Sequence[str], limit: int, anchor: str
) -> dict[CallKey, CallView]:
    names = names_of([call.key for call in episode.calls])
    refs = {key: Ref(name=name, anchor=f"{anchor}-{place}") for place, (key, name) in enumerate(names.items(), start=1)}
    reads = reads_of(episode.calls)
    links = links_of(episode.calls, reads, refs)
    problem = (episode.problem, Ref(name="the problem", anchor=f"{anchor}-problem"))
    made = {}
    for place, call in enumerate(episode.calls):
        quotes = [problem, *((other.text, refs[other.key]) for other in reads.get(call.key, ()))]
        last = last_prompt(call, episode.calls[:place])
        made[call.key] = CallView(
            number=place + 1,
            anchor=refs[call.key].anchor,
            name=names[call.key],
            colour=order.index(call.key.role) % _COLOURS,
            claim=claim_view(call.claim, refs),
            chip=chip_of_call(call.claim, call.score),
            credit=None if samples is None else credit_of(samples.get(call.key)),
            policy=f"{one_line(call.policy, 60)}@v{call.version}",
            prompt_tokens=len(call.prompt_ids),
            left_out_tokens=call.cut,
            tokens=call.tokens,
            cut_off=call.finish == "length",
            temperature=f"{call.temperature:g}",
            prompt=prompt_view(call, last, quotes, refs, limit, whole=limit >= VIEWER_LIMIT),
            text=shown(call.text.strip("\n"), limit),
            reasoning=shown(call.reasoning.strip("\n"), limit) if call.reasoning.strip() else None,
            links=links[call.key],
        )
    return made


def _rows(calls: Sequence[Call]) -> list[list[Call]]:
    """The calls in rows: those of a row were made side by side, as far as the record tells.

    That is so for calls of one role in one turn, and for calls of different roles with the same prompt.
    """
    rows: list[list[Call]] = []
    for call in calls:
        if rows and _is_beside(call, rows[-1]):
            rows[-1].append(call)
        else:
            rows.append([call])
    return rows


def _is_beside(call: Call, row: Sequence[Call]) -> bool:
    same_role = [one for one in row if one.key.role == call.key.role]
    if same_role:
        return same_role[-1].key.turn == call.key.turn
    return any(one.messages == call.messages for one in row)


def _columns(
    order: Sequence[str], calls: Sequence[Call], rows: Sequence[Sequence[Call]]
) -> tuple[dict[str, Column], int]:
    """Role -> its column, for roles that were called, and the number of columns of cards; 0 if they are too many."""
    called = [role for role in order if any(call.key.role == role for call in calls)]
    most = {role: max(sum(call.key.role == role for call in row) for row in rows) for role in called}
    beside = _MOST_BESIDE
    while beside > 1 and sum(min(count, beside) for count in most.values()) > MOST_COLUMNS:
        beside -= 1
    found: dict[str, Column] = {}
    first = 1
    for role in called:
        width = min(most[role], beside)
        found[role] = Column(
            role=one_line(role, 60),
            colour=order.index(role) % _COLOURS,
            first=first,
            width=width,
            calls=sum(call.key.role == role for call in calls),
        )
        first += width
    return found, first - 1 if first - 1 <= MOST_COLUMNS else 0


def _cells(row: Sequence[Call], calls: Mapping[CallKey, CallView], columns: Mapping[str, Column]) -> tuple[Cell, ...]:
    roles = dict.fromkeys(call.key.role for call in row)
    return tuple(
        Cell(column=columns[role], calls=tuple(calls[call.key] for call in row if call.key.role == role))
        for role in roles
    )
