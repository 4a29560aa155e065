"""The plan of a recipe: everything that can be checked and counted without weights."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from time import perf_counter
from typing import TYPE_CHECKING

from counterpoint.algorithms.base import Algorithm
from counterpoint.algorithms.build import build_algorithm
from counterpoint.chat import Chat
from counterpoint.config import Config, ModelConfig, PolicySettings
from counterpoint.episode import Episode, Group, Proposal, Unreadable
from counterpoint.errors import ConfigError, MemberError, ModelError, WorkflowError, counted
from counterpoint.event_loop import run_to_end
from counterpoint.learn import trainable
from counterpoint.locate import check_device
from counterpoint.plan.check import checked
from counterpoint.plan.ending import lines_about_the_end
from counterpoint.play import Limits, Stage, rollout
from counterpoint.policy import settings_of
from counterpoint.runtimes.local import longest_call, position_scaling
from counterpoint.samplers.by_policy import ByPolicy
from counterpoint.samplers.scripted import Scripted
from counterpoint.stage import Setup
from counterpoint.task import Score, not_judged
from counterpoint.tasks._readings import readable

if TYPE_CHECKING:
    from counterpoint.base_model import BaseSize
    from counterpoint.plan.memory import Memory, Turn

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
_MATRIX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A checked recipe and its estimates."""

    setup: Setup
    sizes: "Mapping[str, BaseSize]"
    """Policy -> the size of its base; policies of endpoints are absent."""
    rehearsal: Episode
    """The longest of some episodes with scripted replies, from which calls, memory and time are estimated."""
    not_called: tuple[str, ...] = ()
    """The roles that none of these episodes called; others may."""
    told: str = ""
    """The date that a chat template tells; empty if none does."""

    @property
    def config(self) -> Config:
        return self.setup.config

    @property
    def settings(self) -> Mapping[str, PolicySettings]:
        return self.setup.settings

    @property
    def roles(self) -> tuple[str, ...]:
        return self.setup.workflow.roles

    @property
    def splits(self) -> dict[str, int]:
        """The number of tasks in each split."""
        return {split: len(members) for split, members in self.setup.tasks.named().items()}

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons why a run of this recipe may say little."""
        return self.setup.tasks.warnings()

    @property
    def adapters(self) -> tuple[str, ...]:
        """For every base with adapters, the layers that get them, and the parts that do not."""
        bases = {self.settings[name].model.path: size for name, size in self.sizes.items() if self._has_adapter(name)}
        return tuple(
            f"{path}: {size.adapted}" + (f"; not on {size.not_adapted}" if size.not_adapted else "")
            for path, size in bases.items()
        )

    @property
    def partly_adapted(self) -> dict[str, dict[str, str]]:
        """The same, as "on" and "not_on", for every policy whose base has parts that get no adapters.

        "loader" is the class of transformers that loads the base.
        """
        return {
            name: {"on": size.adapted, "not_on": size.not_adapted, "loader": size.loader}
            for name, size in self.sizes.items()
            if size.not_adapted and self._has_adapter(name)
        }

    def _has_adapter(self, policy: str) -> bool:
        return self.settings[policy].trainable or bool(self.settings[policy].adapter)

    @property
    def calls_per_step(self) -> int:
        """At most, if the workflow's number of calls varies."""
        rollouts = self.config.rollout
        return rollouts.tasks_per_step * rollouts.group_size * len(self.rehearsal.calls)

    def adapter_parameters(self, policy: str) -> int:
        """The trainable parameters of a policy: rank * (inputs + outputs), summed over its adapted layers."""
        return self.settings[policy].rank * self.sizes[policy].linear_width

    def memory(self) -> "Memory":
        """Peak memory of sampler and learner, if every reply is as long as it may be."""
        from counterpoint.plan.memory import memory_of

        own = {policy: self.settings[policy] for policy in self.sizes}
        return memory_of(
            self.config, own, self._turns(), most_tasks=max(self.splits["validation"], self.splits["test"])
        )

    def _turns(self) -> "list[Turn]":
        """The calls of the rehearsal; those that quote no reply are asked alike in every episode of a task."""
        from counterpoint.plan.memory import Turn

        calls = self.rehearsal.calls
        return [Turn(call, not any(FILLER in message["content"] for message in call.messages)) for call in calls]

    def operations_per_step(self) -> float:
        """A lower bound of the floating-point operations per step: two per weight and token forward, four more
        backward.

        Every reply is assumed to have `max_tokens` tokens. A prompt that all episodes of a task share is counted once,
        as is a prompt of parallel calls. Replies of a frozen policy are not learned from; those of an endpoint cost
        nothing.
        """
        rollouts, operations, seen = self.config.rollout, 0.0, set[tuple[int, ...]]()
        for call, shared in self._turns():
            if call.policy in self.sizes:
                prompts = 0 if call.prompt_ids in seen else 1 if shared else rollouts.group_size
                seen.add(call.prompt_ids)
                tokens = len(call.prompt_ids) * prompts + rollouts.group_size * rollouts.max_tokens
                each = 8 if self.settings[call.policy].trainable else 2
                operations += each * self.sizes[call.policy].active * rollouts.tasks_per_step * tokens
        return operations

    def lines(self) -> list[str]:
        """The plan as a person reads it."""
        runs, routes = self.config.run, self.setup.routing.policy_of
        rate = measured_rate(runs.threads)
        floor = self.operations_per_step() / rate
        return [
            f"cell        {self.config.cell}",
            f"roles       {', '.join(self.roles)}",
            "routing     " + ", ".join(f"{role} -> {_listed(found)}" for role, found in routes.items()),
            *(f"policy      {name}: {self._describe(name)}" for name in self.settings),
            *(f"positions   {line}" for line in self._positions()),
            *(f"adapters    {line}" for line in self.adapters),
            "tasks       " + ", ".join(f"{count} {split}" for split, count in self.splits.items()),
            *(f"warning     {line}" for line in self.warnings),
            *(f"date        {day}, which the chat template tells" for day in [self.told] if day),
            f"per step    {self._arithmetic()}",
            *(
                f"            without {role}, which the scripted replies of the plan did not lead to"
                for role in self.not_called
            ),
            f"the run     {counted(runs.steps, 'step')}; evaluation every {self.config.evaluation.every},"
            f" checkpoint every {runs.save_every}",
            *lines_about_the_end(self.config, self.splits["test"], len(self.rehearsal.calls)),
            *self._memory_lines(),
            f"time        at least {floor:.2f} s per step if every reply takes"
            f" {counted(self.config.rollout.max_tokens, 'token')}"
            f" ({self.operations_per_step() / 1e9:.1f} GFLOP at the {rate / 1e9:.0f} GFLOP/s measured here,"
            f" {counted(runs.threads, 'thread')}): a floor, not a forecast",
        ]

    def _positions(self) -> list[str]:
        own = {policy: self.settings[policy] for policy in self.sizes}
        found = position_scaling(own, longest_call(self.config.rollout))
        return [
            f"{', '.join(name for name in found if found[name] == text)}: {text}"
            for text in dict.fromkeys(found.values())
        ]

    def _memory_lines(self) -> list[str]:
        try:
            memory = self.memory()
        except ModelError as error:
            return [f"memory      unknown: {error}"]
        return [
            f"memory      about {gigabytes(memory.peak)}, if every reply takes all its tokens, beside Python's own",
            *(f"              {gigabytes(value):>9}  {name}" for name, value in memory.lasting.items()),
            *(f"              {gigabytes(value):>9}  while {name}" for name, value in memory.passing.items()),
        ]

    def _describe(self, policy: str) -> str:
        own = self.settings[policy]
        if own.endpoint is not None:
            return f"{own.endpoint.model} at {own.endpoint.url}, never trained"
        size = self.sizes[policy]
        active = "" if size.active == size.parameters else f" ({size.active:,} per token)"
        base = f"{own.model.path}, {size.parameters:,} parameters{active}"
        if not own.trainable:
            return f"{base}, frozen" + (f", with {own.adapter}" if own.adapter else "")
        start = f", from {own.adapter}" if own.adapter else ""
        when = own.update
        turns = "" if when.steps == when.period else f"; trained in {when.steps} of {counted(when.period, 'step')}"
        return f"{base} and {self.adapter_parameters(policy):,} to train{start}; rate {own.learning_rate:g}{turns}"

    def _arithmetic(self) -> str:
        rollouts, algorithm, calls = self.config.rollout, self.config.algorithm, len(self.rehearsal.calls)
        if algorithm.calls_per_update:
            updates = f"one update per {counted(algorithm.calls_per_update, 'call')} of a policy"
        else:
            updates = f"{counted(algorithm.updates, 'update')} per policy"
        return (
            f"{counted(rollouts.tasks_per_step, 'task')} x {counted(rollouts.group_size, 'rollout')} x"
            f" {counted(calls, 'call')} = {counted(self.calls_per_step, 'call')}, {updates}"
        )


