"""The memory of a training step, measured without weights by a forward pass over a few tokens on the meta device.

Tensors on the meta device have shapes but no values. Autograd still saves them for the backward pass, so the sizes
of what it saves can be summed at no cost, and then scaled by the number of tokens.

Shapes: N tokens, H heads for queries, Hk for keys and values, D values per head.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from counterpoint.base_model import model_without_weights
from counterpoint.config import Config, ModelConfig, PolicySettings
from counterpoint.episode import Call
from counterpoint.errors import ModelError
from counterpoint.forwards._attention import ATTENTION
from counterpoint.forwards._forest import forest_of
from counterpoint.forwards._head import rows_at_once
from counterpoint.forwards._hidden import hidden_states
from counterpoint.forwards.packed import Packed, inputs_of
from counterpoint.learners._batch import micro_batches
from counterpoint.learners._checkpointing import checkpoint_layers
from counterpoint.learners._lora import fuse_adapters
from counterpoint.samplers._engine import MAX_CACHE_TOKENS, MAX_ROWS, PROBABILITIES_AT_ONCE

ENGINE_LIMITS = {"max_cache_tokens": MAX_CACHE_TOKENS, "max_rows": MAX_ROWS}
_FLOAT32 = 4
_REHEARSED = 32
"""Tokens in the measured pass; the memory that it keeps is proportional to their number."""
_ENOUGH = 3
"""The number of micro-batches of which the largest is taken."""
_IN_HAND = 2
"""Temporary tensors as wide as the widest layer that exist at the same time."""


class Turn(NamedTuple):
    """A call of an episode at its largest length."""

    call: Call
    shared: bool
    """True if the prompt is the same in every episode of a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Bytes for a base with an adapter of a given rank."""

    weights: int
    adapter: int
    kept: int
    """Per token: activations kept from the forward to the backward pass."""
    again: int
    """Per token: activations of one layer while it is recomputed; 0 without activation checkpointing."""
    looked_back: int
    """Per token and call that attends to it: stored keys and values."""
    cached: int
    """Per token: its keys and values in the cache while sampling."""
    in_hand: int
    """Per token: temporary tensors of a layer."""
    logit: int
    """Per token: its logits."""
    logits: int
    """The logits that exist at the same time while learning."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by use."""

    lasting: Mapping[str, int]
    """Held during the whole run."""
    passing: Mapping[str, int]
    """Held one after the other, so that only the largest counts."""

    @property
    def peak(self) -> int:
        return sum(self.lasting.values()) + max(self.passing.values(), default=0)


def footprint(model: ModelConfig, rank: int, *, checkpointing: bool) -> Footprint:
    """The footprint of a base, whose weights are not read. Raises ModelError if it cannot be found or packed."""
    plain = model_without_weights(model)
    size, head = torch.finfo(plain.dtype).bits // 8, plain.get_output_embeddings()
    weights = sum(parameter.numel() for parameter in plain.parameters()) * size
    adapted = _adapted(plain, rank)
    _pack(adapted)
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    linear = [one for one in adapted.modules() if isinstance(one, torch.nn.Linear) and one is not head]
    layout = _Empty()
    layers = plain.config.get_text_config().num_hidden_layers
    kept, again = _kept(adapted, layout), 0
    if checkpointing:
        checkpoint_layers(adapted, Packed())
        kept, again = _kept(adapted, layout), kept // layers
    return Footprint(
        weights=weights,
        adapter=sum(parameter.numel() for parameter in trained) * _FLOAT32,
        kept=kept // _REHEARSED,
        again=again // _REHEARSED,
        looked_back=layout.cached(size) // (layers if checkpointing else 1),
        cached=layout.cached(size),
        in_hand=_IN_HAND * max(layer.out_features for layer in linear) * size,
        logit=head.out_features * _FLOAT32,
        logits=rows_at_once(model.device, head.out_features) * head.out_features * _FLOAT32,
    )


def memory_of(
    config: Config, settings: Mapping[str, PolicySettings], turns: Sequence[Turn], *, most_tasks: int
) -> Memory:
    """The memory of sampler and learner in this process, without that of Python and its libraries.

    `settings` are of the policies that have a base here; `turns` are those of an episode; at most `most_tasks` are
    evaluated at once. Raises ModelError if a base cannot be found or packed.
    """
    again = config.learner.gradient_checkpointing
    of = {policy: footprint(own.model, own.rank, checkpointing=again) for policy, own in settings.items()}
    bases = {own.model.model_dump_json(): of[policy].weights for policy, own in settings.items()}
    roles: dict[tuple[str, str], list[Turn]] = {}
    for turn in turns:
        if turn.call.policy in settings:
            roles.setdefault((turn.call.policy, turn.call.key.role), []).append(turn)
    learned = {pair: said for pair, said in roles.items() if settings[pair[0]].trainable}
    adapters = [of[policy].adapter for policy in settings]
    return Memory(
        lasting={
            "bases, for learner and sampler": 2 * sum(bases.values()),
            "adapters and their moments; the sampler's": 4 * sum(adapters),
            "gradients of the roles": sum(of[policy].adapter for policy, _ in learned) + 2 * max(adapters, default=0),
        },
        passing={
            "sampling: caches and logits": max(
                (_sampling(of[policy], said, config, most_tasks) for (policy, _), said in roles.items()), default=0
            ),
            "learning: what a micro-batch keeps": max(
                (_learning(of[policy], said, config) for (policy, _), said in learned.items()), default=0
            ),
        },
    )


