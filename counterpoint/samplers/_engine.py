"""One frozen base that generates for many policies: distinct prompts computed once, finished rows dropped.

Shapes: C calls, T completion tokens.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from counterpoint.adapter import Adapter
from counterpoint.episode import Call
from counterpoint.errors import SamplerError, unknown
from counterpoint.forwards import Choice, forward_of
from counterpoint.forwards._caches import token_bytes
from counterpoint.forwards.base import Decoding, Flowing, Forward
from counterpoint.samplers._loop import spoken
from counterpoint.samplers._picking import PROBABILITIES_AT_ONCE
from counterpoint.samplers._room import Room, room_of, total_memory
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
        self._adapters: dict[str, Adapter] = {}
        self._in_use: tuple[str, int] | None = None
        """The policy, and the version of it, with whose weights the model computes."""

    def load(self, adapters: Sequence[Adapter]) -> None:
        """Every policy in `adapters` generates with those weights from here on."""
        self._adapters |= {adapter.policy: adapter for adapter in adapters}
        self._in_use = None

    def digests(self) -> dict[str, str]:
        """The digest of the weights with which each policy generates now."""
        return {policy: adapter.digest for policy, adapter in self._adapters.items()}

    def compute(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion per request, in their order. Raises SamplerError if a policy has no weights here."""
        completions: dict[int, Completion] = {}
        for policy in sorted({request.policy for request in requests}):
            mine = [index for index, request in enumerate(requests) if request.policy == policy]
            found = self._generate(policy, [requests[index] for index in mine])
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
            self._use(policy)
            if base:
                self._in_use = None
                self._weights.use(Adapter.base(policy))
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

    @torch.no_grad()
    def _generate(self, policy: str, requests: Sequence[Request]) -> list[Completion]:
        version = self._use(policy)
        if min(len(request.prompt_ids) for request in requests) < 2:
            raise SamplerError(f"policy {policy!r}: a prompt needs at least two tokens")
        stops = set(self._stops.tolist())
        return [
            Completion(
                ids=said.ids,
                logprobs=said.logprobs,
                finish="stop" if said.ids[-1] in stops else "length",
                version=version,
            )
            for said in spoken(_Asked(self._model, self._forward, requests), requests, self._stops, self._room)
        ]

    def _use(self, policy: str) -> int:
        """The model computes with the weights of `policy`, whose version is returned."""
        if policy not in self._adapters:
            raise SamplerError(unknown("policy", policy, self._adapters))
        adapter = self._adapters[policy]
        if self._in_use != (policy, adapter.version):
            self._in_use = None  # not those of the last policy either, if an interrupt ends what follows
            self._weights.use(adapter)
            self._in_use = (policy, adapter.version)
        return adapter.version


class _Asked:
    """Requests of one policy, with whose weights the model computes."""

    def __init__(self, model: Any, forward: Forward, requests: Sequence[Request]) -> None:
        self._model, self._forward = model, forward
        places: dict[tuple[int, ...], int] = {}
        self._rows = [places.setdefault(request.prompt_ids, len(places)) for request in requests]
        self._prompts = list(places)
        self._most = max(request.max_tokens for request in requests)

    def start(self, calls: Sequence[int]) -> Decoding:
        return self._forward.start(self._model, self._prompts, [self._rows[call] for call in calls], self._most)

    def admit(self, decoding: Flowing, calls: Sequence[int]) -> None:
        decoding.admit([self._rows[call] for call in calls])

    def changed(self, calls_A: Sequence[int]) -> None:
        pass


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
