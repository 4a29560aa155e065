"""The conformance suite of workflows. Run it on your own workflow; an AssertionError names the promise that is broken.

    check_workflow(my_workflow)

No model is needed: replies are scripted, with one token per character. Each check can also be run alone:
`asyncio.run(slots_are_those_declared(Trial(my_workflow)))`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from counterpoint.adapter import Adapter
from counterpoint.episode import Call, CallKey, Episode, Message
from counterpoint.errors import WorkflowError
from counterpoint.event_loop import run_to_end
from counterpoint.play import Limits, Stage, rollout
from counterpoint.policy import Routing
from counterpoint.samplers.base import Completion, Request, Session
from counterpoint.samplers.scripted import Script
from counterpoint.task import WRONG, Problem, Score, Task
from counterpoint.testing.by_hand import a_calculation, a_program
from counterpoint.testing.characters import END, character_chat, spell
from counterpoint.testing.scenes import FURTHER, Say, Scene, further_scenes, short, usual_scenes
from counterpoint.workflows.base import Play, Reply, Role, Workflow, declared, user

KEY = "the key that nobody may see"
SOON, LATER = 0.05, 1.0
"""Seconds of its own time after which an episode with a silent role has timed out, and the same for a second try: on a
busy machine the first may end a workflow where it computes, not where it waits."""
PATIENCE = 10.0
"""Seconds after which an episode that should have timed out is abandoned."""
EPISODE_SECONDS = 10.0
"""The time limit of an episode."""
CALLS_A_SLOT = 100
"""An episode with more calls per declared slot is assumed never to end."""
_CHAT = character_chat()
_BYSTANDER = "bystander"


class Performance(NamedTuple):
    """The episode that a scene led to."""

    scene: Scene
    episode: Episode
    asked: Sequence[tuple[str, Sequence[Message]]]
    """Every role that was called, with the conversation that it was asked to reply to."""
    left_running: int
    """The number of asyncio tasks started by the workflow that were not done when it ended."""

    @property
    def called(self) -> set[str]:
        """Every role that was called."""
        return {role for role, _ in self.asked}


class Trial:
    """A workflow and its scenes, each of which is played once, by itself."""

    def __init__(
        self, workflow: Workflow | Play, script: Script | None = None, *, problem: Problem | None = None
    ) -> None:
        self.workflow = declared(workflow)
        problems = [problem] if problem is not None else [a_calculation(), a_program()]
        self.scenes = [scene for one in problems for scene in usual_scenes(one, script)]
        self.tried = 0
        """The scenes played so far, those that led nowhere included."""
        self._further = [scene for one in problems for scene in further_scenes(one, script)]
        self._performances: list[Performance] = []

    async def performances(self) -> list[Performance]:
        """Every scene, played once per trial, however often this is called; none after one that ran out of time.

        As long as a role has not been called, further scenes are tried; one that leads to such a role is a scene too.
        """
        if not self._performances:
            for scene in self.scenes:
                self._performances.append(await self._performed(scene))
                if self._performances[-1].episode.error_kind == "timeout":
                    return self._performances
            for scene in self._further:
                silent = self.silent()
                if not silent:
                    break
                one = await self._performed(scene)
                if one.called.intersection(silent):
                    self._performances.append(one)
        return self._performances

    def silent(self) -> list[str]:
        """The roles that no scene has led to."""
        called = {role for one in self._performances for role in one.called}
        return [role for role in self.workflow.roles if role not in called]

    async def _performed(self, scene: Scene) -> Performance:
        self.tried += 1
        watch = _Watch()
        episode = await _play(self.workflow, scene, watch)
        return Performance(scene, episode, watch.asked, watch.left_running)


def check_workflow(workflow: Workflow | Play, script: Script | None = None, *, problem: Problem | None = None) -> None:
    """Check every promise of a workflow with the options that it has. Raises AssertionError if one is broken.

    Roles give the replies that the workflows of this package expect, then replies that no workflow expects, then a
    mixture of both. A role may be called under a condition: further replies and a long problem are tried for those that
    have not been called. If none of these lead `workflow` through all its roles, give a `script(role, prompt) -> reply`
    that does: it is played too, unchanged and with other replies at some of the calls. The problem is `problem`; by
    default a calculation and then a program to write.
    """

    async def suite() -> None:
        trial = Trial(workflow, script, problem=problem)
        for check in CHECKS:
            await check(trial)

    run_to_end(suite())


async def conversations_end_with_the_user(trial: Trial) -> None:
    """Every conversation that a role is asked to reply to ends with a user's message. Roles need not alternate."""
    for one in await trial.performances():
        for role, messages in one.asked:
            last = messages[-1]["role"] if messages else "nobody"
            assert last == "user", (
                f"{_where(one)}: role {role!r} is asked to reply to a message of {last!r}, not of a user"
            )


