"""One frozen base that speaks for many policies: prompts computed once, adapters merged, finished rows dropped.

Shapes: C calls, A calls still going, L prompt tokens, T completion tokens, V vocabulary.
"""

import copy
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel

from counterpoint.base_model import Prefix, completion_logits, prefill
from counterpoint.errors import SamplerError, unknown
from counterpoint.policy import Adapter, digest
from counterpoint.samplers.base import Completion, Request

_PEFT_PREFIX = "base_model.model."
_KEEP_BELOW = 0.75
"""Finished rows are dropped when fewer than this part of the rows still goes on."""


class Engine:
    """Speaks for every policy with one copy of the base, into which the policy's adapter is merged when it speaks."""

    def __init__(
        self, model: PreTrainedModel, stop_ids: frozenset[int], *, max_rows: Annotated[int, Field(ge=1)] = 1024
    ) -> None:
        """`model` is the frozen base; its weights are read, never written. At most `max_rows` calls go at once."""
        self._base = {name: parameter.detach() for name, parameter in model.named_parameters()}
        self._model = copy.deepcopy(model)
        self._weights = dict(self._model.named_parameters())
        self._stops = torch.tensor(sorted(stop_ids), device=model.device)
        self._max_rows = max_rows
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
            for first in range(0, len(mine), self._max_rows):
                chunk = mine[first : first + self._max_rows]
                spoken = self._speak(policy, [requests[index] for index in chunk])
                completions |= dict(zip(chunk, spoken, strict=True))
        return [completions[index] for index in range(len(requests))]

    @torch.no_grad()
    def _speak(self, policy: str, requests: Sequence[Request]) -> list[Completion]:
        version = self._merge(policy)
        prompts = list(dict.fromkeys(request.prompt_ids for request in requests))
        if min(map(len, prompts)) < 2:
            raise SamplerError(f"policy {policy!r}: a prompt needs at least two tokens")
        place = {prompt: index for index, prompt in enumerate(prompts)}
        prefix = prefill(self._model, prompts, [place[request.prompt_ids] for request in requests])
        ids_CT, logprobs_CT, lengths = self._decode(prefix, requests)
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
        self, prefix: Prefix, requests: Sequence[Request]
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
        mask_AS = prefix.mask_CL
        going_A = torch.ones_like(rows_A, dtype=torch.bool)
        for step in range(width):
            ones_A1 = torch.ones_like(last_A)[:, None]
            now = Prefix(prefix.cache, mask_AS, prefix.lengths_C[rows_A] + step)
            logits_AV = completion_logits(self._model, now, last_A[:, None], ones_A1)[:, -1]
            mask_AS = torch.cat([mask_AS, ones_A1], dim=1)
            last_A, picked_A = _pick(logits_AV / temperatures_C[rows_A, None], uniforms_CT[rows_A, step])
            ids_CT[rows_A, step] = torch.where(going_A, last_A, ids_CT[rows_A, step])
            logprobs_CT[rows_A, step] = torch.where(going_A, picked_A, logprobs_CT[rows_A, step])
            ended_A = going_A & (torch.isin(last_A, self._stops) | (step + 1 >= limits_C[rows_A]))
            lengths_C[rows_A[ended_A]] = step + 1
            going_A = going_A & ~ended_A
            count = int(going_A.sum())
            if count == 0:
                break
            if count < _KEEP_BELOW * len(rows_A):
                prefix.cache.batch_select_indices(going_A.nonzero()[:, 0])
                rows_A, last_A, mask_AS = rows_A[going_A], last_A[going_A], mask_AS[going_A]
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


def _pick(logits_AV: Tensor, uniforms_A: Tensor) -> tuple[Tensor, Tensor]:
    """A token a row by inverse transform sampling, and its log-probability (float32)."""
    logprobs_AV = torch.log_softmax(logits_AV, dim=-1)
    cumulative_AV = torch.cumsum(logprobs_AV.double().exp(), dim=-1)
    total_A = cumulative_AV[:, -1]
    target_A = torch.minimum(uniforms_A * total_A, torch.nextafter(total_A, torch.zeros_like(total_A)))
    ids_A = torch.searchsorted(cumulative_AV, target_A[:, None], right=True)[:, 0]
    return ids_A, logprobs_AV.gather(1, ids_A[:, None])[:, 0]
