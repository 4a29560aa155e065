"""A rehearsal: a workflow played with invented replies, before any weights are read."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import cycle

from counterpoint.algorithms.base import Algorithm
from counterpoint.chat import Chat
from counterpoint.config import Config
from counterpoint.episode import Episode, Group, Proposal, Unreadable
from counterpoint.errors import ConfigError, MemberError, WorkflowError
from counterpoint.event_loop import run_to_end
from counterpoint.play import Limits, Stage, rollout
from counterpoint.samplers.by_policy import ByPolicy
from counterpoint.samplers.scripted import Scripted
from counterpoint.stage import Setup
from counterpoint.task import Score, not_judged
from counterpoint.tasks._readings import readable

REHEARSAL_REPLIES = tuple(
    "\n".join([r"\boxed{1}", *(f"Strategy {number}: {number}" for number in range(1, count + 1))])
    for count in (0, 3, 8)
)
"""The scripted replies of a rehearsal: readable as a choice, an answer or a proposal, but not as a verdict."""
DIFFERENT = (REHEARSAL_REPLIES[1], REHEARSAL_REPLIES[1].replace(r"\boxed{1}", r"\boxed{2}"))
"""Replies that calls give in turn, so that answers differ."""
REJECTION = r"It is wrong. \boxed{incorrect}"
UNREADABLE = "I do not know."
"""A reply in which nothing can be read."""
REHEARSAL_SECONDS = 10.0
"""The time limit of a rehearsed episode, unless `rollout.timeout` is shorter."""
FILLER = " and so on and on"
"""Text that extends a scripted reply to its largest length."""

Rehearse = Callable[[Setup, Mapping[str, Chat]], list[Episode]]
"""A recipe, and the chat format of each policy -> rehearsed episodes."""
Check = Callable[[Algorithm, Sequence[Episode], int], None]
"""Raises CounterpointError if an algorithm fits none of the episodes, in groups of that size."""


def rehearsed(setup: Setup, chats: Mapping[str, Chat]) -> list[Episode]:
    """Episodes in which every role says one scripted reply, and some in which roles are called that otherwise are not:
    replies differ, or cannot be read.
    """
    config = setup.config
    play = partial(_played, setup, chats)
    problem = setup.tasks.train[0].problem
    episodes = [_told_as_rehearsal(play, readable(problem, reply)) for reply in REHEARSAL_REPLIES]
    filler = FILLER * config.rollout.max_tokens
    long = [(readable(problem, reply + filler),) for reply in REHEARSAL_REPLIES]
    others = [
        tuple(readable(problem, reply) for reply in DIFFERENT),
        tuple(readable(problem, reply + filler) for reply in DIFFERENT),
        (UNREADABLE,),
        (UNREADABLE + filler,),
        (REJECTION,),
    ]
    for replies in (*long, *others):
        with suppress(WorkflowError):  # a prompt may be too long, or a reply without an answer fatal
            episodes.append(play(*replies))
    return episodes


def _told_as_rehearsal(play: Callable[..., Episode], reply: str) -> Episode:
    try:
        return play(reply)
    except WorkflowError as error:
        said = f"every role replies {reply!r}"
        raise WorkflowError(f"in a rehearsal without a model, in which {said}: {error}") from None


def _played(setup: Setup, chats: Mapping[str, Chat], *replies: str) -> Episode:
    """An episode in which the roles say these replies in turn."""
    in_turn = cycle(replies)
    scripted = {name: Scripted(lambda policy, prompt: next(in_turn), chat) for name, chat in chats.items()}
    stage = Stage(workflow=setup.workflow, routing=setup.routing, sampler=ByPolicy(scripted), chats=chats)
    limits = Limits.of(setup.config, 1.0)
    if limits.timeout > REHEARSAL_SECONDS:
        limits = replace(limits, timeout=REHEARSAL_SECONDS, timeout_name="the limit of a rehearsal")
    # The score of a scripted reply means nothing, and the task's judge may be slow or have processes to start.
    task = replace(setup.tasks.train[0], judge=_unjudged, bounded=False)
    (group,) = run_to_end(rollout(stage, [task], limits, size=1, seed="rehearsal"))
    return group.episodes[0]


async def _unjudged(answer: str, key: str) -> Score:
    return not_judged("it is a rehearsal")


def check_proposals(config: Config, episodes: Sequence[Episode], not_called: Sequence[str]) -> None:
    """Raises ConfigError if the advantage compares the followers of a proposal, and no role makes one.

    A role that was not called, or none of whose replies could be read, may make one.
    """
    if config.algorithm.advantage.name != "hierarchical" or not_called:
        return
    claims: dict[str, set[type]] = {}
    for call in (call for episode in episodes for call in episode.calls):
        claims.setdefault(call.key.role, set()).add(type(call.claim))
    if not any(Proposal in found or found == {Unreadable} for found in claims.values()):
        raise ConfigError("algorithm.advantage = 'hierarchical' needs a role that proposes what others follow")


def check_algorithm(algorithm: Algorithm, episodes: Sequence[Episode], size: int) -> None:
    """Raises ConfigError or WorkflowError if credit and advantage do not fit each other, or fit no rehearsed episode.

    An own rule that fails on the made-up scores is not refused: it may need what only its judge gives.
    """
    if algorithm.solo is not None:  # it needs the episodes of a role alone
        return
    failed: list[WorkflowError] = []
    for episode in episodes:
        group = Group(task=episode.task, episodes=tuple(_scored(episode, index) for index in range(size)))
        try:
            algorithm.samples([group])
        except WorkflowError as error:
            failed.append(error)
        except MemberError:
            continue
    if len(failed) == len(episodes):
        raise failed[0]


def _scored(episode: Episode, index: int) -> Episode:
    """The episode with number `index`, and with scores that differ between episodes and between calls."""
    calls = tuple(
        replace(call, score=float((place + index) % 2) if call.claim is not None else None)
        for place, call in enumerate(episode.calls)
    )
    return replace(episode, rollout=index, calls=calls, score=Score(reward=float(index % 2)), error_kind=None)
