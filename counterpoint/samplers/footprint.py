"""The memory that the in-process sampler takes beside the weights."""

from collections.abc import Mapping
from typing import Any

from counterpoint.samplers._engine import generating_bytes
from counterpoint.samplers._weights import MERGED_BYTES
from counterpoint.samplers.base import MAX_CACHE_TOKENS, MAX_ROWS


def copies(policies: int, weights: int) -> int:
    """Bytes of merged weights, at most, for that many policies on a base of `weights` bytes in float32."""
    return weights + (min(policies * weights, MERGED_BYTES) if policies > 1 else 0)


def generation(
    *,
    prompt: int,
    said: int,
    calls: int,
    sharing: int,
    cached: int,
    logit: int,
    in_hand: int,
    options: Mapping[str, Any],
) -> int:
    """Bytes of caches, logits and what is in hand, for the calls that are generated at once.

    There are `calls` of `prompt` and `said` tokens in a wave, of which `sharing` have the same prompt. A token takes
    `cached` bytes of keys and values, `in_hand` bytes while it goes through a layer, and `logit` bytes of logits.
    `options` are the sampler's.
    """
    room = int(options.get("max_cache_tokens", MAX_CACHE_TOKENS))
    most = int(options.get("max_rows", MAX_ROWS))
    rows = int(max(1, min(calls, most, room // (said + prompt / sharing))))
    prompts = prompt * -(-rows // sharing)
    return generating_bytes(prompts=prompts, rows=rows, said=said, cached=cached, logit=logit, in_hand=in_hand)
