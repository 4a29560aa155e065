"""One frozen base that speaks for many policies: prompts computed once, adapters merged, finished rows dropped.

Shapes: C calls, A calls still going, L prompt tokens, T completion tokens, V vocabulary.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from counterpoint.errors import SamplerError, unknown
from counterpoint.forwards import Choice, forward_of
from counterpoint.forwards.base import Decoding
from counterpoint.policy import Adapter, digest
from counterpoint.samplers.base import Completion, Request

MAX_ROWS = 1024
MAX_CACHE_TOKENS = 2**17
PROBABILITIES_AT_ONCE = 2**24
_PEFT_PREFIX = "base_model.model."
_KEEP_BELOW = 0.75
"""Finished rows are dropped when fewer than this part of the rows still goes on."""


class Engine:
    """Speaks for every policy with one copy of the base, into which the policy's adapter is merged when it speaks."""

    def __init__(
        self,
        model: PreTrainedModel,
        stop_ids: frozenset[int],
        *,
        forward: Choice = "auto",
        max_rows: Annotated[int, Field(ge=1)] = MAX_ROWS,
        max_cache_tokens: Annotated[int, Field(ge=1)] = MAX_CACHE_TOKENS,
    ) -> None:
        """`model` is the frozen base; its weights are read, never written.

        At most `max_rows` calls go at once, and no more than have `max_cache_tokens` tokens of prompts and replies.
        """
        self._base = {name: parameter.detach() for name, parameter in model.named_parameters()}
        self._model = copy.deepcopy(model)
        self._forward = forward_of(self._model, forward)
        self._weights = dict(self._model.named_parameters())
        self._stops = torch.tensor(sorted(stop_ids), device=model.device)
        self._max_rows = max_rows
        self._max_cache_tokens = max_cache_tokens
        self._adapters: dict[str, Adapter] = {}
        self._merged: tuple[str, int] | None = None
        self._changed: set[str] = set()
        """Weights into which an adapter was ever merged: the next policy may not adapt all of them."""

    def load(self, adapters: Sequence[Adapter]) -> None:
        """From here on every policy in `adapters` speaks with those weights."""
        self._adapters |= {adapter.policy: adapter for adapter in adapters}
        self._merged = None

    def digests(self) -> dict[str, str]:
        """The digest of the weights with which each policy speaks now."""
        return {
            policy: digest((name, tensor.cpu().numpy().tobytes()) for name, tensor in adapter.tensors.items())
            for policy, adapter in self._adapters.items()
        }

    def compute(self, requests: Sequence[Request]) -> list[Completion]:
        """A completion a request. Raises SamplerError if a policy has no weights here."""
        completions: dict[int, Completion] = {}
        for policy in sorted({request.policy for request in requests}):
            mine = [index for index, request in enumerate(requests) if request.policy == policy]
            for chunk in self._chunks([requests[index] for index in mine]):
                spoken = self._speak(policy, [requests[mine[place]] for place in chunk])
                completions |= {mine[place]: said for place, said in zip(chunk, spoken, strict=True)}
        return [completions[index] for index in range(len(requests))]

    def _chunks(self, requests: Sequence[Request]) -> Iterator[range]:
        """As many neighbours at a time as there is room for, each distinct prompt counted once."""
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
    def _speak(self, policy: str, requests: Sequence[Request]) -> list[Completion]:
        version = self._merge(policy)
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

    def _merge(self, policy: str) -> int:
        """The model speaks with `policy`'s weights: W = W_base + scale * B A, always from the untouched base."""
        if policy not in self._adapters:
            raise SamplerError(unknown("policy", policy, self._adapters))
        adapter = self._adapters[policy]
        if self._merged != (policy, adapter.version):
            for name in self._changed:
                self._weights[name].data.copy_(self._base[name])
            for name, a_RI in adapter.tensors.items():
                if name.endswith(".lora_A.weight"):
                    b_OR = adapter.tensors[name.replace(".lora_A.", ".lora_B.")]
                    module = name.removeprefix(_PEFT_PREFIX).removesuffix(".lora_A.weight")
                    base_OI = self._base[f"{module}.weight"]
                    merged_OI = base_OI.float() + adapter.scale * (b_OR.float() @ a_RI.float())
                    self._weights[f"{module}.weight"].data.copy_(merged_OI)
                    self._changed.add(f"{module}.weight")
            self._merged = (policy, adapter.version)
        return adapter.version


def _uniforms(requests: Sequence[Request], width: int) -> np.ndarray:
    """A number in [0, 1) a token (C, width), each row from its call's own seed."""
    rows = [np.random.Generator(np.random.Philox(key=request.seed)).random(width) for request in requests]
    return np.stack(rows)


def _picked(logits_AV: Tensor, temperatures_A: Tensor, uniforms_A: Tensor) -> tuple[Tensor, Tensor]:
    """What `_pick` picks, some rows at a time, so that little more than the logits is ever there."""
    rows = max(1, PROBABILITIES_AT_ONCE // logits_AV.shape[1])
    parts = zip(*(torch.split(one, rows) for one in (logits_AV, temperatures_A, uniforms_A)), strict=True)
    picked = [_pick(logits / warmth[:, None], uniforms) for logits, warmth, uniforms in parts]
    return torch.cat([ids for ids, _ in picked]), torch.cat([logprobs for _, logprobs in picked])


def _pick(logits_AV: Tensor, uniforms_A: Tensor) -> tuple[Tensor, Tensor]:
    """A token a row by inverse transform sampling, and its log-probability (float32).

    The sum up to the token is taken by blocks of the vocabulary (b blocks of B tokens), then within one: a running sum
    over a whole vocabulary would take as long as a layer of the model.
    """
    chances_AV = torch.softmax(logits_AV, dim=-1)
    size = math.isqrt(logits_AV.shape[1]) + 1
    blocks_AbB = torch.unflatten(pad(chances_AV, (0, -logits_AV.shape[1] % size)), 1, (-1, size))
    sums_Ab = blocks_AbB.sum(dim=2).double().cumsum(dim=1)
    target_A = uniforms_A * sums_Ab[:, -1]
    block_A = _first_above(sums_Ab, target_A)
    before_A = pad(sums_Ab, (1, 0)).gather(1, block_A[:, None])[:, 0]
    within_AB = blocks_AbB[torch.arange(len(block_A), device=block_A.device), block_A].double().cumsum(dim=1)
    ids_A = block_A * size + _first_above(within_AB, target_A - before_A)
    return ids_A, chances_AV.gather(1, ids_A[:, None])[:, 0].log()


def _first_above(sums_AX: Tensor, target_A: Tensor) -> Tensor:
    """Where a running sum first exceeds the target, which counts as just below the whole where it is not."""
    whole_A = sums_AX[:, -1]
    below_A = torch.minimum(target_A, torch.nextafter(whole_A, torch.zeros_like(whole_A)))
    return torch.searchsorted(sums_AX, below_A[:, None], right=True)[:, 0]
