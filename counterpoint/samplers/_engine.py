"""One frozen base that generates for many policies: distinct prompts computed once, finished rows dropped.

Shapes: C calls, T completion tokens.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from transformers import PreTrainedModel

from counterpoint.adapter import Adapter
from counterpoint.episode import Call
from counterpoint.errors import SamplerError, unknown
from counterpoint.forwards import Choice, forward_of
from counterpoint.samplers._loop import spoken
from counterpoint.samplers._picking import PROBABILITIES_AT_ONCE
from counterpoint.samplers._weights import Weights, lossless
from counterpoint.samplers.base import MAX_CACHE_TOKENS, MAX_ROWS, Completion, Request


class Engine:
    """Generates for every policy on one base."""

    def __init__(
        self,
        model: PreTrainedModel,
        stop_ids: frozenset[int],
        *,
        forward: Choice = "auto",
        max_rows: int = MAX_ROWS,
        max_cache_tokens: int = MAX_CACHE_TOKENS,
        weights: Callable[[PreTrainedModel], Weights] = lossless,
    ) -> None:
        """`model` is the frozen base; its weights are read, never written. `weights` says where adapters go.

        At most `max_rows` calls are generated at once, and no more than have `max_cache_tokens` tokens of prompts and
        replies.
        """
        self._weights = weights(model)
        self._model = self._weights.model
        self._forward = forward_of(self._model, forward)
        self._stops = torch.tensor(sorted(stop_ids), device=model.device)
        self._max_rows = max_rows
        self._max_cache_tokens = max_cache_tokens
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
            for chunk in self._chunks([requests[index] for index in mine]):
                found = self._generate(policy, [requests[mine[place]] for place in chunk])
                completions |= {mine[place]: one for place, one in zip(chunk, found, strict=True)}
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
                count = self._forward.fits([calls[index] for index in mine], self._max_cache_tokens)
                part, mine = mine[:count], mine[count:]
                rows = self._forward.score(self._model, [calls[index] for index in part]).logprobs_CT.tolist()
                found |= {at: row[: len(calls[at].completion_ids)] for at, row in zip(part, rows, strict=True)}
        return [found[index] for index in range(len(calls))]

    def _chunks(self, requests: Sequence[Request]) -> Iterator[range]:
        """Consecutive requests, as many at a time as there is room for, each distinct prompt counted once."""
        first, tokens, prompts = 0, 0, set[tuple[int, ...]]()
        for place, request in enumerate(requests):
            needed = request.max_tokens + (0 if request.prompt_ids in prompts else len(request.prompt_ids))
            if place > first and (place - first == self._max_rows or tokens + needed > self._max_cache_tokens):
                yield range(first, place)
                first, tokens, prompts = place, 0, set()
                needed = request.max_tokens + len(request.prompt_ids)
            tokens += needed
            prompts.add(request.prompt_ids)
        yield range(first, len(requests))

    @torch.no_grad()
    def _generate(self, policy: str, requests: Sequence[Request]) -> list[Completion]:
        version = self._use(policy)
        prompts = list(dict.fromkeys(request.prompt_ids for request in requests))
        if min(map(len, prompts)) < 2:
            raise SamplerError(f"policy {policy!r}: a prompt needs at least two tokens")
        place = {prompt: index for index, prompt in enumerate(prompts)}
        rows, most = [place[request.prompt_ids] for request in requests], max(one.max_tokens for one in requests)
        decoding = self._forward.start(self._model, prompts, rows, most)
        ids_CT, logprobs_CT, lengths = spoken(decoding, requests, self._stops)
        stops = set(self._stops.tolist())
        return [
            Completion(
                ids=tuple(ids_CT[row][:length]),
                logprobs=tuple(logprobs_CT[row][:length]),
                finish="stop" if ids_CT[row][length - 1] in stops else "length",
                version=version,
            )
            for row, length in enumerate(lengths)
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
    choosing = 2 * rows * logit + 4 * min(rows * logit, 4 * PROBABILITIES_AT_ONCE)
    return caches + max(choosing, prompts * in_hand)
