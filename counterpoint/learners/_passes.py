"""Forward and backward passes: log-probabilities of calls, and gradients of a loss over them.

Shapes: C calls of a micro-batch, T completion tokens of the longest; `_C1` is a column.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss, Tokens
from counterpoint.episode import Call
from counterpoint.forwards.base import Forward, Scored
from counterpoint.learners._adapters import Adapters
from counterpoint.learners._batch import Budget, pad_values
from counterpoint.learners._terms import Terms, errors_of
from counterpoint.learners.base import Contribution
from counterpoint.learners.gradient import FlatGradient, flatten


class Passes:
    """Passes through a base with adapters, in micro-batches that fit into memory."""

    def __init__(self, adapters: Adapters, forward: Forward, max_tokens: int) -> None:
        """At most `max_tokens` tokens go through the model at once, or one call; fewer once memory ran out."""
        self._adapters = adapters
        self.forward = forward
        self._budget = Budget(forward, max_tokens)

    @torch.no_grad()
    def logprobs(self, policy: str, calls: Sequence[Call]) -> list[list[float]]:
        """The log-probability (nats) of each completion token under the weights of `policy`."""
        self._adapters.use(policy)
        return self.scored(calls)

    @torch.no_grad()
    def base_logprobs(self, calls: Sequence[Call]) -> list[list[float]]:
        """The log-probability (nats) of each completion token under the base."""
        with self._adapters.left_out():
            return self.scored(calls)

    @torch.no_grad()
    def scored(self, calls: Sequence[Call]) -> list[list[float]]:
        """The log-probability (nats) of each completion token under the weights that are in use."""
        found: list[list[float]] = [[] for _ in calls]
        for batch, rows in self._budget.each(calls, lambda batch: self._score([calls[index] for index in batch])):
            for index, row in zip(batch, rows.logprobs_CT.tolist(), strict=True):
                found[index] = row[: len(calls[index].completion_ids)]
        return found

    def contribution(self, policy: str, pairs: Sequence[tuple[Sample, float]], loss: Loss) -> "Passed":
        """The gradient of sum_i w_i sum_t loss_it over samples i with their weight w_i per token, and its terms.

        `policy` must be in use. Micro-batches add up: the loss is a plain weighted sum over tokens, whose weights were
        taken over the whole update before it was cut.
        """
        parameters = list(self._adapters.parameters[policy].values())
        total = torch.zeros(sum(parameter.numel() for parameter in parameters), device=self._adapters.model.device)
        value, sums = 0.0, dict[str, float]()
        slopes: dict[int, np.ndarray] = {}
        calls = [sample.call for sample, _ in pairs]
        for batch, part in self._budget.each(
            calls, lambda batch: self._part(policy, [pairs[at] for at in batch], loss)
        ):
            total += part.gradient
            value += part.loss
            for name, fact in part.facts.items():
                sums[name] = sums.get(name, 0.0) + fact
            slopes |= dict(zip(batch, part.slopes, strict=True))
        weight = sum(weight * sample.tokens for sample, weight in pairs)
        facts = {name: found / weight for name, found in sums.items()}
        errors = errors_of([sample for sample, _ in pairs], self._adapters.model.dtype, corrected=loss.corrects)
        terms = Terms(tuple(calls), tuple(slopes[index] for index in range(len(calls))), errors)
        return Passed(Contribution(FlatGradient(total), weight, value, facts), terms)

    def _part(self, policy: str, pairs: Sequence[tuple[Sample, float]], loss: Loss) -> "_Part":
        """The part of a micro-batch."""
        tokens = self._tokens(policy, [sample for sample, _ in pairs], with_base=loss.kl is not None)
        weights_CT = tokens.mask_CT * self._column([weight for _, weight in pairs])
        values = loss.per_token(tokens)
        part = (values.loss_CT * weights_CT).sum()
        # Not part.backward(): that would add to `.grad`, where the contributions of the roles could not be told apart.
        parameters = list(self._adapters.parameters[policy].values())
        slope_CT, *gradients = torch.autograd.grad(part, [tokens.logprobs_CT, *parameters])
        facts = {name: float((fact_CT * weights_CT).sum()) for name, fact_CT in values.facts.items()}
        rows = slope_CT.double().cpu().numpy()
        slopes = [row[: sample.tokens] for row, (sample, _) in zip(rows, pairs, strict=True)]
        return _Part(flatten(gradients), float(part.detach()), facts, slopes)

    def _tokens(self, policy: str, samples: Sequence[Sample], *, with_base: bool) -> Tokens:
        """Everything that a loss may use of the tokens of these samples."""
        calls = [sample.call for sample in samples]
        base_CT = self._base_logprobs(policy, calls) if with_base else None
        scored = self._score(calls)
        now_CT = scored.logprobs_CT
        old = [sample.old for sample in samples]
        given_CT = pad_values([values or () for values in old], now_CT)
        is_given_C1 = self._column([float(values is not None) for values in old]).bool()
        return Tokens(
            logprobs_CT=now_CT,
            # With a single update the old policy is the current one: the same values without gradient, for which no
            # pass is needed, and with which the ratio is exactly 1.
            old_CT=torch.where(is_given_C1, given_CT, now_CT.detach()),
            sampled_CT=pad_values([call.logprobs for call in calls], now_CT),
            base_CT=base_CT,
            mask_CT=scored.mask_CT,
            advantages_C1=self._column([sample.advantage for sample in samples]),
        )

    @torch.no_grad()
    def _base_logprobs(self, policy: str, calls: Sequence[Call]) -> Tensor:
        """Under the base alone; afterwards `policy` is in use again, before anything is differentiated."""
        with self._adapters.left_out():
            scored = self._score(calls)
        self._adapters.use(policy)
        return scored.logprobs_CT

    def _score(self, calls: Sequence[Call]) -> Scored:
        return self.forward.score(self._adapters.model, calls)

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, device=self._adapters.model.device)[:, None]


class Passed(NamedTuple):
    """A contribution, and the terms of its gradient."""

    contribution: Contribution
    terms: Terms


class _Part(NamedTuple):
    gradient: Tensor
    loss: float
    facts: Mapping[str, float]
    slopes: Sequence[np.ndarray]
