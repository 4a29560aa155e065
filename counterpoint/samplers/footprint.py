"""The memory that the samplers of this package take beside the weights of bases."""

from collections.abc import Mapping
from typing import Any

from counterpoint.samplers._async_llm import Options, room_for
from counterpoint.samplers._engine import generating_bytes
from counterpoint.samplers._room import Room, room_of
from counterpoint.samplers._weights import MERGED_BYTES

VLLM = "vllm"
"""The name of the sampler that has processes of its own."""


def cache_bytes(options: Mapping[str, Any]) -> int:
    """Bytes of keys and values that vLLM keeps for a base, with these options of a recipe."""
    return int(options.get("cache_gb", Options().cache_gb) * 2**30)


def engine_room(options: Mapping[str, Any], *, cached: int) -> Room:
    """The limits of an engine of vLLM with these options, if a token takes `cached` bytes."""
    return Room(int(options.get("max_rows", Options().max_rows)), cache_bytes(options) // cached)


def slots_bytes(adapter: int, rank: int, dtype: str) -> int:
    """Bytes of two versions of an adapter in vLLM, where it has `adapter` bytes in float32.

    Each is in a slot and in a copy of vLLM's, in the type of the base and with room for a larger rank, and in a file.
    """
    each = adapter * room_for(rank) // rank
    held = each if dtype == "float32" else each // 2
    return 2 * (2 * held + adapter)


def copies(policies: int, weights: int) -> int:
    """Bytes of merged weights, at most, for that many policies on a base of `weights` bytes in float32."""
    kept = min(policies * weights, MERGED_BYTES) if policies > 1 else 0
    # Of three or more, those of a wave may not be neighbours: then they are copied.
    return weights + kept + (min((policies - 1) * weights, MERGED_BYTES) if policies > 2 else 0)


def generation(
    *,
    prompt: int,
    said: int,
    calls: int,
    sharing: int,
    cached: int,
    logit: int,
    in_hand: int,
    room: Room,
) -> int:
    """Bytes of caches, logits and what is in hand, for the calls that are generated at once.

    There are `calls` of `prompt` and `said` tokens in a wave, of which `sharing` have the same prompt. A token takes
    `cached` bytes of keys and values, `in_hand` bytes while it goes through a layer, and `logit` bytes of logits.
    """
    rows = at_once(prompt=prompt, said=said, calls=calls, sharing=sharing, room=room)
    prompts = prompt * -(-rows // sharing)
    return generating_bytes(prompts=prompts, rows=rows, said=said, cached=cached, logit=logit, in_hand=in_hand)


def at_once(*, prompt: int, said: int, calls: int, sharing: int, room: Room) -> int:
    """The calls that are generated together, of `calls` with `prompt` and `said` tokens; `sharing` have one prompt."""
    return int(max(1, min(calls, room.rows, room.tokens // (said + prompt / sharing))))


def room(options: Mapping[str, Any], device: str, *, cached: int, logit: int) -> Room:
    """The limits of the in-process sampler with these options, for a model on this device."""
    most = (options.get(name) for name in ("max_rows", "max_cache_tokens"))
    return room_of(*most, device=device, cached=cached, logit=logit)