def plan(config: Config) -> Plan:
    """The plan of a recipe. Raises CounterpointError for whatever would keep it from starting."""
    return planned(checked(config))


def planned(setup: Setup) -> Plan:
    """The plan of a recipe that `checked` has found right. Raises ModelError, and WorkflowError of the rehearsal.

    ConfigError if an advantage needs a claim that no role makes.
    """
    models = {name: own.model for name, own in setup.settings.items() if own.endpoint is None}
    for model in models.values():
        check_device(model)
    from counterpoint.base_model import base_size  # after a check that needs but torch

    sizes = {name: base_size(model) for name, model in models.items()}
    chats = _chats(setup)
    told = next((chat.date for chat in chats.values() if chat.date), "")
    setup = _dated(setup, told)
    episodes = _rehearsed(setup, chats)
    called = {call.key.role for episode in episodes for call in episode.calls}
    not_called = tuple(role for role in setup.workflow.roles if role not in called)
    _check_proposals(setup.config, episodes, not_called)
    algorithm = build_algorithm(setup.config, setup.workflow.roles, trainable(setup.settings))
    _check_algorithm(algorithm, episodes, setup.config.rollout.group_size)
    longest = max(episodes, key=lambda episode: (len(episode.calls), sum(call.tokens for call in episode.calls)))
    return Plan(setup=setup, sizes=sizes, rehearsal=longest, not_called=not_called, told=told)


