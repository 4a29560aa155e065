"""One frozen base that generates for many policies: distinct prompts computed once, finished rows dropped.

Shapes: C calls, T completion tokens.
"""

import logging
import math
import operator
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from counterpoint.adapter import Adapter
from counterpoint.episode import Call
from counterpoint.errors import SamplerError, unknown
from counterpoint.forwards import Choice, forward_of
from counterpoint.forwards._caches import token_bytes
from counterpoint.forwards.base import Decoding, Flowing, Forward, Owners
from counterpoint.samplers._loop import spoken
from counterpoint.samplers._picking import PROBABILITIES_AT_ONCE
from counterpoint.samplers._room import Room, room_of, total_memory
from counterpoint.samplers._together import why_not_together
from counterpoint.samplers._weights import Weights, lossless
from counterpoint.samplers.base import Completion, Request

_LOG = logging.getLogger(__name__)


class Engine:
    """Generates for every policy on one base."""

    def __init__(
        self,
        model: PreTrainedModel,
        stop_ids: frozenset[int],
        *,
        forward: Choice = "auto",
        max_rows: int | None = None,
        max_cache_tokens: int | None = None,
        weights: Callable[[PreTrainedModel], Weights] = lossless,
    ) -> None:
        """`model` is the frozen base; its weights are read, never written. `weights` says where adapters go.

        At most `max_rows` calls are generated at once, and no more than have `max_cache_tokens` tokens of prompts and
        replies, or without these as many as `room_of` says.
        """
        self._weights = weights(model)
        self._model = self._weights.model
        self._forward = forward_of(self._model, forward)
        self._stops = torch.tensor(sorted(stop_ids), device=model.device)
        self._room = self._room_of(max_rows, max_cache_tokens)
        self._why_not: str | None = None
        """Why policies cannot be computed together; None before it was tried."""
        self._adapters: dict[str, Adapter] = {}
        self._in_use: tuple[Adapter, ...] = ()
        """The adapters with which the model computes, one for each policy, or none that is known."""

    def load(self, adapters: Sequence[Adapter]) -> None:
        """Every policy in `adapters` generates with those weights from here on."""
        self._adapters |= {adapter.policy: adapter for adapter in adapters}

    def digests(self) -> dict[str, str]:
        """The digest of the weights with which each policy generates now."""
        return {policy: adapter.digest for policy, adapter in self._adapters.items()}

    def compute(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion per request, in their order. Raises SamplerError if a policy has no weights here."""
        completions: dict[int, Completion] = {}
        for mine in self._together(requests):
            found = self._generate([requests[index] for index in mine])
            completions |= dict(zip(mine, found, strict=True))
        return [completions[index] for index in range(len(requests))]

    @torch.no_grad()
    def logprobs(self, calls: Sequence[Call], *, base: bool = False) -> list[list[float]]:
        """Log-probability (nats) of each completion token of `calls`, under the weights with which their policies
        generate, or with `base` under those of the base. Raises SamplerError if a policy has no weights here.
        """
        found: dict[int, list[float]] = {}
        for policy in dict.fromkeys(call.policy for call in calls):
            mine = [index for index, call in enumerate(calls) if call.policy == policy]
            self._use([Adapter.base(policy)] if base else self._adapters_of([policy]))
            while mine:
                count = self._forward.fits([calls[index] for index in mine], self._room.tokens)
                part, mine = mine[:count], mine[count:]
                rows = self._forward.score(self._model, [calls[index] for index in part]).logprobs_CT.tolist()
                found |= {at: row[: len(calls[at].completion_ids)] for at, row in zip(part, rows, strict=True)}
        return [found[index] for index in range(len(calls))]

    @torch.no_grad()
    def _room_of(self, max_rows: int | None, max_cache_tokens: int | None) -> Room:
        """Those of the recipe; what it leaves open depends on the GPU, and is logged."""
        device, config = self._model.device, self._model.config.get_text_config()
        auto = total_memory(device) is not None and not (max_rows and max_cache_tokens)
        cached = token_bytes(self._model) if auto and self._forward.name == "packed" else 0
        room = room_of(max_rows, max_cache_tokens, device=device, cached=cached, logit=4 * config.vocab_size)
        if auto:
            _LOG.info("sampling %s, by the memory of the GPU", room)
        return room

    def _together(self, requests: Sequence[Request]) -> list[list[int]]:
        """The requests in groups that may be computed together, each in the order of its policies."""
        order = sorted(range(len(requests)), key=lambda index: requests[index].policy)
        groups = [list(mine) for _, mine in groupby(order, key=lambda index: requests[index].policy)]
        if len(groups) > 1 and self._side_by_side():
            return [order]
        return groups

    def _side_by_side(self) -> bool:
        """True if this model computes several policies at once, which is tried when it is first asked for."""
        if self._why_not is None:
            self._in_use = ()
            self._why_not = why_not_together(self._model, self._weights.layers, self._forward)
            if self._why_not:
                _LOG.info("policies generate one after another: %s", self._why_not)
        return not self._why_not

    @torch.no_grad()
    def _generate(self, requests: Sequence[Request]) -> list[Completion]:
        policies = list(dict.fromkeys(request.policy for request in requests))
        for request in requests:
            if len(request.prompt_ids) < 2:
                raise SamplerError(f"policy {request.policy!r}: a prompt needs at least two tokens")
        adapters = self._adapters_of(policies)
        self._use(adapters)
        asked = _Asked(self._model, self._forward, requests, self._weights.rows if len(policies) > 1 else None)
        stops, versions = set(self._stops.tolist()), dict(zip(policies, (one.version for one in adapters), strict=True))
        return [
            Completion(
                ids=said.ids,
                logprobs=_numbers(said.logprobs, request),
                finish="stop" if said.ids[-1] in stops else "length",
                version=versions[request.policy],
            )
            for request, said in zip(requests, spoken(asked, requests, self._stops, self._room), strict=True)
        ]

    def _adapters_of(self, policies: Sequence[str]) -> list[Adapter]:
        for policy in policies:
            if policy not in self._adapters:
                raise SamplerError(unknown("policy", policy, self._adapters))
        return [self._adapters[policy] for policy in policies]

    def _use(self, adapters: Sequence[Adapter]) -> None:
        """The model computes with these adapters, one for each policy."""
        if len(adapters) == len(self._in_use) and all(map(operator.is_, adapters, self._in_use)):
            return
        self._in_use = ()  # not the last ones either, if an interrupt ends what follows
        if len(adapters) == 1:
            self._weights.use(adapters[0])
        else:
            self._weights.use_together(adapters)
        self._in_use = tuple(adapters)


class _Asked:
    """Requests of the policies with whose weights the model computes."""

    def __init__(
        self, model: Any, forward: Forward, requests: Sequence[Request], rows: Callable[[np.ndarray], None] | None
    ) -> None:
        """With `rows` they are of several policies, in the order of their weights; it is told whose rows there are."""
        self._model, self._forward = model, forward
        places: dict[tuple[str, tuple[int, ...]], int] = {}
        self._rows = [places.setdefault((request.policy, request.prompt_ids), len(places)) for request in requests]
        self._prompts = [prompt for _, prompt in places]
        self._most = max(request.max_tokens for request in requests)
        policies = list(dict.fromkeys(request.policy for request in requests))
        self._owners = Owners([policies.index(policy) for policy, _ in places], rows) if rows else None

    def start(self, calls: Sequence[int]) -> Decoding:
        rows = [self._rows[call] for call in calls]
        return self._forward.start(self._model, self._prompts, rows, self._most, self._owners)

    def admit(self, decoding: Flowing, calls: Sequence[int]) -> None:
        decoding.admit([self._rows[call] for call in calls])


def _numbers(logprobs: tuple[float, ...], request: Request) -> tuple[float, ...]:
    """The log-probabilities of a reply. Raises SamplerError if one is no number: then its token is not the model's."""
    if any(map(math.isnan, logprobs)):
        raise SamplerError(
            f"policy {request.policy!r}: its logits at temperature {request.temperature:g} are no numbers, so no token"
            " can be chosen: its weights or those of its base are no numbers or too large, or the temperature is too"
            " small"
        )
    return logprobs


def generating_bytes(
    *,
    prompts: int,
    rows: int,
    said: int,
    cached: int,
    logit: int,
    in_hand: int,
) -> int:
    """Bytes that generating takes beside the weights.

    It is for `prompts` tokens of distinct prompts and `rows` calls of `said` tokens, where a token takes `cached` bytes
    of keys and values, `in_hand` bytes while it goes through a layer, and `logit` bytes of float32 logits.
    """
    caches = cached * (prompts + rows * said)
    choosing = 2 * rows * logit + min(rows * logit, 4 * PROBABILITIES_AT_ONCE)
    return caches + max(choosing, prompts * in_hand)
