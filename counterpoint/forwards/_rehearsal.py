"""A few test calls, computed as plainly as possible, with which an implementation is compared before it is used."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from counterpoint.episode import Call, CallKey
from counterpoint.errors import ModelError
from counterpoint.forwards.base import Forward

_TOLERANCE = {torch.float32: 3e-4, torch.bfloat16: 0.25}
"""Nats by which two correct implementations may differ in a log-probability, in a model that tells tokens apart."""
_LEAST_SPREAD = 0.05
"""An untrained model predicts nearly the same for every token: its errors are as small as its differences."""
_FAILURES = (ModelError, ValueError, TypeError, AttributeError, RuntimeError, KeyError, IndexError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The test calls, and the log-probabilities of their completions by one full pass for each call.

    Each pass has a single row, no padding and no cache, so it depends on nothing but the call.
    """

    calls: Sequence[Call]
    truth: Sequence[Tensor]

    def why_not(self, forward: Forward, model: Any, *, decoding: bool = True) -> str:
        """Why `forward` is wrong for the model, in one line; empty if it scores and decodes as the full passes do."""
        try:
            parts = [("scores", _scored(forward, model, self.calls))]
            if decoding:
                parts.append(("decoding steps", _decoded(forward, model, self.calls)))
        except _FAILURES as error:
            return str(error).strip().split("\n")[0] or type(error).__name__
        wanted = torch.cat(list(self.truth))
        tolerance = _TOLERANCE.get(model.dtype, 0.0) * min(1.0, max(_LEAST_SPREAD, float(wanted.std())))
        for what, found in parts:
            difference = float((torch.cat(found) - wanted).abs().max())
            if not difference <= tolerance:
                return f"its {forward.name} {what} differ from a full pass by {difference:.3g} nats"
        return ""


@torch.no_grad()
def rehearsal_of(model: Any) -> Rehearsal:
    """Raises ModelError if the model cannot compute the test calls."""
    calls = _calls(model.config.get_text_config().vocab_size)
    try:
        # One call at a time, so that the logits of no two calls, which are large, are in memory together.
        return Rehearsal(calls, [_full_pass(model, call) for call in calls])
    except _FAILURES as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"this model cannot compute a sequence of tokens: {reason}") from error


def _full_pass(model: Any, call: Call) -> Tensor:
    ids = torch.tensor([[*call.prompt_ids, *call.completion_ids[:-1]]], device=model.device)
    logits_TV = model(input_ids=ids, use_cache=False).logits[0, len(call.prompt_ids) - 1 :].float()
    return _chosen(logits_TV, call.completion_ids)


def _scored(forward: Forward, model: Any, calls: Sequence[Call]) -> list[Tensor]:
    rows = forward.score(model, calls).logprobs_CT
    return [row[: len(call.completion_ids)] for row, call in zip(rows, calls, strict=True)]


def _decoded(forward: Forward, model: Any, calls: Sequence[Call]) -> list[Tensor]:
    """The same log-probabilities, step by step; calls leave when their completion ends."""
    prompts = list(dict.fromkeys(call.prompt_ids for call in calls))
    most = max(len(call.completion_ids) for call in calls)
    decoding = forward.start(model, prompts, [prompts.index(call.prompt_ids) for call in calls], most)
    found: list[list[Tensor]] = [[] for _ in calls]
    going = list(range(len(calls)))
    for step in range(most):
        stays = [place for place, row in enumerate(going) if step < len(calls[row].completion_ids)]
        if len(stays) < len(going):
            decoding.keep(torch.tensor(stays, device=model.device))
            going = [going[place] for place in stays]
        ids = [(*calls[row].prompt_ids, *calls[row].completion_ids) for row in going]
        at = [len(calls[row].prompt_ids) + step for row in going]
        last = torch.tensor([row[place - 1] for row, place in zip(ids, at, strict=True)], device=model.device)
        said = _chosen(decoding.logits(last), [row[place] for row, place in zip(ids, at, strict=True)])
        for row, logprob in zip(going, said, strict=True):
            found[row].append(logprob)
    return [torch.stack(row) for row in found]


def _chosen(logits_TV: Tensor, ids: Sequence[int]) -> Tensor:
    targets_T = torch.tensor(list(ids), device=logits_TV.device)
    return torch.log_softmax(logits_TV, dim=-1).gather(1, targets_T[:, None])[:, 0]


def _calls(vocabulary: int) -> list[Call]:
    """Test calls of several lengths with shared and partly shared prompts, one of them as short as a prompt can be."""
    ids = [(7 * place * place + 3) % vocabulary for place in range(80)]
    prompts = [ids[:40], ids[:20] + ids[50:63], ids[5:16], ids[:40], ids[70:72]]
    completions = [ids[40:43], ids[63:64], ids[16:21], ids[60:64], ids[72:75]]
    return [
        Call(
            key=CallKey("rehearsal", slot, 0),
            policy="",
            version=0,
            messages=(),
            prompt_ids=tuple(prompt),
            completion_ids=tuple(completion),
            logprobs=(),
            text="",
            finish="length",
            seed=0,
            temperature=1.0,
        )
        for slot, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
    ]
