"""Forward implementations of a base model. `forward_of` is the only place where one is chosen."""

from typing import Any, Literal

import torch

from counterpoint.episode import Call, CallKey
from counterpoint.errors import ModelError
from counterpoint.forwards._attention import ATTENTION
from counterpoint.forwards._norm import fuse_norms
from counterpoint.forwards.base import Forward
from counterpoint.forwards.packed import Packed
from counterpoint.forwards.plain import Plain

Choice = Literal["auto", "packed", "plain"]
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25}
"""Nats by which two correct implementations may differ in a log-probability; a generous bound."""


@torch.no_grad()
def forward_of(model: Any, choice: Choice = "auto") -> Forward:
    """The forward implementation for `model`, whose attention and norms are configured for it.

    With "auto" it is `Packed` if `Packed` gives the same log-probabilities as `Plain` for a few test calls; otherwise
    it is `Plain`, with the reason in its `why`. Raises ModelError if "packed" is requested and not supported.
    """
    own = model.config._attn_implementation
    reason = "" if choice == "plain" else _why_not_packed(model)
    if choice == "packed" and reason:
        raise ModelError(f"model.forward = 'packed' is not supported by this model: {reason}")
    if choice == "plain" or reason:
        model.set_attn_implementation(own)
        return Plain(reason)
    fuse_norms(model)
    return Packed()


def _why_not_packed(model: Any) -> str:
    """Why `model` cannot run packed; empty if it can, and then its attention is set to the packed one."""
    calls = _rehearsal(model.config.get_text_config().vocab_size)
    try:
        # One call at a time, so that the logits of no two calls, which are large, are in memory together.
        expected = [Plain().score(model, [call]).logprobs_CT[0] for call in calls]
        if not _reads_hidden_states(model):
            return "its logits are not the output of its head alone"
        model.set_attn_implementation(ATTENTION)
        found = Packed().score(model, calls)
    except (ModelError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        return str(error).strip().split("\n")[0]
    difference = float((found.logprobs_CT[found.mask_CT.bool()] - torch.cat(expected)).abs().max())
    if not difference <= _TOLERANCE.get(model.dtype, 0.0):
        return f"its packed log-probabilities differ from the plain ones by {difference:.3g} nats"
    return ""


def _reads_hidden_states(model: Any) -> bool:
    """True if the logits are exactly the head's output: `Packed` calls decoder and head by themselves."""
    ids = torch.arange(1, 9, device=model.device)[None]
    hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[:, -1:]
    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        return False
    logits = model(input_ids=ids, logits_to_keep=1).logits[:, -1:]
    return torch.allclose(head(hidden), logits, atol=1e-5)


def _rehearsal(vocabulary: int) -> list[Call]:
    """Test calls of several lengths with shared and partly shared prompts."""
    ids = [(7 * place * place + 3) % vocabulary for place in range(80)]
    prompts = [ids[:40], ids[:20] + ids[50:63], ids[5:16], ids[:40]]
    completions = [ids[40:43], ids[63:64], ids[16:21], ids[60:64]]
    return [
        Call(
            key=CallKey("rehearsal", slot, 0),
            policy="",
            version=0,
            messages=(),
            prompt_ids=tuple(prompt),
            completion_ids=tuple(completion),
            logprobs=(),
            text="",
            finish="length",
            seed=0,
            temperature=1.0,
        )
        for slot, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
    ]
