"""The plain way to sample and to learn, as one writes it with transformers and PEFT: what ours is compared with.

Shapes: C calls, L tokens of prompt and completion, T completion tokens, V vocabulary.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from counterpoint.adapter import Adapter
from counterpoint.algorithms.base import Sample
from counterpoint.samplers.base import Request


@torch.no_grad()
def generate(model: Any, requests: Sequence[Request]) -> Tensor:
    """Log-probabilities (C, T) of as many tokens a request as it asks for, sampled by `generate` in one batch.

    No reply ends earlier: no token is told to be the end.
    """
    width = max(len(request.prompt_ids) for request in requests)
    rows = [[0] * (width - len(request.prompt_ids)) + list(request.prompt_ids) for request in requests]
    mask = [[0] * (width - len(request.prompt_ids)) + [1] * len(request.prompt_ids) for request in requests]
    found = model.generate(
        input_ids=torch.tensor(rows, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=requests[0].max_tokens,
        eos_token_id=None,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
    )
    scores: Tensor = model.compute_transition_scores(found.sequences, found.logits, normalize_logits=True)
    return scores


class PlainLearner:
    """A PEFT model that is given calls as padded rows, prompt and completion together, and computes all its logits."""

    def __init__(self, model: Any, adapter: Adapter, *, max_tokens: int) -> None:
        """`model` has no adapters yet; it is copied. A micro-batch has at most `max_tokens`, padding included."""
        rank = next(tensor.shape[0] for name, tensor in adapter.tensors.items() if name.endswith("lora_A.weight"))
        lora = LoraConfig(r=rank, lora_alpha=adapter.scale * rank, target_modules="all-linear", task_type="CAUSAL_LM")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")  # PEFT still asks so
            self._model = get_peft_model(copy.deepcopy(model), lora).eval()
        self._max_tokens = max_tokens
        named = dict(self._model.named_parameters())
        self._parameters = [named[name.replace(".weight", ".default.weight")] for name in adapter.tensors]
        for parameter, values in zip(self._parameters, adapter.tensors.values(), strict=True):
            parameter.data = values.detach().clone().float()

    def backward(self, samples: Sequence[Sample]) -> Tensor:
        """The gradient of -sum of A log p / tokens over all completion tokens, laid out like the adapter's tensors."""
        weight = 1.0 / sum(sample.tokens for sample in samples)
        total = torch.zeros(sum(parameter.numel() for parameter in self._parameters), device=self._model.device)
        for batch in _batches(samples, self._max_tokens):
            loss = weight * self._loss(batch)
            total += torch.cat([one.reshape(-1) for one in torch.autograd.grad(loss, self._parameters)])
        return total

    def _loss(self, samples: Sequence[Sample]) -> Tensor:
        calls = [sample.call for sample in samples]
        rows = [[*call.prompt_ids, *call.completion_ids] for call in calls]
        width, device = max(map(len, rows)), self._model.device
        ids_CL = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
        mask_CL = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        said_CL = torch.tensor(
            [
                [0.0] * len(call.prompt_ids) + [1.0] * len(call.completion_ids) + [0.0] * (width - len(row))
                for call, row in zip(calls, rows, strict=True)
            ],
            device=device,
        )
        logits_CLV = self._model(input_ids=ids_CL, attention_mask=mask_CL, use_cache=False).logits[:, :-1].float()
        logprobs_CL = torch.log_softmax(logits_CLV, dim=-1).gather(2, ids_CL[:, 1:, None])[:, :, 0]
        advantages_C1 = torch.tensor([sample.advantage for sample in samples], device=device)[:, None]
        return -(advantages_C1 * logprobs_CL * said_CL[:, 1:]).sum()


def _batches(samples: Sequence[Sample], max_tokens: int) -> Iterator[list[Sample]]:
    """Every sample once, those of like length together."""
    batch: list[Sample] = []
    for sample in sorted(samples, key=_length):
        if batch and _length(sample) * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(sample)
    yield batch


def _length(sample: Sample) -> int:
    return len(sample.call.prompt_ids) + len(sample.call.completion_ids)