async def a_reply_makes_one_claim(trial: Trial) -> None:
    """At most one claim is made about a reply."""
    for one in await trial.performances():
        error = one.episode.error or ""
        assert "a reply makes one claim" not in error, f"{_where(one)}: a second claim about one reply: {error}"


async def no_reply_does_harm(trial: Trial) -> None:
    """For all replies, the workflow ends with an answer that is text or None, and raises nothing."""
    for one in await trial.performances():
        assert one.episode.error is None, f"{_where(one)}: the workflow failed: {_error(one.episode)}"
        answer = one.episode.answer
        assert answer is None or isinstance(answer, str), f"{_where(one)}: the answer is a {type(answer).__name__}"


async def every_role_is_called(trial: Trial) -> None:
    """Each declared role is called in at least one scene; a role need not be called in every episode."""
    await trial.performances()
    silent = trial.silent()
    assert not silent, (
        f"role {silent[0]!r} was not called in any of {trial.tried} scripted episodes: all roles said the same,"
        " each had a reply of its own, and replies were mixed, on a short and on a long problem. The replies were"
        f" {', '.join(map(short, FURTHER))}, and hostile ones. If other replies or another problem lead to this role,"
        " hand them in: check_workflow(workflow, script=lambda role, prompt: ..., problem=...). If nothing can, take"
        " the role out of the signature"
    )


async def slots_are_those_declared(trial: Trial) -> None:
    """No more calls of a role run in parallel than its cast declares; sharing by slots depends on it."""
    slots = trial.workflow.slots
    for one in await trial.performances():
        for call in one.episode.calls:
            role, slot, turn = call.key
            assert slot < slots[role], (
                f"{_where(one)}: role {role!r} was called in slot {slot} of turn {turn}, but its cast declares"
                f" {slots[role]} slot{'s' if slots[role] > 1 else ''}"
            )


async def the_key_stays_hidden(trial: Trial) -> None:
    """No prompt contains the task's key."""
    for one in await trial.performances():
        for role, messages in one.asked:
            shown = any(KEY in message["content"] for message in messages)
            assert not shown, f"{_where(one)}: a prompt of role {role!r} contains the task's key"


async def claiming_roles_always_claim(trial: Trial) -> None:
    """A role with a claim about one reply has a claim about each; one that cannot be read is claimed as unreadable."""
    performances = await trial.performances()
    claiming = {call.key.role for one in performances for call in one.episode.calls if call.claim is not None}
    for one in performances:
        silent = [call for call in one.episode.calls if call.claim is None and call.key.role in claiming]
        assert not silent or one.episode.error, (
            f"{_where(one)}: there is no claim about the reply of {_said(silent[0])}, though there is one about other"
            " replies of this role: call reply.unreadable(...)"
        )


