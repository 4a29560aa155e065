"""The memory of a training step: the sum of what sampler and learner say that they need, counted without weights."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from counterpoint.config import Config, ModelConfig, PolicySettings
from counterpoint.episode import Call
from counterpoint.family import is_own
from counterpoint.learners.footprint import Footprint, footprint, learning
from counterpoint.samplers._room import Room
from counterpoint.samplers.footprint import VLLM, cache_bytes, copies, generation, room, slots_bytes

_ENOUGH = 3
"""Micro-batches among which the largest is looked for."""


class Turn(NamedTuple):
    """A call of an episode, as long as it may become."""

    call: Call
    shared: bool
    """True if every episode of a task makes the call with the same prompt."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, by what takes them."""

    lasting: Mapping[str, int]
    """All the time."""
    passing: Mapping[str, int]
    """One after the other, so that the largest counts."""

    @property
    def peak(self) -> int:
        return sum(self.lasting.values()) + max(self.passing.values(), default=0)


Look = Callable[[ModelConfig, int, bool], Footprint]
"""Model, rank, and whether activations are computed again -> the footprint."""


def look(model: ModelConfig, rank: int, checkpointing: bool) -> Footprint:
    """The footprint of a base with an adapter. Raises ModelError."""
    return footprint(model, rank, checkpointing=checkpointing)


def memory_of(
    config: Config,
    settings: Mapping[str, PolicySettings],
    turns: Sequence[Turn],
    *,
    most_tasks: int,
    look: Look = look,
) -> Memory:
    """The memory of sampler and learner, beside that of Python and its libraries.

    `settings` are of the policies that have a base here; `turns` are those of an episode; at most `most_tasks` are
    evaluated at once. `look` finds the footprint of a base. The user's own sampler is not counted. Raises ModelError if
    a base cannot be found or packed.
    """
    again = config.learner.gradient_checkpointing
    of = {policy: look(own.model, own.rank, again) for policy, own in settings.items()}
    sizes = {own.model.model_dump_json(): (own.model, of[policy].weights) for policy, own in settings.items()}
    policies = Counter(own.model.model_dump_json() for own in settings.values())
    bases = sum(size for _, size in sizes.values())
    # In half precision sampler and learner share the weights.
    merged = sum(copies(policies[name], size) for name, (model, size) in sizes.items() if model.dtype == "float32")
    roles: dict[tuple[str, str], list[Turn]] = {}
    for turn in turns:
        if turn.call.policy in settings:
            roles.setdefault((turn.call.policy, turn.call.key.role), []).append(turn)
    learned = {pair: said for pair, said in roles.items() if settings[pair[0]].trainable}
    adapters = [of[policy].adapter for policy in settings]
    # Those of an update, and with several updates in a step their total.
    held = 2 if config.algorithm.updates > 1 or config.algorithm.calls_per_update else 1
    passing = {
        "learning: what a micro-batch keeps": max(
            (
                learning(of[policy], _calls(said, config), config.learner.max_tokens_per_micro_batch)
                for (policy, _), said in learned.items()
            ),
            default=0,
        ),
    }
    if config.sampler.name == VLLM:
        weights = {"bases, for the learner": bases, **_in_engines(config, settings, of, bases=sizes.values())}
    elif is_own(config.sampler.name):
        weights = {"bases, for the learner; your own sampler is not counted": bases}
    else:
        weights = {"bases, for learner and sampler": bases + merged}
        passing = {**_while_sampling(config, settings, of, roles, most_tasks), **passing}
    return Memory(
        lasting={
            **weights,
            "adapters and their moments; the sampler's": 4 * sum(adapters),
            "gradients of the roles": held * sum(of[policy].adapter for policy, _ in learned)
            + 2 * max(adapters, default=0),
        },
        passing=passing,
    )


def _in_engines(
    config: Config,
    settings: Mapping[str, PolicySettings],
    of: Mapping[str, Footprint],
    *,
    bases: Iterable[tuple[ModelConfig, int]],
) -> dict[str, int]:
    """Bytes in the processes of vLLM, and on tmpfs."""
    sizes = [size for _, size in bases]
    slots = sum(slots_bytes(of[policy].adapter, own.rank, own.model.dtype) for policy, own in settings.items())
    return {
        "bases, for vLLM": sum(sizes),
        "keys and values of vLLM (sampler.cache_gb)": len(sizes) * cache_bytes(config.sampler.options),
        "adapters in vLLM's slots and on tmpfs": slots,
    }


def _while_sampling(
    config: Config,
    settings: Mapping[str, PolicySettings],
    of: Mapping[str, Footprint],
    roles: Mapping[tuple[str, str], Sequence[Turn]],
    most_tasks: int,
) -> dict[str, int]:
    """Bytes that the in-process sampler takes beside the weights."""
    rooms = {policy: _room(config, own.model, of[policy]) for policy, own in settings.items()}
    sampling = [_sampling(of[policy], said, config, most_tasks, rooms[policy]) for (policy, _), said in roles.items()]
    limits = " or ".join(dict.fromkeys(map(str, rooms.values())))
    return {f"sampling: caches and logits{limits and f' of {limits}'}": max(sampling, default=0)}


def _room(config: Config, model: ModelConfig, size: Footprint) -> Room:
    return room(config.sampler.options, model.device, cached=size.cached, logit=size.logit)


def _sampling(size: Footprint, turns: Sequence[Turn], config: Config, most_tasks: int, limits: Room) -> int:
    """Bytes of the calls of a role that are generated at once."""
    longest = max(turns, key=lambda turn: len(turn.call.prompt_ids))
    beside, rollouts = len({turn.call.key.slot for turn in turns}), config.rollout
    samples = max(config.evaluation.samples, config.evaluation.final_samples)
    episodes = max(rollouts.tasks_per_step * rollouts.group_size, most_tasks * samples)
    return generation(
        prompt=len(longest.call.prompt_ids),
        said=rollouts.max_tokens,
        calls=episodes * beside,
        sharing=rollouts.group_size * beside if longest.shared else 1,
        cached=size.cached,
        logit=size.logit,
        in_hand=size.in_hand,
        room=limits,
    )


def _calls(turns: Sequence[Turn], config: Config) -> list[Call]:
    """Calls of a role in a step, enough for some micro-batches: all as long as may be, those alike that will be."""
    rollouts, enough = config.rollout, _ENOUGH * config.learner.max_tokens_per_micro_batch
    calls: list[Call] = []
    for task, episode in product(range(rollouts.tasks_per_step), range(rollouts.group_size)):
        for turn in turns:
            first = task if turn.shared else (task * rollouts.group_size + episode)
            prompt, said = (first, *turn.call.prompt_ids[1:]), (len(calls),) * rollouts.max_tokens
            calls.append(replace(turn.call, prompt_ids=prompt, completion_ids=said, logprobs=()))
        if sum(len(call.completion_ids) for call in calls) > enough:
            break
    return calls