def _sampling(size: Footprint, turns: Sequence[Turn], config: Config, most_tasks: int) -> int:
    """The caches of concurrent calls, and temporary tensors."""
    longest = max(turns, key=lambda turn: len(turn.call.prompt_ids))
    beside, rollouts = len({turn.call.key.slot for turn in turns}), config.rollout
    episodes = max(rollouts.tasks_per_step * rollouts.group_size, most_tasks * config.evaluation.samples)
    sharing = rollouts.group_size * beside if longest.shared else 1
    prompt, said = len(longest.call.prompt_ids), rollouts.max_tokens
    room, most = (config.sampler.options.get(name, usual) for name, usual in ENGINE_LIMITS.items())
    rows = int(max(1, min(episodes * beside, most, room // (said + prompt / sharing))))
    prompts = prompt * -(-rows // sharing)
    caches = size.cached * (prompts + rows * said)
    choosing = 2 * rows * size.logit + 4 * min(rows * size.logit, _FLOAT32 * PROBABILITIES_AT_ONCE)
    return caches + max(choosing, prompts * size.in_hand)


def _learning(size: Footprint, turns: Sequence[Turn], config: Config) -> int:
    """The activations of the largest micro-batch of a role, and temporary tensors."""
    calls = _calls(turns, config)
    batches = micro_batches(calls, Packed(), config.learner.max_tokens_per_micro_batch)
    forests = [forest_of([inputs_of(calls[index]) for index in batch]) for batch in batches]
    return max(_scoring(size, len(forest.ids), sum(map(len, forest.paths))) for forest in forests)


def _scoring(size: Footprint, tokens: int, looked_at: int) -> int:
    """At the head, or in the backward pass of a layer, whichever takes more."""
    logits = 2 * min(size.logits, tokens * size.logit)
    looking = size.looked_back * (looked_at - tokens)
    if size.again:
        return size.kept * tokens + max(logits, (size.again + size.in_hand) * tokens + looking)
    return size.kept * tokens + looking + max(logits, size.in_hand * tokens)


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


def _adapted(model: Any, rank: int) -> Any:
    """The model with an adapter on all its linear layers."""
    with warnings.catch_warnings():
        # PEFT still asks transformers by this name, and no user of ours can change that.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        adapted: Any = get_peft_model(model, LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM"))
    fuse_adapters(adapted)
    return adapted.get_base_model().eval()


def _pack(model: Any) -> None:
    try:
        model.set_attn_implementation(ATTENTION)
    except ValueError as error:
        raise ModelError(f"its memory is not known: it cannot be packed: {error}") from error


def _kept(model: Any, layout: "_Empty") -> int:
    """Bytes that autograd keeps of the rehearsal, beside the weights."""
    weights: set[int] = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}  # held, so that no storage is given to another tensor

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        places = torch.arange(_REHEARSED, device=model.device)
        hidden_states(model, places, places, layout)
    sizes = {place: int(tensor.untyped_storage().nbytes()) for place, tensor in kept.items()}
    return sum(size for place, size in sizes.items() if place not in weights)


class _Empty:
    """An attention layout that computes nothing and saves the tensors that attention would save."""

    def __init__(self) -> None:
        self._keys: dict[int, int] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        self._keys[layer] = key.numel() + value.numel()
        found: Tensor = _Attention.apply(query, key, value)  # type: ignore[no-untyped-call]
        return found.clone()

    def cached(self, size: int) -> int:
        """Bytes of a token's keys and values in all layers, at `size` bytes a number."""
        return sum(self._keys.values()) * size // _REHEARSED


class _Attention(torch.autograd.Function):
    """A stand-in for fused attention that saves the same tensors: its inputs and its output."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        found = torch.empty_like(query)
        ctx.save_for_backward(query.clone(), key.clone(), value.clone(), found)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, _ = ctx.saved_tensors
        return torch.zeros_like(query), torch.zeros_like(key), torch.zeros_like(value)