def _check_proposals(config: Config, episodes: Sequence[Episode], not_called: Sequence[str]) -> None:
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


def _check_algorithm(algorithm: Algorithm, episodes: Sequence[Episode], size: int) -> None:
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


def _chats(setup: Setup) -> dict[str, Chat]:
    """Policy -> its chat format, or that of the recipe's model for a policy of an endpoint."""
    from counterpoint.base_model import load_chat

    config = setup.config
    models = {name: own.model if own.endpoint is None else config.model for name, own in setup.settings.items()}
    # What is scripted is all text: where a model is asked to reason, it would be all reasoning.
    loaded = [(model, replace(load_chat(model), thinking="shown")) for model in _distinct(list(models.values()))]
    return {name: next(chat for other, chat in loaded if other == model) for name, model in models.items()}


def _dated(setup: Setup, told: str) -> Setup:
    """The setup, whose recipe names the day that a chat template is told, if one tells it."""
    if not told or setup.config.model.date:
        return setup
    config = setup.config
    config = config.model_copy(update={"model": config.model.model_copy(update={"date": told})})
    return replace(setup, config=config, settings=settings_of(setup.routing, config))


def _rehearsed(setup: Setup, chats: Mapping[str, Chat]) -> list[Episode]:
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


def _distinct(models: Sequence[ModelConfig]) -> list[ModelConfig]:
    return [model for place, model in enumerate(models) if model not in models[:place]]


def measured_rate(threads: int) -> float:
    """Floating-point operations a second of this machine's float32 matrix product, the best of five."""
    import torch

    torch.set_num_threads(threads)
    one = torch.rand(_MATRIX, _MATRIX)
    times = []
    for _ in range(5):
        began = perf_counter()
        torch.mm(one, one)
        times.append(perf_counter() - began)
    return float(2 * _MATRIX**3 / min(times))


def gigabytes(count: float) -> str:
    """Bytes, in the unit that people buy memory in."""
    return f"{count / 2**30:.2f} GiB"


def _listed(policies: str | tuple[str, ...]) -> str:
    return policies if isinstance(policies, str) else "/".join(policies)
