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
from counterpoint.learners._split import Split
from counterpoint.learners._terms import Terms, errors_of
from counterpoint.learners.base import Contribution
from counterpoint.learners.gradient import FlatGradient, flatten


class Passes:
    """Passes through a base with adapters, in micro-batches that fit into memory, split over the ranks of a group.

    Every rank is given the same calls, and has the same results.
    """

    def __init__(
        self, adapters: Adapters, forward: Forward, max_tokens: int, split: Split, *, alike: bool = False
    ) -> None:
        """At most `max_tokens` tokens go through the model at once, or one call; fewer once memory ran out.

        With `alike` all ranks make the same number of passes, as a base that is sharded over them needs.
        """
        self._adapters = adapters
        self.forward = forward
        self._budget = Budget(forward, max_tokens, alike=split if alike else None)
        self._split = split

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
        mine = self._split.mine(calls)
        own = [calls[index] for index in mine]
        rows: dict[int, list[float]] = {}
        for batch, scored in self._budget.each(
            own, lambda batch: self._score([own[at] for at in batch]), lambda: self._score([_shortest(calls)])
        ):
            for at, row in zip(batch, scored.logprobs_CT.tolist(), strict=True):
                rows[mine[at]] = row[: len(own[at].completion_ids)]
        found = {index: row for part in self._split.gathered(rows) for index, row in part.items()}
        return [found[index] for index in range(len(calls))]

    def contribution(self, policy: str, pairs: Sequence[tuple[Sample, float]], loss: Loss) -> "Passed":
        """The gradient of sum_i w_i sum_t loss_it over samples i with their weight w_i per token, and its terms.

        `policy` must be in use. Micro-batches and ranks add up: the loss is a plain weighted sum over tokens, whose
        weights were taken over the whole update before it was cut. The terms are those of all ranks, so that all see
        alike whether they cancel.
        """
        samples = [sample for sample, _ in pairs]
        mine = self._split.mine([sample.call for sample in samples])
        own = self._own(policy, [pairs[index] for index in mine], loss, spare=samples)
        total = self._split.summed(own.gradient)
        parts = self._split.gathered((own.loss, own.facts, dict(zip(mine, own.slopes, strict=True))))
        weight = sum(weight * sample.tokens for sample, weight in pairs)
        facts = {name: found / weight for name, found in _sums([facts for _, facts, _ in parts]).items()}
        slopes = {index: row for _, _, rows in parts for index, row in rows.items()}
        errors = errors_of(samples, self._adapters.model.dtype, corrected=loss.corrects)
        terms = Terms(
            tuple(sample.call for sample in samples), tuple(slopes[index] for index in range(len(pairs))), errors
        )
        value = sum(value for value, _, _ in parts)
        return Passed(Contribution(FlatGradient(total), weight, value, facts), terms)

    def _own(
        self, policy: str, pairs: Sequence[tuple[Sample, float]], loss: Loss, *, spare: Sequence[Sample]
    ) -> "_Part":
        """The part of this rank; zero if it has no samples. One of `spare` is what it idles with."""
        parameters = list(self._adapters.parameters[policy].values())
        total = torch.zeros(sum(parameter.numel() for parameter in parameters), device=self._adapters.model.device)
        value, facts = 0.0, list[Mapping[str, float]]()
        slopes: dict[int, np.ndarray] = {}
        for batch, part in self._budget.each(
            [sample.call for sample, _ in pairs],
            lambda batch: self._part(policy, [pairs[at] for at in batch], loss),
            lambda: self._part(policy, [(min(spare, key=lambda one: _length(one.call)), 0.0)], loss),
        ):
            total += part.gradient
            value += part.loss
            facts.append(part.facts)
            slopes |= dict(zip(batch, part.slopes, strict=True))
        return _Part(total, value, _sums(facts), [slopes[at] for at in range(len(pairs))])

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


def _sums(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The sum of every fact."""
    found: dict[str, float] = {}
    for part in parts:
        for name, fact in part.items():
            found[name] = found.get(name, 0.0) + fact
    return found


def _length(call: Call) -> int:
    return len(call.prompt_ids) + len(call.completion_ids)


def _shortest(calls: Sequence[Call]) -> Call:
    return min(calls, key=_length)