async def equal_arguments_give_equal_episodes(trial: Trial) -> None:
    """Equal replies give equal episodes, in whatever order parallel calls are answered."""
    for one in await trial.performances():
        for in_turn, when in (
            (True, "played again"),
            (False, "with parallel calls answered in another order"),
        ):
            again = await _play(trial.workflow, one.scene, _Watch(), in_turn=in_turn)
            difference = _difference(one.episode, again)
            assert difference is None, f"{_where(one)}: {when}, the episode differs: {difference}"


async def episodes_do_not_mix(trial: Trial) -> None:
    """An episode is the same whether it is played alone or beside others."""
    alone = await trial.performances()
    together = await asyncio.gather(*(_play(trial.workflow, one.scene, _Watch()) for one in alone))
    for one, beside in zip(alone, together, strict=True):
        difference = _difference(one.episode, beside)
        assert difference is None, f"{_where(one)}: played beside others, the episode differs: {difference}"


async def nothing_is_left_running(trial: Trial) -> None:
    """No asyncio task that an episode started outlives it."""
    for one in await trial.performances():
        assert not one.left_running, (
            f"{_where(one)}: {one.left_running} asyncio tasks still run after the episode: await all of them"
        )


async def a_silent_role_is_a_timeout(trial: Trial) -> None:
    """If a role never replies, the episode is recorded as timed out, and none of its tasks is left running."""
    workflow, performances = trial.workflow, await trial.performances()
    for role in workflow.roles:
        for scene in [one.scene for one in performances if role in one.called][:1]:
            if await _fault(workflow, scene, role, SOON) and (fault := await _fault(workflow, scene, role, LATER)):
                raise AssertionError(f"if {role!r} never replies, {fault}")


async def _fault(workflow: Workflow, scene: Scene, role: str, seconds: float) -> str:
    """The fault of an episode that should time out, in words; empty if it has none."""
    watch, before = _Watch(silent=role), asyncio.all_tasks()
    performance = asyncio.ensure_future(_play(workflow, scene, watch, seconds=seconds))
    await asyncio.wait({performance}, timeout=seconds + PATIENCE)
    for task in asyncio.all_tasks() - before - {performance}:
        task.cancel()
    watch.released.set()
    assert performance.done(), f"if {role!r} never replies, the episode does not end: let CancelledError pass"
    if error := performance.exception():
        return f"not even an episode that ends at once is played: {error}"
    if (episode := performance.result()).error_kind != "timeout":
        return f"the episode is not recorded as timed out ({episode.error}): let CancelledError pass"
    return f"{watch.left_running} asyncio tasks still run after the episode" if watch.left_running else ""


Check = Callable[[Trial], Awaitable[None]]
CHECKS: tuple[Check, ...] = (
    conversations_end_with_the_user,
    a_reply_makes_one_claim,
    no_reply_does_harm,
    every_role_is_called,
    slots_are_those_declared,
    the_key_stays_hidden,
    claiming_roles_always_claim,
    equal_arguments_give_equal_episodes,
    episodes_do_not_mix,
    nothing_is_left_running,
    a_silent_role_is_a_timeout,
)


@dataclass(slots=True)
class _Watch:
    """The observations of an episode, and the role that does not reply in it until it is released."""

    silent: str | None = None
    released: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[str, list[Message]]] = field(default_factory=list)
    left_running: int = 0


@dataclass(frozen=True, slots=True)
class _Watched:
    """A role whose calls are recorded."""

    role: Role
    watch: _Watch

    @property
    def name(self) -> str:
        return self.role.name

    async def __call__(
        self, messages: str | Sequence[Message], *, slot: int | None = None, turn: int | None = None
    ) -> Reply:
        self.watch.asked.append((self.name, [user(messages)] if isinstance(messages, str) else list(messages)))
        if self.name == self.watch.silent:
            await self.watch.released.wait()
            raise WorkflowError(f"{self.name} did not reply for too long")
        return await self.role(messages, slot=slot, turn=turn)


