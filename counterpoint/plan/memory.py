"""The memory of a training step: the sum of what sampler and learner say that they need, counted without weights."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from counterpoint.config import Config, ModelConfig, PolicySettings
from counterpoint.episode import Call
from counterpoint.family import is_own
from counterpoint.learners.footprint import Footprint, footprint, learning
from counterpoint.plan.speed import Wave
from counterpoint.runtimes import processes
from counterpoint.samplers._room import Room
from counterpoint.samplers.footprint import (
    VLLM,
    at_once,
    cache_bytes,
    copies,
    engine_room,
    generation,
    room,
    slots_bytes,
)

_BASES = "bases"
_GRADIENTS = "gradients of the roles"
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


def once(look: Look) -> Look:
    """The same, which looks at each base once."""
    found: dict[tuple[str, int, bool], Footprint] = {}

    def remembered(model: ModelConfig, rank: int, checkpointing: bool) -> Footprint:
        key = model.model_dump_json(), rank, checkpointing
        if key not in found:
            found[key] = look(model, rank, checkpointing)
        return found[key]

    return remembered


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
    of = _footprints(config, settings, look)
    sampler, learner = _sampler(config, settings, turns, most_tasks, of), _learner(config, settings, turns, of)
    if config.sampler.name == VLLM:
        lasting = {f"{name}, for vLLM" if name == _BASES else name: size for name, size in sampler.lasting.items()}
        bases = {f"{name}, for the learner" if name == _BASES else name: size for name, size in learner.lasting.items()}
        return Memory({**bases, **lasting}, learner.passing)
    own = is_own(config.sampler.name)
    # In half precision sampler and learner share the weights.
    copied = 0 if own else sum(_copied(settings, of).values())
    return Memory(
        lasting={
            "bases, for the learner; your own sampler is not counted" if own else "bases, for learner and sampler": (
                learner.lasting[_BASES] + copied
            ),
            "adapters and their moments; the sampler's": 4 * sum(of[policy].adapter for policy in settings),
            _GRADIENTS: learner.lasting[_GRADIENTS],
        },
        passing={**sampler.passing, **learner.passing},
    )


def sampler_memory(
    config: Config,
    settings: Mapping[str, PolicySettings],
    turns: Sequence[Turn],
    *,
    most_tasks: int,
    look: Look = look,
) -> Memory:
    """The memory of a sampler in a process of its own, none if the user wrote it. Otherwise as `memory_of`."""
    return _sampler(config, settings, turns, most_tasks, _footprints(config, settings, look))


def learner_memory(
    config: Config, settings: Mapping[str, PolicySettings], turns: Sequence[Turn], *, look: Look = look
) -> Memory:
    """The memory of a learner in a process of its own, with all bases of `settings`. Otherwise as `memory_of`."""
    return _learner(config, settings, turns, _footprints(config, settings, look))


def waves(
    config: Config,
    settings: Mapping[str, PolicySettings],
    turns: Sequence[Turn],
    *,
    active: Mapping[str, int],
    look: Look = look,
) -> list[Wave]:
    """The calls of a step that each sampler generates, role by role, if replies are as long as may be.

    `active` maps a policy to the parameters that a token passes through. Otherwise as `memory_of`.
    """
    of, found = _footprints(config, settings, look), []
    samplers, rollouts = max(1, processes(config)[0]), config.rollout
    tasks = -(-rollouts.tasks_per_step // samplers)
    for (policy, _), said in _by_role(settings, turns).items():
        size, longest = of[policy], max(said, key=lambda turn: len(turn.call.prompt_ids))
        slots, episodes = len({turn.call.key.slot for turn in said}), tasks * rollouts.group_size
        prompts = {(turn.call.prompt_ids, turn.shared) for turn in said}
        found.append(
            Wave(
                calls=episodes * len(said),
                rows=at_once(
                    prompt=len(longest.call.prompt_ids),
                    said=rollouts.max_tokens,
                    calls=episodes * slots,
                    sharing=rollouts.group_size * slots if longest.shared else 1,
                    room=_room(config, settings[policy].model, size),
                ),
                prompt=len(longest.call.prompt_ids),
                read=sum(len(ids) * (tasks if shared else episodes) for ids, shared in prompts),
                said=rollouts.max_tokens,
                active=active[policy],
                weights=size.weights,
                cached=size.cached,
            )
        )
    return found


def _footprints(config: Config, settings: Mapping[str, PolicySettings], look: Look) -> dict[str, Footprint]:
    again = config.learner.gradient_checkpointing
    return {policy: look(own.model, own.rank, again) for policy, own in settings.items()}


def _sampler(
    config: Config,
    settings: Mapping[str, PolicySettings],
    turns: Sequence[Turn],
    most_tasks: int,
    of: Mapping[str, Footprint],
) -> Memory:
    if is_own(config.sampler.name):
        return Memory({}, {})
    if config.sampler.name == VLLM:
        return Memory(_in_engines(config, settings, of), {})
    rooms = {policy: _room(config, own.model, of[policy]) for policy, own in settings.items()}
    sampling = [
        _sampling(of[policy], said, config, most_tasks, rooms[policy])
        for (policy, _), said in _by_role(settings, turns).items()
    ]
    limits = " or ".join(dict.fromkeys(map(str, rooms.values())))
    return Memory(
        lasting={
            _BASES: sum(_bases(settings, of).values()) + sum(_copied(settings, of).values()),
            "adapters": sum(of[policy].adapter for policy in settings),
        },
        passing={f"sampling: caches and logits{limits and f' of {limits}'}": max(sampling, default=0)},
    )


def _in_engines(config: Config, settings: Mapping[str, PolicySettings], of: Mapping[str, Footprint]) -> dict[str, int]:
    """Bytes in the processes of vLLM, and on tmpfs."""
    bases = _bases(settings, of)
    return {
        _BASES: sum(bases.values()),
        "keys and values of vLLM (sampler.cache_gb)": len(bases) * cache_bytes(config.sampler.options),
        "adapters in vLLM's slots and on tmpfs": sum(
            slots_bytes(of[policy].adapter, own.rank, own.model.dtype) for policy, own in settings.items()
        ),
    }


def _learner(
    config: Config, settings: Mapping[str, PolicySettings], turns: Sequence[Turn], of: Mapping[str, Footprint]
) -> Memory:
    learned = {pair: said for pair, said in _by_role(settings, turns).items() if settings[pair[0]].trainable}
    adapters = [of[policy].adapter for policy in settings]
    # Those of an update, and with several updates in a step their total.
    held = 2 if config.algorithm.updates > 1 or config.algorithm.calls_per_update else 1
    kept = [
        learning(of[policy], _calls(said, config), config.learner.max_tokens_per_micro_batch)
        for (policy, _), said in learned.items()
    ]
    return Memory(
        lasting={
            _BASES: sum(_bases(settings, of).values()),
            "adapters and their moments": 3 * sum(adapters),
            _GRADIENTS: held * sum(of[policy].adapter for policy, _ in learned) + 2 * max(adapters, default=0),
        },
        passing={"learning: what a micro-batch keeps": max(kept, default=0)},
    )


def _bases(settings: Mapping[str, PolicySettings], of: Mapping[str, Footprint]) -> dict[str, int]:
    """Every base -> the bytes of its weights."""
    return {own.model.model_dump_json(): of[policy].weights for policy, own in settings.items()}


def _copied(settings: Mapping[str, PolicySettings], of: Mapping[str, Footprint]) -> dict[str, int]:
    """Every base -> the bytes of merged weights that its sampler has; in half precision it has none."""
    policies = Counter(own.model.model_dump_json() for own in settings.values())
    whole = {own.model.model_dump_json() for own in settings.values() if own.model.dtype == "float32"}
    return {name: copies(policies[name], size) for name, size in _bases(settings, of).items() if name in whole}


def _by_role(settings: Mapping[str, PolicySettings], turns: Sequence[Turn]) -> dict[tuple[str, str], list[Turn]]:
    """(Policy, role) -> its turns, for policies that have a base here."""
    roles: dict[tuple[str, str], list[Turn]] = {}
    for turn in turns:
        if turn.call.policy in settings:
            roles.setdefault((turn.call.policy, turn.call.key.role), []).append(turn)
    return roles


def _room(config: Config, model: ModelConfig, size: Footprint) -> Room:
    if config.sampler.name == VLLM:
        return engine_room(config.sampler.options, cached=size.cached)
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
