"""The memory that a packed pass takes, counted without weights: a pass over some tokens is rehearsed on empty tensors.

Shapes: N tokens, H heads for queries, Hk for keys and values, D values per head.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from transformers.integrations import moe

from counterpoint.episode import Call
from counterpoint.errors import ModelError
from counterpoint.forwards._attention import ATTENTION
from counterpoint.forwards._forest import forest_of
from counterpoint.forwards._head import rows_at_once
from counterpoint.forwards._hidden import hidden_states
from counterpoint.forwards._layers import fuse_layers
from counterpoint.forwards.packed import inputs_of

FLOAT32 = 4
"""Bytes of a number."""
REHEARSED = 32
"""Tokens of the rehearsal. What is kept of them is proportional to their number."""


class Rehearsal(NamedTuple):
    """Bytes of a pass over `REHEARSED` tokens."""

    kept: int
    """Kept by autograd from the forward to the backward pass, beside the weights."""
    cached: int
    """The keys and values of one token in all layers."""


def set_up(model: Any) -> None:
    """`model` computes packed tokens from here on, whatever their values. Raises ModelError if it cannot."""
    try:
        model.set_attn_implementation(ATTENTION)
    except ValueError as error:
        raise ModelError(f"it cannot be packed: {error}") from error
    model.config.get_text_config().pad_token_id = None  # for which some models look at the tokens
    fuse_layers(model)


def rehearse(model: Any) -> Rehearsal:
    """The bytes of a pass through `model`, which is set up and whose tensors have no values.

    Raises ModelError if it cannot be computed packed and without values.
    """
    layout = _Empty()
    try:
        with patch.object(moe, "_grouped_mm", _of_one_expert):
            kept = _kept(model, layout)
    except (ValueError, TypeError, AttributeError, RuntimeError, LookupError) as error:
        raise ModelError(f"it cannot be packed: {str(error).strip().splitlines()[0]}") from error
    if layout.attended < model.config.get_text_config().num_hidden_layers:
        raise ModelError("it cannot be packed: not all of its layers call an attention that can be replaced")
    return Rehearsal(kept, layout.cached(torch.finfo(model.dtype).bits // 8))


def _of_one_expert(rows: Tensor, weight: Tensor, offs: Tensor) -> Tensor:
    """A product of the same size as the grouped one, in which every row meets the expert that was chosen for it."""
    return rows @ weight[0]


def logits_at_once(device: str, vocabulary: int) -> int:
    """Bytes of all float32 logits that are in memory at once while log-probabilities are computed."""
    return rows_at_once(device, vocabulary) * vocabulary * FLOAT32


def packed_tokens(calls: Sequence[Call]) -> tuple[int, int]:
    """Tokens that go through the model for these calls, and those that they look back at, summed over the calls."""
    forest = forest_of([inputs_of(call) for call in calls])
    return len(forest.ids), sum(map(len, forest.paths))


def _kept(model: Any, layout: "_Empty") -> int:
    """Bytes that autograd keeps of the rehearsal, beside the weights."""
    weights: set[int] = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}  # held, so that no storage is given to another tensor

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        places = torch.arange(REHEARSED, device=model.device)
        hidden_states(model, places, places, layout)
    sizes = {place: int(tensor.untyped_storage().nbytes()) for place, tensor in kept.items()}
    return sum(size for place, size in sizes.items() if place not in weights)


class _Empty:
    """A layout without values, of which autograd keeps what it keeps of attention."""

    def __init__(self) -> None:
        self._keys: dict[int, int] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        self._keys[layer] = key.numel() + value.numel()
        found: Tensor = _Attention.apply(query, key, value)  # type: ignore[no-untyped-call]
        return found.clone()

    @property
    def attended(self) -> int:
        """The number of layers that have attended."""
        return len(self._keys)

    def cached(self, size: int) -> int:
        """Bytes of one token's keys and values in all layers, at `size` bytes per number."""
        return sum(self._keys.values()) * size // REHEARSED


class _Attention(torch.autograd.Function):
    """Keeps what a fused attention keeps: its inputs and its output."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        found = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query.clone(), key.clone(), value.clone(), found)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, _ = ctx.saved_tensors
        return torch.zeros_like(query), torch.zeros_like(key), torch.zeros_like(value)