def _watched(workflow: Workflow, watch: _Watch) -> Workflow:
    """The workflow with the calls of its roles recorded; it ends at once on the bystander's problem."""

    async def play(problem: Problem, **given: Any) -> str | None:
        if problem.id == _BYSTANDER:
            return None
        roles = {name: _each(given[name], watch) for name in workflow.parameters}
        before = asyncio.all_tasks()
        try:
            return await workflow.play(problem, **{**given, **roles})
        finally:
            watch.left_running = len(asyncio.all_tasks() - before)

    return replace(workflow, play=play)


def _each(roles: Any, watch: _Watch) -> Any:
    if roles is None:
        return None
    return [_Watched(role, watch) for role in roles] if isinstance(roles, list) else _Watched(roles, watch)


@dataclass(slots=True)
class _Replies:
    """A sampler that gives the replies of one scene, a character per token; log-probabilities are 0."""

    say: Say
    in_turn: bool
    """Answer in the order of the calls; otherwise answer some later calls before earlier ones."""

    @contextmanager
    def session(self) -> Iterator[Session]:
        yield self

    async def sample(self, request: Request) -> Completion:
        for _ in range(1 if self.in_turn else 1 + request.seed % 7):
            await asyncio.sleep(0)
        ids = (*spell(self.say(request)), END)
        return Completion(ids=ids, logprobs=(0.0,) * len(ids), finish="stop", version=0)

    async def load(self, adapters: Sequence[Adapter]) -> None:
        """Do nothing: replies are scripted."""

    def digests(self) -> dict[str, str]:
        return {}


async def _play(
    workflow: Workflow, scene: Scene, watch: _Watch, *, in_turn: bool = True, seconds: float | None = None
) -> Episode:
    """Play a scene beside an episode that ends at once, since a rollout in which all episodes fail raises."""
    seconds = EPISODE_SECONDS if seconds is None else seconds
    stage = Stage(
        workflow=_watched(workflow, watch),
        routing=Routing({role: role for role in workflow.roles}),
        sampler=_Replies(scene.say, in_turn),
        chats=dict.fromkeys(workflow.roles, _CHAT),
    )
    limits = Limits(
        temperature=1.0,
        max_tokens=10**6,
        max_prompt_tokens=10**9,
        timeout=seconds,
        judge_timeout=seconds,
        max_calls=CALLS_A_SLOT * sum(workflow.slots.values()),
        timeout_name="the limit of check_workflow",
        max_calls_name="the limit of check_workflow",
    )
    problems = (scene.problem, replace(scene.problem, id=_BYSTANDER))
    tasks = [Task(problem=problem, key=KEY, judge=_wrong) for problem in problems]
    groups = await rollout(stage, tasks, limits, size=1, seed="conformance")
    return groups[0].episodes[0]


async def _wrong(answer: str, key: str) -> Score:
    return WRONG


def _difference(one: Episode, other: Episode) -> str | None:
    """The first difference, apart from the order in which calls were started; None if there is none."""
    if (one.answer, one.error) != (other.answer, other.error):
        return (
            f"its answer is {other.answer!r} instead of {one.answer!r}, its error {other.error} instead of {one.error}"
        )
    mine, theirs = _by_key(one.calls), _by_key(other.calls)
    for key in sorted({*mine, *theirs}):
        if mine.get(key) != theirs.get(key):
            what = "was called in one of them only" if not (key in mine and key in theirs) else "differs"
            return f"{key.role}, slot {key.slot}, turn {key.turn} {what}"
    return None


def _by_key(calls: Iterable[Call]) -> dict[CallKey, Call]:
    return {call.key: call for call in calls}


def _where(one: Performance) -> str:
    said = "; ".join(_said(call) for call in one.episode.calls[:6])
    return f"on {one.scene.problem.text!r}, {one.scene.name}" + (f" ({said})" if said else "")


def _said(call: Call) -> str:
    return f"{call.key.role}: {short(call.text)}"


def _error(episode: Episode) -> str:
    return f"{episode.error}\n{episode.traceback}".rstrip()
