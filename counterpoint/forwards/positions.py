"""Rotary positions whose frequencies depend on a length, pinned to one length for all calls.

LongRoPE (Phi-3, Phi-4-mini) has short factors and long ones, and transformers chooses by the longest position in the
batch; dynamic NTK scaling stretches frequencies to the longest position seen so far. Both make a call depend on those
beside it, or before it. Here the choice is made once, by the longest call that a run allows, as vLLM makes it by the
longest sequence that a server allows. If that is within the length that the model was trained for, every call is
computed exactly as it would be alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from counterpoint.episode import Call
from counterpoint.errors import ModelError
from counterpoint.forwards.base import Decoding, Forward, Owners, Scored

_PINNED = "counterpoint_longest_call"
"""The attribute of a module whose frequencies are pinned: the length that they are pinned to."""


def regime(config: Any, longest: int) -> str:
    """The scaling of positions, for a person to read, by the model of this configuration in calls of `longest` tokens.

    Empty if its frequencies do not depend on a length.
    """
    found = []
    for kind, limit in _scalings(config):
        beyond = longest > limit
        if kind == "longrope":
            used = f"the {'long' if beyond else 'short'} factors of LongRoPE"
        else:
            used = "dynamic NTK, " + (f"stretched to {longest:,} tokens" if beyond else "not stretched")
        found.append(f"{used}, since calls have at most {longest:,} tokens (limit {limit:,})")
    return "; ".join(dict.fromkeys(found))


def pin(model: Any, longest: int | None = None) -> int | None:
    """The frequencies of `model` are those for `longest` tokens from here on, whatever it computes.

    Without `longest` they are those for the length that it was trained for, unless they are pinned already. Returns the
    length that they are pinned to; None if they do not depend on a length.
    """
    modules = [module for module in model.modules() if _is_dynamic(module)]
    limits = [limit for _, limit in _scalings(model.config)]
    if not modules or not limits:
        return None
    known: list[int] = [getattr(module, _PINNED) for module in modules if hasattr(module, _PINNED)]
    length = longest or (known[0] if known else min(limits))
    for module in modules:
        if not hasattr(module, _PINNED):
            module.forward = partial(_at_length, module, module.forward)
        setattr(module, _PINNED, length)
    return length


class Bounded:
    """A forward that refuses calls that are longer than the frequencies of its model are pinned to."""

    def __init__(self, forward: Forward, longest: int) -> None:
        self._forward = forward
        self._longest = longest
        self.name = forward.name
        self.takes_owners = forward.takes_owners

    def score(self, model: Any, calls: Sequence[Call]) -> Scored:
        self._check(max(len(call.prompt_ids) + len(call.completion_ids) for call in calls))
        return self._forward.score(model, calls)

    def fits(self, ordered: Sequence[Call], max_tokens: int) -> int:
        return self._forward.fits(ordered, max_tokens)

    def start(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        rows: Sequence[int],
        most: int,
        owners: Owners | None = None,
    ) -> Decoding:
        self._check(max(map(len, prompts)) + most)
        return self._forward.start(model, prompts, rows, most, owners)

    def _check(self, tokens: int) -> None:
        if tokens > self._longest:
            raise ModelError(
                f"a call of {tokens} tokens: the positions of this model are scaled for at most {self._longest}; pin"
                " them to the longest call first (counterpoint.forwards.positions.pin)"
            )


def _at_length(module: Any, forward: Any, given: Tensor, position_ids: Tensor, *rest: Any, **options: Any) -> Any:
    """The rotary embedding of `position_ids`, computed as if the pinned length's last position stood beside them."""
    last = position_ids.new_full((*position_ids.shape[:-1], 1), getattr(module, _PINNED) - 1)
    found = forward(given, torch.cat([position_ids, last], dim=-1), *rest, **options)
    return tuple(one[..., :-1, :] for one in found) if isinstance(found, tuple) else found[..., :-1, :]


def _is_dynamic(module: Any) -> bool:
    kinds = getattr(module, "rope_type", None)
    return any(_depends(kind) for kind in (kinds.values() if isinstance(kinds, Mapping) else [kinds]))


def _depends(kind: Any) -> bool:
    return isinstance(kind, str) and (kind == "longrope" or "dynamic" in kind)


def _scalings(config: Any) -> Iterator[tuple[str, int]]:
    """Each kind of scaling that depends on a length, and the greatest length without it."""
    text = config.get_text_config()
    parameters = getattr(text, "rope_parameters", None) or {}
    tables = [one for one in parameters.values() if isinstance(one, Mapping)] or [parameters]
    for table in tables:
        kind = table.get("rope_type")
        if kind == "longrope":
            yield kind, int(table.get("original_max_position_embeddings") or text.max_position_embeddings)
        elif _depends(kind):
            yield str(kind), int(text.max_position_embeddings)
