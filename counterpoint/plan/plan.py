"""The plan of a recipe: everything that can be checked and counted without weights."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import torch

from counterpoint.algorithms.base import Algorithm
from counterpoint.algorithms.build import build_algorithm, build_batches, build_loss
from counterpoint.analysis.signatures import build_signatures
from counterpoint.base_model import BaseSize, base_size, load_chat
from counterpoint.chat import Chat
from counterpoint.config import Config, ModelConfig, PolicySettings
from counterpoint.diagnostics.build import build_diagnostics
from counterpoint.episode import Episode, Group
from counterpoint.errors import MemberError, ModelError, WorkflowError
from counterpoint.event_loop import run_to_end
from counterpoint.interventions.build import build_interventions
from counterpoint.learn import trainable
from counterpoint.plan.memory import Memory, Turn, memory_of
from counterpoint.play import Limits, Stage, rollout
from counterpoint.runtimes import check_runtime
from counterpoint.samplers.by_policy import ByPolicy
from counterpoint.samplers.scripted import Scripted
from counterpoint.sandboxes import build_sandbox
from counterpoint.stage import Setup, set_up
from counterpoint.task import Score, not_judged
from counterpoint.tasks.base import batch

REHEARSAL_REPLIES = tuple(
    "\n".join([r"\boxed{1}", *(f"Strategy {number}: {number}" for number in range(1, count + 1))])
    for count in (0, 3, 8)
)
"""The scripted replies of a rehearsal: readable as a choice, an answer or a proposal, but not as a verdict."""
REHEARSAL_SECONDS = 10.0
"""The time limit of a rehearsed episode, unless `rollout.timeout` is shorter."""
FILLER = " and so on and on"
"""Text that extends a scripted reply to its largest length."""
_MATRIX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A checked recipe and its estimates."""

    setup: Setup
    sizes: Mapping[str, BaseSize]
    """Policy -> the size of its base; policies of endpoints are absent."""
    rehearsal: Episode
    """The longest of some episodes with scripted replies, from which calls, memory and time are estimated."""

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
    def calls_per_step(self) -> int:
        """At most, if the workflow's number of calls varies."""
        rollouts = self.config.rollout
        return rollouts.tasks_per_step * rollouts.group_size * len(self.rehearsal.calls)

    def adapter_parameters(self, policy: str) -> int:
        """The trainable parameters of a policy: rank * (inputs + outputs), summed over the linear layers of its
        base.
        """
        return self.settings[policy].rank * self.sizes[policy].linear_width

    def memory(self) -> Memory:
        """Peak memory of sampler and learner, if every reply is as long as it may be."""
        own = {policy: self.settings[policy] for policy in self.sizes}
        return memory_of(
            self.config, own, self._turns(), most_tasks=max(self.splits["validation"], self.splits["test"])
        )

    def _turns(self) -> list[Turn]:
        """The calls of the rehearsal; those that quote no reply are asked alike in every episode of a task."""
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
                operations += each * self.sizes[call.policy].parameters * rollouts.tasks_per_step * tokens
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
            "tasks       " + ", ".join(f"{count} {split}" for split, count in self.splits.items()),
            f"per step    {self._arithmetic()}",
            f"the run     {runs.steps} steps; evaluation every {self.config.evaluation.every},"
            f" checkpoint every {runs.save_every}",
            *self._memory_lines(),
            f"time        at least {floor:.2f} s per step if every reply takes {self.config.rollout.max_tokens} tokens"
            f" ({self.operations_per_step() / 1e9:.1f} GFLOP at the {rate / 1e9:.0f} GFLOP/s measured here,"
            f" {runs.threads} threads): a floor, not a forecast",
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
        base = f"{own.model.path}, {size.parameters:,} parameters"
        if not own.trainable:
            return f"{base}, frozen" + (f", with {own.adapter}" if own.adapter else "")
        start = f", from {own.adapter}" if own.adapter else ""
        when = own.update
        turns = "" if when.steps == when.period else f"; trained in {when.steps} of {when.period} steps"
        return f"{base} and {self.adapter_parameters(policy):,} to train{start}; rate {own.learning_rate:g}{turns}"

    def _arithmetic(self) -> str:
        rollouts, algorithm, calls = self.config.rollout, self.config.algorithm, len(self.rehearsal.calls)
        if algorithm.calls_per_update:
            updates = f"one update per {algorithm.calls_per_update} calls of a policy"
        else:
            updates = f"{algorithm.updates} update{'s' if algorithm.updates > 1 else ''} per policy"
        return (
            f"{rollouts.tasks_per_step} tasks x {rollouts.group_size} rollouts x {calls} calls ="
            f" {self.calls_per_step} calls, {updates}"
        )


def plan(config: Config) -> Plan:
    """The plan of a recipe. Raises CounterpointError for whatever would keep it from starting."""
    setup = set_up(config)
    algorithm = build_algorithm(config, setup.workflow.roles, trainable(setup.settings))
    build_loss(config)
    build_batches(config)
    build_diagnostics(config.diagnostics)
    build_interventions(config, setup.workflow.roles)
    build_signatures(config.signatures)
    check_runtime(config)
    build_sandbox(config.sandbox)
    batch(setup.tasks.train, step=1, size=config.rollout.tasks_per_step, seed=config.run.seed)
    episodes = _rehearsed(setup)
    _check_algorithm(algorithm, episodes, config.rollout.group_size)
    return Plan(
        setup=setup,
        sizes={name: base_size(own.model) for name, own in setup.settings.items() if own.endpoint is None},
        rehearsal=max(episodes, key=lambda one: (len(one.calls), sum(call.tokens for call in one.calls))),
    )


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


def _rehearsed(setup: Setup) -> list[Episode]:
    """Episodes in which every role says one of the scripted replies."""
    config = setup.config
    models = {name: own.model if own.endpoint is None else config.model for name, own in setup.settings.items()}
    # What is scripted is all text: where a model is asked to reason, it would be all reasoning.
    loaded = [(model, replace(load_chat(model), thinking="shown")) for model in _distinct(list(models.values()))]
    chats = {name: next(chat for other, chat in loaded if other == model) for name, model in models.items()}
    play = partial(_played, setup, chats)
    episodes = [_told_as_rehearsal(play, reply) for reply in REHEARSAL_REPLIES]
    for reply in REHEARSAL_REPLIES:
        with suppress(WorkflowError):  # of so long replies a prompt may be too long
            episodes.append(play(reply + FILLER * config.rollout.max_tokens))
    return episodes


def _told_as_rehearsal(play: Callable[[str], Episode], reply: str) -> Episode:
    try:
        return play(reply)
    except WorkflowError as error:
        said = f"every role replies {reply!r}"
        raise WorkflowError(f"in a rehearsal without a model, in which {said}: {error}") from None


def _played(setup: Setup, chats: Mapping[str, Chat], reply: str) -> Episode:
    scripted = {name: Scripted(partial(_say, reply=reply), chat) for name, chat in chats.items()}
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


def _say(policy: str, prompt: str, *, reply: str) -> str:
    return reply


def _distinct(models: Sequence[ModelConfig]) -> list[ModelConfig]:
    return [model for place, model in enumerate(models) if model not in models[:place]]


def measured_rate(threads: int) -> float:
    """Floating-point operations a second of this machine's float32 matrix product, the best of five."""
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
