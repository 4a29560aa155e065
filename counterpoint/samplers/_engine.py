"""One frozen base that generates for many policies: distinct prompts computed once, finished rows dropped.

Shapes: C calls, A calls that are not finished yet, T completion tokens, V vocabulary.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from counterpoint.adapter import Adapter
from counterpoint.episode import Call
from counterpoint.errors import SamplerError, unknown
from counterpoint.forwards import Choice, forward_of
from counterpoint.forwards.base import Decoding
from counterpoint.samplers._weights import Weights, lossless
from counterpoint.samplers.base import MAX_CACHE_TOKENS, MAX_ROWS, Completion, Request

PROBABILITIES_AT_ONCE = 2**24
"""Probabilities that are computed at once while tokens are chosen, at most."""
_KEEP_BELOW = 0.75
"""Finished rows are dropped once less than this fraction of the rows is unfinished."""


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
        ids_CT, logprobs_CT, lengths = self._decode(decoding, requests)
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

    def _decode(
        self, decoding: Decoding, requests: Sequence[Request]
    ) -> tuple[list[list[int]], list[list[float]], list[int]]:
        """Token ids and their log-probabilities (C, T), and how many of each row are its completion."""
        device = self._model.device
        limits_C = torch.tensor([request.max_tokens for request in requests], device=device)
        temperatures_C = torch.tensor([request.temperature for request in requests], device=device)
        width = int(limits_C.max())
        uniforms_CT = torch.from_numpy(_uniforms(requests, width)).to(device)
        ids_CT = torch.zeros(len(requests), width, dtype=torch.long, device=device)
        logprobs_CT = torch.zeros(len(requests), width, device=device)
        lengths_C = limits_C.clone()

        rows_A = torch.arange(len(requests), device=device)
        last_A = torch.tensor([request.prompt_ids[-1] for request in requests], device=device)
        going_A = torch.ones_like(rows_A, dtype=torch.bool)
        # A finished row goes on being computed until enough others are finished too, since dropping rows copies the
        # caches of those that stay; `going_A` keeps what it would say out of the results.
        for step in range(width):
            logits_AV = decoding.logits(last_A)
            last_A, picked_A = _picked(logits_AV, temperatures_C[rows_A], uniforms_CT[rows_A, step])
            ids_CT[rows_A, step] = torch.where(going_A, last_A, ids_CT[rows_A, step])
            logprobs_CT[rows_A, step] = torch.where(going_A, picked_A, logprobs_CT[rows_A, step])
            ended_A = going_A & (torch.isin(last_A, self._stops) | (step + 1 >= limits_C[rows_A]))
            lengths_C[rows_A[ended_A]] = step + 1
            going_A = going_A & ~ended_A
            count = int(going_A.sum())
            if count == 0:
                break
            if count < _KEEP_BELOW * len(rows_A):
                decoding.keep(going_A.nonzero()[:, 0])
                rows_A, last_A = rows_A[going_A], last_A[going_A]
                going_A = going_A[going_A]
        return ids_CT.tolist(), logprobs_CT.tolist(), lengths_C.tolist()

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


def _uniforms(requests: Sequence[Request], width: int) -> np.ndarray:
    """A number in [0, 1) for each token (C, width), float64, every row from its request's own seed.

    They are drawn before anything is generated, by a counter-based generator: so a completion depends on its request
    alone, and not on which others are generated beside it.
    """
    rows = [np.random.Generator(np.random.Philox(key=request.seed)).random(width) for request in requests]
    return np.stack(rows)


def _picked(logits_AV: Tensor, temperatures_A: Tensor, uniforms_A: Tensor) -> tuple[Tensor, Tensor]:
    """The result of `_pick`, computed some rows at a time, so that little more than the logits is ever in memory."""
    rows = max(1, PROBABILITIES_AT_ONCE // logits_AV.shape[1])
    parts = zip(*(torch.split(one, rows) for one in (logits_AV, temperatures_A, uniforms_A)), strict=True)
    picked = [_pick(logits / warmth[:, None], uniforms) for logits, warmth, uniforms in parts]
    return torch.cat([ids for ids, _ in picked]), torch.cat([logprobs for _, logprobs in picked])


def _pick(logits_AV: Tensor, uniforms_A: Tensor) -> tuple[Tensor, Tensor]:
    """One token per row by inverse transform sampling, and its log-probability (float32).

    The token is the first whose running sum of probabilities exceeds uniform * total. The sum up to the token is taken
    by blocks of the vocabulary (b blocks of B tokens), then within one: a running sum over a whole vocabulary would
    take as long as a layer of the model.
    """
    chances_AV = torch.softmax(logits_AV, dim=-1)
    size = math.isqrt(logits_AV.shape[1]) + 1
    blocks_AbB = torch.unflatten(pad(chances_AV, (0, -logits_AV.shape[1] % size)), 1, (-1, size))
    sums_Ab = blocks_AbB.sum(dim=2).double().cumsum(dim=1)
    # A fraction of the sum as it was computed: probabilities in float32 do not sum to exactly 1, and a target above
    # their sum would have no token. In float64, since a float32 sum could not tell unlikely tokens apart.
    target_A = uniforms_A * sums_Ab[:, -1]
    block_A = _first_above(sums_Ab, target_A)
    before_A = pad(sums_Ab, (1, 0)).gather(1, block_A[:, None])[:, 0]
    within_AB = blocks_AbB[torch.arange(len(block_A), device=block_A.device), block_A].double().cumsum(dim=1)
    ids_A = block_A * size + _first_above(within_AB, target_A - before_A)
    return ids_A, chances_AV.gather(1, ids_A[:, None])[:, 0].log()


def _first_above(sums_AX: Tensor, target_A: Tensor) -> Tensor:
    """The first place where a running sum exceeds the target. A target beyond the whole sum counts as just below it.

    The target within a block is a difference, whose rounding may take it to the end of the block.
    """
    whole_A = sums_AX[:, -1]
    below_A = torch.minimum(target_A, torch.nextafter(whole_A, torch.zeros_like(whole_A)))
    return torch.searchsorted(sums_AX, below_A[:, None], right=True)[:, 0]
