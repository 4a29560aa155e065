"""Forward implementations of a base model. `forward_of` is the only place where one is chosen."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch

from counterpoint.errors import ModelError
from counterpoint.forwards._attention import ATTENTION
from counterpoint.forwards._norm import fuse_norms
from counterpoint.forwards._rehearsal import Rehearsal, rehearsal_of
from counterpoint.forwards._time_steps import limit_time_steps
from counterpoint.forwards.base import Forward
from counterpoint.forwards.packed import Packed
from counterpoint.forwards.plain import Plain
from counterpoint.forwards.whole import Whole

Choice = Literal["auto", "packed", "plain", "whole"]
_OTHERS: tuple[Callable[[str], Forward], ...] = (Plain, Whole, partial(Whole, cached=False))
"""The implementations to try after `Packed`, fastest first. They are given the reason against those before."""


@torch.no_grad()
def forward_of(model: Any, choice: Choice = "auto") -> Forward:
    """The forward implementation for `model`, whose attention and norms are configured for it.

    It gives the log-probabilities of full passes over single calls, as a few test calls show: with "auto" the first
    one that does among `Packed`, `Plain` and `Whole`, with the reason against those before it in its `why`. Raises
    ModelError if none does, or not the requested one.
    """
    own = model.config._attn_implementation
    limit_time_steps(model)
    rehearsal = rehearsal_of(model)
    reason = ""
    if choice in ("auto", "packed"):
        reason = _why_not_packed(model, rehearsal)
        if not reason:
            fuse_norms(model)
            return Packed()
        model.set_attn_implementation(own)
    for made in _OTHERS:
        forward = made(reason)
        if choice in ("auto", forward.name):
            wrong = rehearsal.why_not(forward, model)
            if not wrong:
                return forward
            reason = f"{reason}; {forward.name}: {wrong}" if reason else wrong
    if choice == "auto":
        raise ModelError(f"this model is not supported: {reason}")
    raise ModelError(f"model.forward = {choice!r} is not supported by this model: {reason}")


def _why_not_packed(model: Any, rehearsal: Rehearsal) -> str:
    """Why `model` cannot run packed; empty if it can, and then its attention is set to the packed one."""
    try:
        if not _reads_hidden_states(model):
            return "its logits are not the output of its head alone"
        model.set_attn_implementation(ATTENTION)
    except (ModelError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        return str(error).strip().split("\n")[0]
    # First the scores alone: a model that does not call the packed attention can decode nothing.
    return rehearsal.why_not(Packed(), model, decoding=False) or rehearsal.why_not(Packed(), model)


def _reads_hidden_states(model: Any) -> bool:
    """True if the logits are exactly the head's output: `Packed` calls decoder and head by themselves."""
    ids = torch.arange(1, 9, device=model.device)[None]
    hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[:, -1:]
    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        return False
    logits = model(input_ids=ids, logits_to_keep=1).logits[:, -1:]
    return torch.allclose(head(hidden), logits, atol=1e-5)
