"""Forward implementations of a base model. `forward_of` is the only place where one is chosen."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch

from counterpoint.errors import ModelError
from counterpoint.forwards._attention import ATTENTION, with_masks_of_windows
from counterpoint.forwards._layers import fuse_layers, unfuse_layers
from counterpoint.forwards._norm import fuse_norms
from counterpoint.forwards._rehearsal import Rehearsal, rehearsal_of
from counterpoint.forwards._time_steps import limit_time_steps
from counterpoint.forwards.base import Forward
from counterpoint.forwards.packed import Packed
from counterpoint.forwards.plain import Plain
from counterpoint.forwards.positions import Bounded, pin
from counterpoint.forwards.whole import Whole

_LOG = logging.getLogger(__name__)

Choice = Literal["auto", "packed", "plain", "whole"]


@torch.no_grad()
def forward_of(model: Any, choice: Choice = "auto") -> Forward:
    """The forward implementation for `model`, whose attention and norms are configured for it.

    It gives the log-probabilities of full passes over single calls, as a few test calls show: with "auto" the first
    one that does among `Packed`, `Plain` and `Whole`, with the reason against those before it in its `why`. Raises
    ModelError if none does, or not the requested one.
    """
    longest = pin(model)
    found = _chosen(model, choice, longest)
    return found if longest is None else Bounded(found, longest)


def _chosen(model: Any, choice: Choice, longest: int | None) -> Forward:
    own, by_head = model.config._attn_implementation, _reads_hidden_states(model)
    limit_time_steps(model)
    rehearsal = rehearsal_of(model, longest)
    reason = ""
    if choice in ("auto", "packed"):
        reason = _why_not_packed(model, rehearsal) if by_head else "its logits are not the output of its head alone"
        if not reason:
            return Packed()
        model.set_attn_implementation(own)
    for made in _others(by_head=by_head):
        forward = made(reason)
        if choice in ("auto", forward.name):
            wrong = rehearsal.why_not(forward, model)
            if not wrong:
                return forward
            reason = f"{reason}; {forward.name}: {wrong}" if reason else wrong
    if choice == "auto":
        raise ModelError(f"this model is not supported: {reason}")
    raise ModelError(f"model.forward = {choice!r} is not supported by this model: {reason}")


def _others(*, by_head: bool) -> Sequence[Callable[[str], Forward]]:
    """The implementations to try after `Packed`, fastest first. They are given the reason against those before."""
    return (Plain, partial(Whole, by_head=by_head), partial(Whole, by_head=by_head, cached=False))


def _why_not_packed(model: Any, rehearsal: Rehearsal) -> str:
    """Why `model` cannot run packed; empty if it can, and then its attention is set to the packed one."""
    try:
        model.set_attn_implementation(ATTENTION)
    except (ModelError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        return str(error).strip().split("\n")[0]
    # First the scores alone: a model that does not call the packed attention can decode nothing.
    with with_masks_of_windows():
        reason = rehearsal.why_not(Packed(), model, decoding=False)
    if reason:
        return reason
    if fuse_layers(model):
        wrong = rehearsal.why_not(Packed(), model)
        if not wrong:
            return ""
        _LOG.warning("layers are computed as transformers computes them, which takes longer: %s", wrong)
        unfuse_layers(model)
    fuse_norms(model)
    return rehearsal.why_not(Packed(), model)


def _reads_hidden_states(model: Any) -> bool:
    """True if the logits are exactly the head's output: decoder and head can then be called by themselves."""
    head, ids = model.get_output_embeddings(), torch.arange(1, 9, device=model.device)[None]
    if not isinstance(head, torch.nn.Linear):
        return False
    try:
        hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state.to(head.weight.dtype)
        logits = model(input_ids=ids, use_cache=False).logits
    except (ModelError, ValueError, TypeError, AttributeError, RuntimeError):
        return False
    return torch.allclose(head(hidden).float(), logits.float(), atol=1e-5)
