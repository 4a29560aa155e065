"""The plan of a recipe: everything that can be checked and counted without weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from counterpoint.ahead import lines_about_overlap
from counterpoint.algorithms.build import build_algorithm
from counterpoint.chat import Chat
from counterpoint.config import Config, ModelConfig, PolicySettings
from counterpoint.episode import Episode
from counterpoint.errors import ModelError, counted
from counterpoint.learn import trainable
from counterpoint.locate import check_device
from counterpoint.plan.check import checked
from counterpoint.plan.ending import lines_about_the_end
from counterpoint.plan.expected import lines_about_time
from counterpoint.plan.rehearsal import FILLER, Check, Rehearse, check_algorithm, check_proposals, rehearsed
from counterpoint.plan.remembering import Remembering
from counterpoint.policy import settings_of
from counterpoint.runtimes import is_elsewhere, processes
from counterpoint.runtimes.local import longest_call, position_scaling
from counterpoint.stage import Setup
from counterpoint.trackers.build import label_of

if TYPE_CHECKING:
    from counterpoint.base_model import BaseSize
    from counterpoint.plan.memory import Look, Memory, Turn
    from counterpoint.plan.speed import Wave


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

    def memory(self, look: "Look | None" = None) -> "Memory":
        """Peak memory of sampler and learner in one process, if every reply is as long as it may be.

        `look` finds the footprint of a base. Raises ModelError if one cannot be found.
        """
        from counterpoint.plan.memory import look as anew
        from counterpoint.plan.memory import memory_of

        most = max(self.splits["validation"], self.splits["test"])
        return memory_of(self.config, self._own(), self._turns(), most_tasks=most, look=look or anew)

    def memories(self, look: "Look | None" = None) -> "Mapping[str, Memory]":
        """The same for each process that computes, by what it is: one for this process, or one per kind of actor.

        Of a sharded base every rank is given the whole.
        """
        from counterpoint.plan.memory import learner_memory, sampler_memory
        from counterpoint.plan.memory import look as anew

        samplers, learners = processes(self.config)
        if not samplers:
            return {"": self.memory(look)}
        most, turns, own = max(self.splits["validation"], self.splits["test"]), self._turns(), self._own()
        found = {
            f"in each of {counted(samplers, 'sampler')}": sampler_memory(
                self.config, own, turns, most_tasks=most, look=look or anew
            )
        }
        for path in dict.fromkeys(one.model.path for one in own.values()):
            mine = {policy: one for policy, one in own.items() if one.model.path == path}
            found[f"in each of {counted(learners, 'rank')} of {path}"] = learner_memory(
                self.config, mine, turns, look=look or anew
            )
        return found

    def peak(self, look: "Look | None" = None) -> int:
        """Bytes that all processes take together, each at its own peak. Raises ModelError."""
        found, (samplers, learners) = list(self.memories(look).values()), processes(self.config)
        if not samplers:
            return found[0].peak
        return samplers * found[0].peak + learners * sum(memory.peak for memory in found[1:])

    def _own(self) -> dict[str, PolicySettings]:
        """The policies that have a base."""
        return {policy: self.settings[policy] for policy in self.sizes}

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

    def waves(self, look: "Look | None" = None) -> "list[Wave]":
        """The calls of a step that each sampler generates, role by role. Raises ModelError."""
        from counterpoint.plan.memory import look as anew
        from counterpoint.plan.memory import waves

        active = {policy: size.active for policy, size in self.sizes.items()}
        return waves(self.config, self._own(), self._turns(), active=active, look=look or anew)

    def lines(self) -> list[str]:
        """The plan as a person reads it."""
        from counterpoint.plan.memory import look, once

        found = once(look)
        runs, routes = self.config.run, self.setup.routing.policy_of
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
            *lines_about_overlap(self.config),
            *(f"track       {label_of(spec)}" for spec in self.config.track),
            *lines_about_the_end(self.config, self.splits["test"], len(self.rehearsal.calls)),
            *self._memory_lines(found),
            *lines_about_time(self, found),
        ]

    def _positions(self) -> list[str]:
        found = position_scaling(self._own(), longest_call(self.config.rollout))
        return [
            f"{', '.join(name for name in found if found[name] == text)}: {text}"
            for text in dict.fromkeys(found.values())
        ]

    def _memory_lines(self, look: "Look") -> list[str]:
        try:
            memories = self.memories(look)
        except ModelError as error:
            return [f"memory      unknown: {error}"]
        lines = []
        for place, memory in memories.items():
            about = f"about {gigabytes(memory.peak)}{place and ' ' + place}"
            lines += [
                f"memory      {about}, if every reply takes all its tokens, beside Python's own",
                *(f"              {gigabytes(value):>9}  {name}" for name, value in memory.lasting.items()),
                *(f"              {gigabytes(value):>9}  while {name}" for name, value in memory.passing.items()),
            ]
        return lines

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
    for model in models.values() if not is_elsewhere(setup.config) else ():
        check_device(model)
    from counterpoint.base_model import base_size  # after a check that needs but torch

    return planned_with(setup, {name: base_size(model) for name, model in models.items()}, chats_of(setup))


def planned_with(
    setup: Setup,
    sizes: "Mapping[str, BaseSize]",
    chats: Mapping[str, Chat],
    rehearse: Rehearse = rehearsed,
    check: Check = check_algorithm,
) -> Plan:
    """The plan of a recipe whose bases have been looked at: policy -> its size, and -> its chat format.

    Raises as `planned` does. Without the sizes of some policies nothing is known of their memory and time.
    """
    told = next((chat.date for chat in chats.values() if chat.date), "")
    setup = _dated(setup, told)
    episodes = rehearse(setup, chats)
    called = {call.key.role for episode in episodes for call in episode.calls}
    not_called = tuple(role for role in setup.workflow.roles if role not in called)
    check_proposals(setup.config, episodes, not_called)
    algorithm = build_algorithm(setup.config, setup.workflow.roles, trainable(setup.settings))
    check(algorithm, episodes, setup.config.rollout.group_size)
    longest = max(episodes, key=lambda episode: (len(episode.calls), sum(call.tokens for call in episode.calls)))
    return Plan(setup=setup, sizes=sizes, rehearsal=longest, not_called=not_called, told=told)


def chats_of(setup: Setup) -> dict[str, Chat]:
    """Policy -> its chat format, or that of the recipe's model for a policy of an endpoint."""
    config = setup.config
    models = {name: own.model if own.endpoint is None else config.model for name, own in setup.settings.items()}
    loaded = [(model, rehearsal_chat(model)) for model in _distinct(list(models.values()))]
    return {name: next(chat for other, chat in loaded if other == model) for name, model in models.items()}


def rehearsal_chat(model: ModelConfig) -> Chat:
    """The chat format of a model, for scripted replies. Raises ModelError."""
    from counterpoint.base_model import load_chat

    chat = load_chat(model)
    # What is scripted is all text: where a model is asked to reason, it would be all reasoning.
    return replace(chat, tokenizer=Remembering(chat.tokenizer), thinking="shown")


def _dated(setup: Setup, told: str) -> Setup:
    """The setup, whose recipe names the day that a chat template is told, if one tells it."""
    if not told or setup.config.model.date:
        return setup
    config = setup.config
    config = config.model_copy(update={"model": config.model.model_copy(update={"date": told})})
    return replace(setup, config=config, settings=settings_of(setup.routing, config))


def _distinct(models: Sequence[ModelConfig]) -> list[ModelConfig]:
    return [model for place, model in enumerate(models) if model not in models[:place]]


def gigabytes(count: float) -> str:
    """Bytes, in the unit that people buy memory in."""
    return f"{count / 2**30:.2f} GiB"


def _listed(policies: str | tuple[str, ...]) -> str:
    return policies if isinstance(policies, str) else "/".join(policies)
