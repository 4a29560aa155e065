"""Example episodes for a report: the team helped, it hurt, all were wrong together, or a failure signature shows."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from counterpoint.analysis.signatures.base import Finding
from counterpoint.episode import Answer, Episode, Unreadable, Verdict
from counterpoint.errors import RunError
from counterpoint.reports.episodes.line import (
    CallLine,
    EpisodeLine,
    chosen_among,
    first_answer,
    judged_by,
)
from counterpoint.reports.episodes.listing import episodes_file, lines_of, read_episode, samples_of
from counterpoint.reports.episodes.shown import REPORT_LIMIT
from counterpoint.reports.episodes.view import EpisodeView, episode_view
from counterpoint.reports.episodes.words import names_of
from counterpoint.run import Run
from counterpoint.task import RIGHT_FROM

BUDGET = 1_500_000
"""Bytes that all examples of a report take as HTML."""
PER_FINDING = 2
"""Episodes that show a signature."""
_MOST_READ = 64
"""Episodes that are read as a whole to find one that shows a signature in its texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An episode, and why it was chosen."""

    kind: str
    """helped, hurt, unanimous, or the name of a signature."""
    why: str
    """One line: what it shows, and of how many such episodes it is the first."""
    run: str
    step: int
    split: str | None
    """The split of the evaluation; None for a training step."""
    view: EpisodeView


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """The episodes of one file of a run."""

    run: Run
    step: int
    split: str | None
    lines: Sequence[EpisodeLine]

    @property
    def file(self) -> Path:
        return episodes_file(self.run.path, self.step, self.split)

    @property
    def where(self) -> str:
        return f"step {self.step}" if self.split is None else f"{self.split} evaluation at step {self.step}"


Shows = Callable[[EpisodeLine], str]
"""An episode -> what it shows, in words; empty if it does not."""


def examples_of(run: Run, limit: int = REPORT_LIMIT) -> list[Example]:
    """An episode in which the team helped, one in which it hurt, one in which all agreed on a wrong answer.

    They are from the test evaluation at the peak, else from the last one, else from the last training step; kinds
    without an episode are missing. Texts have at most `limit` characters. Empty if no episodes are recorded.
    """
    source = _at_the_peak(run)
    if source is None:
        return []
    found = []
    for kind, shows in _KINDS.items():
        found += _chosen(source, kind, [(line, text) for line in source.lines if (text := shows(line))], 1, limit)
    return found


def examples_of_finding(run: Run, finding: Finding, limit: int = REPORT_LIMIT) -> list[Example]:
    """Up to two episodes that show a signature, of the last steps in which it was found.

    Empty for a signature that no single episode shows, such as a cliff.
    """
    wanted = _SIGNS.get(finding.signature)
    roles = {role.strip() for role in finding.where.split(",")}
    for source in _sources(run, finding.steps[1]):
        if finding.signature == "echo":
            matching = _echoes(source, roles)
        elif wanted is None:
            return []
        else:
            matching = [(line, text) for line in source.lines if (text := wanted(line, roles))]
        if chosen := _chosen(source, finding.signature, matching, PER_FINDING, limit):
            return chosen
    return []


def within_budget(
    examples: Sequence[Example], size: Callable[[Example], int], budget: int = BUDGET
) -> tuple[list[Example], int]:
    """The examples that fit, in their order, and the number of those that do not; the scarcest kinds come first.

    `size` is the number of bytes that an example takes on the page.
    """
    kinds = Counter(one.kind for one in examples)
    by_scarcity = sorted(range(len(examples)), key=lambda place: (kinds[examples[place].kind], place))
    kept: set[int] = set()
    for place in by_scarcity:
        needed = size(examples[place])
        if needed <= budget:
            kept.add(place)
            budget -= needed
    return [one for place, one in enumerate(examples) if place in kept], len(examples) - len(kept)


# The files


def _at_the_peak(run: Run) -> _Source | None:
    evaluated = run.steps_with_episodes("test")
    try:
        peak = run.number_of("peak")
    except RunError:
        peak = None
    if evaluated:
        return _source(run, peak if peak in evaluated and peak is not None else evaluated[-1], "test")
    trained = run.steps_with_episodes()
    return _source(run, trained[-1], None) if trained else None


def _sources(run: Run, last: int) -> list[_Source]:
    """The files of the last steps up to `last`: of a test evaluation, and of training."""
    found = []
    for split in ("test", None):
        steps = [step for step in run.steps_with_episodes(split) if step <= last]
        found += [_source(run, steps[-1], split)] if steps else []
    return [one for one in found if one is not None]


def _source(run: Run, step: int, split: str | None) -> _Source | None:
    """None if the file has gone or cannot be read: a report can do without examples."""
    try:
        return _Source(run=run, step=step, split=split, lines=lines_of(episodes_file(run.path, step, split)))
    except RunError:
        return None


# The choice


def _chosen(
    source: _Source, kind: str, matching: Sequence[tuple[EpisodeLine, str]], most: int, limit: int
) -> list[Example]:
    """Up to `most` of the episodes that match; none if their file has gone in between."""
    try:
        return [_example(source, kind, line, text, len(matching), limit) for line, text in _readable(matching)[:most]]
    except RunError:
        return []


def _readable(matching: Sequence[tuple[EpisodeLine, str]]) -> list[tuple[EpisodeLine, str]]:
    """Those without a reply that was cut off first, each task once before any twice."""
    seen: Counter[str] = Counter()
    ranked = []
    for place, (line, text) in enumerate(matching):
        seen[line.task] += 1
        ranked.append((seen[line.task], any(call.cut_off for call in line.calls), place, line, text))
    ranked.sort(key=lambda one: one[:3])
    return [(line, text) for *_, line, text in ranked]


def _example(source: _Source, kind: str, line: EpisodeLine, text: str, count: int, limit: int) -> Example:
    run = source.run
    episode = read_episode(source.file, line.task, line.rollout)
    samples = samples_of(run.path, source.step, line.task, line.rollout) if source.split is None else None
    identity = f"{run.path}/{source.split}/{source.step}/{line.task}/{line.rollout}/{kind}"
    such = "the only such episode" if count == 1 else f"one of {count} such episodes"
    return Example(
        kind=kind,
        why=f"{text}; {such} among {len(source.lines)} of the {source.where}",
        run=run.path.name,
        step=source.step,
        split=source.split,
        view=episode_view(
            episode,
            samples,
            list(run.facts.get("routing", {})),
            limit=limit,
            anchor=f"example-{hashlib.sha256(identity.encode(errors='surrogatepass')).hexdigest()[:12]}",
            where=source.where,
        ),
    )


def _name(line: EpisodeLine, call: CallLine) -> str:
    return names_of([one.key for one in line.calls])[call.key]


def _is_right(call: CallLine) -> bool:
    return call.score is not None and call.score >= RIGHT_FROM


def _is_wrong(call: CallLine) -> bool:
    return call.score is not None and call.score < RIGHT_FROM


def _helped(line: EpisodeLine) -> str:
    first = first_answer(line)
    if first is None or not _is_wrong(first) or not line.is_right:
        return ""
    return f"the first answer, of {_name(line, first)}, was wrong and the team's right"


def _hurt(line: EpisodeLine) -> str:
    first = first_answer(line)
    if first is None or not _is_right(first) or line.success is None or line.is_right:
        return ""
    return f"the first answer, of {_name(line, first)}, was right and the team's wrong"


def _unanimous(line: EpisodeLine) -> str:
    answers = [call for call in line.calls if isinstance(call.claim, Answer)]
    verdicts = [call.claim.correct for call in line.calls if isinstance(call.claim, Verdict)]
    if len(answers) + len(verdicts) < 2 or not answers or line.success is None or line.is_right:
        return ""
    if not all(map(_is_wrong, answers)) or not all(verdicts) or len(_texts(answers)) > 1:
        return ""
    return f"all {len(answers) + len(verdicts)} calls that answered or judged agreed, on a wrong answer"


def _texts(answers: Sequence[CallLine]) -> set[str]:
    """The different answers; they are the same if they differ only in case and white space."""
    return {" ".join(call.claim.text.split()).casefold() for call in answers if isinstance(call.claim, Answer)}


_KINDS: Mapping[str, Shows] = {"helped": _helped, "hurt": _hurt, "unanimous": _unanimous}


# Signatures that single episodes show: (episode, roles) -> what it shows

Roles = set[str]


def _failed(line: EpisodeLine, roles: Roles) -> str:
    return "the episode failed" if line.error is not None else ""


def _unjudged(line: EpisodeLine, roles: Roles) -> str:
    return "the answer was not judged" if line.error is None and line.reward is None else ""


def _unreadable(line: EpisodeLine, roles: Roles) -> str:
    found = [call for call in line.calls if call.key.role in roles and isinstance(call.claim, Unreadable)]
    return f"the reply of {_name(line, found[0])} cannot be read" if found else ""


def _cut_off(line: EpisodeLine, roles: Roles) -> str:
    found = [call for call in line.calls if call.key.role in roles and call.cut_off]
    return f"the reply of {_name(line, found[0])} was cut off at the token limit" if found else ""


def _approved_wrong(line: EpisodeLine, roles: Roles) -> str:
    return _verdict(line, roles, approved=True)


def _rejected_right(line: EpisodeLine, roles: Roles) -> str:
    return _verdict(line, roles, approved=False)


def _verdict(line: EpisodeLine, roles: Roles, *, approved: bool) -> str:
    for call, judged in judged_by(line):
        is_mistaken = _is_wrong(judged) if approved else _is_right(judged)
        if (
            call.key.role in roles
            and isinstance(call.claim, Verdict)
            and call.claim.correct == approved
            and is_mistaken
        ):
            words = "approved a wrong" if approved else "rejected a right"
            return f"{_name(line, call)} {words} answer, of {_name(line, judged)}"
    return ""


def _not_chosen(line: EpisodeLine, roles: Roles) -> str:
    for call, candidates in chosen_among(line):
        if call.key.role in roles and _is_wrong(call) and any(map(_is_right, candidates)):
            right = sum(map(_is_right, candidates))
            return f"{right} of {len(candidates)} candidates were right, and {_name(line, call)} chose a wrong one"
    return ""


def _collapsed(line: EpisodeLine, roles: Roles) -> str:
    answers = [call for call in line.calls if call.key.role in roles and isinstance(call.claim, Answer)]
    if len(answers) < 2 or len(_texts(answers)) > 1 or not all(map(_is_wrong, answers)):
        return ""
    return f"all {len(answers)} answers of {answers[0].key.role} are the same and wrong"


def _idle(line: EpisodeLine, roles: Roles) -> str:
    first = first_answer(line)
    some_right = any(isinstance(call.claim, Answer) and _is_right(call) for call in line.calls)
    if first is None or not _is_wrong(first) or line.success is None or line.is_right or not some_right:
        return ""
    return "the first answer and the team's were wrong, although another answer was right"


_SIGNS: Mapping[str, Callable[[EpisodeLine, Roles], str]] = {
    "failed episodes": _failed,
    "unjudged answers": _unjudged,
    "unreadable replies": _unreadable,
    "cut-off replies": _cut_off,
    "rubber stamp": _approved_wrong,
    "over-rejection": _rejected_right,
    "selection blindness": _not_chosen,
    "voter collapse": _collapsed,
    "lazy role": _idle,
}


def _echoes(source: _Source, roles: Roles) -> list[tuple[EpisodeLine, str]]:
    """The episodes, of the first ones, in which a role's whole reply is in its prompt."""
    found = []
    for line in [one for one in source.lines if any(call.key.role in roles for call in one.calls)][:_MOST_READ]:
        text = _echo(read_episode(source.file, line.task, line.rollout), roles)
        found += [(line, text)] if text else []
    return found


def _echo(episode: Episode, roles: Roles) -> str:
    names = names_of([call.key for call in episode.calls])
    for call in episode.calls:
        text = call.text.strip()
        if call.key.role in roles and text and any(text in message["content"] for message in call.messages):
            return f"the whole reply of {names[call.key]} is in its prompt"
    return ""
