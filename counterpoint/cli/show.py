"""`counterpoint show`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from counterpoint.analysis.summary import BEHAVIOUR
from counterpoint.cli.tables import role_lines, team_line
from counterpoint.episode import (
    Answer,
    Call,
    CallKey,
    Choice,
    Claim,
    Episode,
    Proposal,
    Unreadable,
    Verdict,
)
from counterpoint.errors import ConfigError, RunError, unknown
from counterpoint.run import Run, Step

OUTCOMES = ("any", "right", "wrong", "failed", "not-judged", "split")
_KINDS = {"overflow": "workflow: a prompt is too long", "timeout": "workflow: out of time"}
"""Error kind -> its label, where the name alone does not tell what failed."""
SampleKey = tuple[str, int, CallKey]


def show_episodes(path: Path, step: Step | None, task: str | None, limit: int, outcome: str) -> None:
    """Print the first `limit` episodes of a step that match; the last step if `step` is None.

    Raises ConfigError for an unknown outcome, RunError if `path` is no run or has no episodes of that step.
    """
    if outcome not in OUTCOMES:
        raise ConfigError(unknown("--outcome", outcome, OUTCOMES))
    run = Run.read(path)
    number = _step(run, run.number_of(step))
    episodes = [
        episode
        for group in run.episodes(number)
        for episode in group.episodes
        if episode.task.startswith(task or "") and _is(episode, outcome)
    ]
    samples = _samples(run, number)
    console = Console(highlight=False)
    console.print(f"step {number}: {len(episodes)} episodes match, {min(limit, len(episodes))} shown")
    numbers = {row["step"]: row for row in run.metric_rows()}.get(number, {})
    for line in (team_line(numbers), *role_lines(numbers, ("accuracy", *BEHAVIOUR))):
        console.print(line, markup=False, soft_wrap=True)
    for episode in episodes[:limit]:
        _print_episode(console, episode, samples)


def _step(run: Run, step: int | None) -> int:
    steps = run.steps_with_episodes()
    if not steps:
        raise RunError(f"{run.path} has no episodes yet")
    return steps[-1] if step is None else step


def _is(episode: Episode, outcome: str) -> bool:
    answers = {call.score for call in episode.calls if isinstance(call.claim, Answer)}
    match outcome:
        case "right":
            return episode.success == 1.0
        case "wrong":
            return episode.success == 0.0 and episode.error is None
        case "failed":
            return episode.error is not None
        case "not-judged":
            return episode.error is None and episode.score.reward is None
        case "split":
            return len(answers) > 1
        case _:
            return True


def _samples(run: Run, step: int) -> dict[SampleKey, dict[str, float]]:
    """(task, rollout, call) -> reward, advantage, signal; empty if the run was killed before credit was given."""
    return {
        (row["task"], row["rollout"], CallKey(row["role"], row["slot"], row["turn"])): row
        for row in run.samples(step).iter_rows(named=True)
    }


def _print_episode(console: Console, episode: Episode, samples: Mapping[SampleKey, Mapping[str, float]]) -> None:
    console.print(Rule(f"{episode.task}, rollout {episode.rollout}", align="left"))
    console.print(Text(f"problem   {episode.problem}"))
    console.print(Text(f"answer    {episode.answer if episode.answer is not None else '(none)'}   {_verdict(episode)}"))
    if episode.traceback:
        console.print(Text(episode.traceback, style="dim"), soft_wrap=True)
    for call in episode.calls:
        _print_call(console, call, samples.get((episode.task, episode.rollout, call.key)))


def _verdict(episode: Episode) -> str:
    if episode.error is not None:
        return f"FAILED ({_KINDS.get(episode.error_kind or '', episode.error_kind)}): {episode.error}"
    if episode.score.reward is None:
        return f"NOT JUDGED: {episode.score.reason}"
    return f"reward {episode.score.reward:g}" + (f" ({episode.score.reason})" if episode.score.reason else "")


def _print_call(console: Console, call: Call, sample: Mapping[str, float] | None) -> None:
    credit = "no credit"
    if sample is not None:
        advantage = f"advantage {sample['advantage']:+.3f}" if sample["signal"] else "no signal in its group"
        credit = f"reward {sample['reward']:g}, {advantage}"
    without = f" ({call.cut} left out of the middle)" if call.cut else ""
    console.print(
        Text(
            f"\n{_name(call.key)}  [{call.policy}@v{call.version}]  {len(call.prompt_ids)}{without} +"
            f" {len(call.completion_ids)} tokens, {call.finish}",
            style="bold",
        )
    )
    for message in call.messages:
        console.print(Padding(Text(f"{message['role']}: {message['content']}", style="dim"), (0, 0, 0, 4)))
    if call.reasoning:
        thoughts = f"| reasoning, which no other role sees:\n{call.reasoning.strip()}".replace("\n", "\n| ")
        console.print(Padding(Text(thoughts, style="dim italic"), (0, 0, 0, 2)))
    console.print(Padding(Text(call.text), (0, 0, 0, 2)))
    console.print(Text(f"  -> {_claim(call.claim)}{_score(call)}; {credit}", style="italic"), soft_wrap=True)


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
            return f"chooses {_name(candidates[index])} of {_listed(candidates)}"
        case Proposal(followed_by=followers):
            return f"proposes what {len(followers)} followed"
        case Unreadable(reason=reason):
            return f"unreadable: {reason}"


def _listed(candidates: Sequence[CallKey]) -> str:
    return f"{len(candidates)} candidates"


def _score(call: Call) -> str:
    if call.claim is None:
        return ""
    if call.score is None:
        return " (not judged)"
    return " (right)" if call.score == 1.0 else " (wrong)" if call.score == 0.0 else f" (worth {call.score:g})"
