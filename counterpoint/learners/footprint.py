"""The memory that the PEFT learner takes, counted without weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from counterpoint.base_model import model_without_weights
from counterpoint.config import ModelConfig
from counterpoint.episode import Call
from counterpoint.forwards.footprint import FLOAT32, REHEARSED, logits_at_once, packed_tokens, rehearse, set_up
from counterpoint.forwards.packed import Packed
from counterpoint.learners._batch import micro_batches
from counterpoint.learners._checkpointing import checkpoint_layers
from counterpoint.targets import targets_of

_IN_HAND = 2
"""Tensors as wide as the widest layer that are in memory at once beside those that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Bytes of a base with an adapter of some rank."""

    weights: int
    adapter: int
    kept: int
    """Per token, kept from the forward to the backward pass."""
    again: int
    """Per token, while its layer is computed again; 0 without activation checkpointing."""
    looked_back: int
    """Per token, once more for each call that attends to it: keys and values, where they are kept."""
    cached: int
    """Per token while sampling: its keys and values."""
    in_hand: int
    """Per token, while it goes through a layer."""
    logit: int
    """The float32 logits of one token."""
    logits: int
    """All logits that are in memory at once while learning."""


def footprint(model: ModelConfig, rank: int, *, checkpointing: bool) -> Footprint:
    """The footprint of a base, whose weights are not read. Raises ModelError if it cannot be found or packed."""
    # Here and not above: PEFT takes long to import, and who imports this module may not ask.
    from counterpoint.learners._adapters import lora, with_adapter
    from counterpoint.learners._lora import fuse_adapters

    plain = model_without_weights(model)
    size, head = torch.finfo(plain.dtype).bits // 8, plain.get_output_embeddings()
    weights = sum(parameter.numel() for parameter in plain.parameters()) * size
    targets = targets_of(plain)
    made = with_adapter(plain, lora(targets, rank=rank, alpha=rank, base=model.path), "default")
    fuse_adapters(made)
    adapted = made.get_base_model().eval()
    set_up(adapted)
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    layers = plain.config.get_text_config().num_hidden_layers
    rehearsal, again = rehearse(adapted), 0
    if checkpointing:
        checkpoint_layers(adapted, Packed())
        again = rehearsal.kept // layers
        rehearsal = rehearse(adapted)
    return Footprint(
        weights=weights,
        adapter=sum(parameter.numel() for parameter in trained) * FLOAT32,
        kept=rehearsal.kept // REHEARSED,
        again=again // REHEARSED,
        looked_back=rehearsal.cached // (layers if checkpointing else 1),
        cached=rehearsal.cached,
        in_hand=_IN_HAND * max(outputs for _, outputs in targets.layers.values()) * size,
        logit=head.out_features * FLOAT32,
        logits=logits_at_once(model.device, head.out_features),
    )


def learning(size: Footprint, calls: Sequence[Call], max_tokens: int) -> int:
    """Bytes that the largest micro-batch of these calls keeps, with what is in hand, beside weights and adapters."""
    batches = micro_batches(calls, Packed(), max_tokens)
    return max(_scoring(size, *packed_tokens([calls[index] for index in batch])) for batch in batches)


def _scoring(size: Footprint, tokens: int, looked_at: int) -> int:
    """At the head, or in the backward pass of a layer, whichever takes more."""
    logits = 2 * min(size.logits, tokens * size.logit)
    looking = size.looked_back * (looked_at - tokens)
    if size.again:
        return size.kept * tokens + max(logits, (size.again + size.in_hand) * tokens + looking)
    return size.kept * tokens + looking + max(logits, size.in_hand * tokens)
