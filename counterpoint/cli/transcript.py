"""Episodes as text: in full, call by call, or one line each."""

from collections.abc import Mapping, Sequence
from textwrap import indent
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from counterpoint.episode import Answer, Call, CallKey, Choice, Claim, Episode, Proposal, Unreadable, Verdict
from counterpoint.reports.episodes.words import ERROR_KINDS

_LONGEST_BRIEF = 40
"""Characters of an answer in a line that sums up an episode."""
SampleOf = Mapping[tuple[str, int, CallKey], Mapping[str, Any]]
"""(task, rollout, call) -> reward, advantage and signal."""


def print_episode(
    console: Console, episode: Episode, samples: SampleOf | None, roles: Sequence[str], only: str | None = None
) -> None:
    """The problem, the right answer, the team's answer, and every call, or those of one role.

    `samples` is None where no call gets credit. `roles` are those of the workflow: the ones that were not called are
    named at the end.
    """
    console.print(Rule(Text(f"{episode.task}, rollout {episode.rollout}"), align="left"))
    for label, text in _facts(episode):
        _put(console, f"{label:<15}", text)
    if episode.traceback:
        console.print(Text(episode.traceback, style="dim"), soft_wrap=True)
    for call in episode.calls:
        if only in (None, call.key.role):
            place = (episode.task, episode.rollout, call.key)
            _print_call(console, call, "" if samples is None else _credit(samples.get(place)))
    called = {call.key.role for call in episode.calls}
    silent = [role for role in roles if role not in called]
    if silent:
        console.print(Text(f"\nnot called: {', '.join(silent)}", style="bold"), soft_wrap=True)


def print_brief(console: Console, episode: Episode) -> None:
    """One line: the task, both answers, the verdict, and the calls that could not be read or were cut off."""
    unreadable = sum(isinstance(call.claim, Unreadable) for call in episode.calls)
    truncated = sum(call.finish == "length" for call in episode.calls)
    parts = [f"{episode.task}, rollout {episode.rollout}"]
    if episode.key is not None:
        parts.append(f"right answer {_brief(episode.key)}")
    parts.append(f"team's answer {_brief(_answer(episode))}")
    parts.append(_brief(_verdict(episode), 2 * _LONGEST_BRIEF))
    counts = ((len(episode.calls), "calls"), (unreadable, "unreadable"), (truncated, "truncated"))
    parts += [f"{count} {what}" for count, what in counts if count or what == "calls"]
    console.print(Text(" | ".join(parts)), soft_wrap=True)


def _facts(episode: Episode) -> list[tuple[str, str]]:
    right = [] if episode.key is None else [("right answer", episode.key)]
    return [("problem", episode.problem), *right, ("team's answer", _answer(episode)), ("verdict", _verdict(episode))]


def _answer(episode: Episode) -> str:
    return "(none)" if episode.answer is None else episode.answer


def _brief(text: str, longest: int = _LONGEST_BRIEF) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[:longest]}..."


def _verdict(episode: Episode) -> str:
    if episode.error is not None:
        return f"FAILED ({ERROR_KINDS.get(episode.error_kind or '', episode.error_kind)}): {episode.error}"
    if episode.score.reward is None:
        return f"NOT JUDGED: {episode.score.reason}"
    parts = ", ".join(f"{name} {part:g}" for name, part in episode.score.parts.items())
    told = f"reward {episode.score.reward:g}" + (f" [{parts}]" if parts else "")
    return told + (f" ({episode.score.reason})" if episode.score.reason else "")


def _print_call(console: Console, call: Call, credit: str) -> None:
    without = f" ({call.cut} left out of the middle)" if call.cut else ""
    finish = "cut off at the token limit" if call.finish == "length" else "stop"
    console.print(
        Text(
            f"\n{_name(call.key)}  [{call.policy}@v{call.version}]  {len(call.prompt_ids)}{without} +"
            f" {call.tokens} tokens, {finish}",
            style="bold",
        ),
        soft_wrap=True,
    )
    for message in call.messages:
        _put(console, "    ", f"{message['role']}: {message['content']}", "dim")
    if call.reasoning:
        thoughts = f"| reasoning, which no other role sees:\n{call.reasoning.strip()}".replace("\n", "\n| ")
        _put(console, "  ", thoughts, "dim italic")
    _put(console, "  ", call.text)
    console.print(Text(f"  -> {_claim(call.claim)}{_score(call)}{credit}", style="italic"), soft_wrap=True)


def _put(console: Console, before: str, text: str, style: str = "") -> None:
    """The text after `before`, its other lines below its first.

    On a terminal long lines are wrapped there too; elsewhere they stay whole, so that they can be searched and copied.
    """
    if console.is_terminal:
        columns = Table.grid()
        columns.add_column(width=len(before))
        columns.add_row(before, Text(text, style=style))
        console.print(columns)
        return
    indented = indent(text, " " * len(before)).removeprefix(" " * len(before))
    console.print(Text(before + indented, style=style), soft_wrap=True)


def _credit(sample: Mapping[str, Any] | None) -> str:
    if sample is None:
        return "; no credit"
    advantage = f"advantage {sample['advantage']:+.3f}" if sample["signal"] else "no signal in its group"
    return f"; reward {sample['reward']:g}, {advantage}"


def _name(key: CallKey) -> str:
    return f"{key.role}, slot {key.slot}, turn {key.turn}"


def _claim(claim: Claim | None) -> str:
    match claim:
        case None:
            return "no claim"
        case Answer(text=text):
            return f"answers {text}"
        case Verdict(about=about, correct=correct):
            return f"judges {_name(about)} {'right' if correct else 'wrong'}"
        case Choice(candidates=candidates, index=index):
            return f"chooses {_name(candidates[index])} of {len(candidates)} candidates"
        case Proposal(followed_by=followers):
            return f"proposes what {len(followers)} followed"
        case Unreadable(reason=reason):
            return f"unreadable: {reason}"


def _score(call: Call) -> str:
    if call.claim is None or isinstance(call.claim, Unreadable):
        return ""
    if call.score is None:
        return " (not judged)"
    return " (right)" if call.score == 1.0 else " (wrong)" if call.score == 0.0 else f" (worth {call.score:g})"
