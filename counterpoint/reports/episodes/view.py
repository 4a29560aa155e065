"""An episode as a page shows it: a column per role, calls in time order on shared rows, everything as plain values."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from counterpoint.episode import Call, CallKey, Episode
from counterpoint.reports.episodes.line import line_of
from counterpoint.reports.episodes.links import Links, candidates_of, links_of
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
    key: CallKey
    name: str
    """Its role, with its slot and turn where the role has several in this episode."""
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
    calls: int
    """The number of its calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A column on a row: the calls of its role that were made side by side, or none."""

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
    """Those of the roles that were called, in the order of the workflow."""
    layout: Literal["one", "two", "rails"]
    """One column, two of equal width, or more, of which those that are empty on a row are narrow there."""
    rows: tuple[tuple[Cell, ...], ...]
    """The calls in time order: in each row a cell per column."""
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
    columns = _columns(order, episode.calls)
    return EpisodeView(
        anchor=anchor,
        where=one_line(where),
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
        layout=_layout(groups),
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
    prompts = _prompts(episode, refs, limit, anchor)
    links = links_of(episode.calls, _reads(prompts, refs), refs)
    return {
        call.key: CallView(
            number=place,
            anchor=refs[call.key].anchor,
            key=call.key,
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
            prompt=prompts[call.key],
            text=shown(call.text.strip("\n"), limit),
            reasoning=shown(call.reasoning.strip("\n"), limit) if call.reasoning.strip() else None,
            links=links[call.key],
        )
        for place, call in enumerate(episode.calls, start=1)
    }


def _prompts(episode: Episode, refs: Mapping[CallKey, Ref], limit: int, anchor: str) -> dict[CallKey, PromptView]:
    candidates = candidates_of(episode.calls)
    problem = (episode.problem, Ref(name="the problem", anchor=f"{anchor}-problem"))
    whole = limit >= VIEWER_LIMIT
    return {
        call.key: prompt_view(
            call,
            last_prompt(call, episode.calls[:place]),
            [problem, *((other.text, refs[other.key]) for other in candidates.get(call.key, ()))],
            refs,
            limit,
            whole=whole,
        )
        for place, call in enumerate(episode.calls)
    }


def _reads(prompts: Mapping[CallKey, PromptView], refs: Mapping[CallKey, Ref]) -> dict[CallKey, list[CallKey]]:
    """Call -> the calls whose replies are in what is new in its prompt."""
    keys = {ref: key for key, ref in refs.items()}
    return {
        key: [keys[part.quoted] for message in prompt.new for part in message.parts if part.quoted in keys]
        for key, prompt in prompts.items()
    }


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


def _columns(order: Sequence[str], calls: Sequence[Call]) -> dict[str, Column]:
    """Role -> its column, for roles that were called."""
    counts = Counter(call.key.role for call in calls)
    return {
        role: Column(role=one_line(role, 60), colour=place % _COLOURS, calls=counts[role])
        for place, role in enumerate(order)
        if counts[role]
    }


def _layout(rows: Sequence[Sequence[Call]]) -> Literal["one", "two", "rails"]:
    roles = {call.key.role for row in rows for call in row}
    if len(roles) < 2:
        return "one"
    return "two" if len(roles) == 2 and all(len(row) == 1 for row in rows) else "rails"


def _cells(row: Sequence[Call], calls: Mapping[CallKey, CallView], columns: Mapping[str, Column]) -> tuple[Cell, ...]:
    return tuple(
        Cell(column=column, calls=tuple(calls[call.key] for call in row if call.key.role == role))
        for role, column in columns.items()
    )
