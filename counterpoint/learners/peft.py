"""Many adapters on one frozen base, with one optimizer each: in one process, or alike in each of several."""

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import groupby
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from counterpoint.adapter import Adapter
from counterpoint.algorithms.base import Sample, in_loss
from counterpoint.algorithms.loss import Loss
from counterpoint.clock import timed
from counterpoint.config import Config
from counterpoint.episode import Call
from counterpoint.errors import AdapterError, LearnerError
from counterpoint.forwards import forward_of
from counterpoint.learners._adapters import Adapters
from counterpoint.learners._checkpointing import checkpoint_layers
from counterpoint.learners._optim import Optimizers
from counterpoint.learners._passes import Passed, Passes
from counterpoint.learners._sharding import shard_layers
from counterpoint.learners._split import Split, Whole, fingerprint
from counterpoint.learners._terms import Terms
from counterpoint.learners.base import NO_RATES, Contribution, Contributions, Moved, Source, added
from counterpoint.policy import Policy


class Peft:
    """LoRA on all linear layers of the base, dropout 0. A policy starts as exactly the base, or as a given adapter."""

    def __init__(
        self,
        model: PreTrainedModel,
        policies: Sequence[Policy],
        config: Config,
        split: Split | None = None,
        *,
        shard_base: bool = False,
    ) -> None:
        """`model` is the frozen base of all `policies`; the adapters are put into it.

        Initial values depend on (seed, policy) alone. With a `split` of several ranks every rank has such a learner,
        and asks the same of it: each computes some of the calls, and all have the same gradients, weights and
        optimizers. With `shard_base` each keeps only its part of the base's layers. Raises LearnerError if an adapter
        to start from does not fit, or if the base cannot be sharded.
        """
        self._settings = {policy.name: config.policy_settings(policy.name) for policy in policies}
        self._adapters = Adapters(model, self._settings, seed=config.run.seed)
        self._parameters = self._adapters.parameters
        forward = forward_of(self._adapters.model, next(iter(self._settings.values())).model.forward)
        if config.learner.gradient_checkpointing:
            checkpoint_layers(self._adapters.model, forward)
        limit = config.learner.max_tokens_per_micro_batch
        split = split or Whole()
        if shard_base:
            adapters = [one for parameters in self._parameters.values() for one in parameters.values()]
            shard_layers(self._adapters.model, forward, adapters, split)
        self._passes = Passes(self._adapters, forward, limit, split, alike=shard_base)
        self._optimizers = Optimizers(self._parameters, self._settings, steps=config.run.steps)

    @property
    def device(self) -> torch.device:
        """The device of the base and of the gradients."""
        return torch.device(self._adapters.model.device)

    def backward(self, samples: Sequence[Sample], loss: Loss, *, slots_apart: bool = False) -> Contributions:
        contributions: dict[Source, Contribution] = {}
        for policy in self._parameters:
            mine = [sample for sample in in_loss(samples) if sample.call.policy == policy]
            if not mine:
                continue
            self._check_trainable(policy, mine)
            # Weights come from all samples of the policy, before they are split by role: only then do the gradients of
            # the roles add up to the gradient of the policy's loss.
            weights = loss.aggregation(mine)
            self._adapters.use(policy)
            for role in dict.fromkeys(sample.call.key.role for sample in mine):
                part = [pair for pair in zip(mine, weights, strict=True) if pair[0].call.key.role == role]
                by_slot = groupby(sorted(part, key=_slot), key=_slot) if slots_apart else [(0, part)]
                own = loss.of(role)
                with timed(f"{policy}/{role}"):
                    slots = {slot: self._passes.contribution(policy, list(pairs), own) for slot, pairs in by_slot}
                contributions[Source(policy, role)] = _together(slots) if slots_apart else _told(slots[0])
        return contributions

    def step(
        self, contributions: Contributions, rates: Mapping[str, float] = NO_RATES, *, step: int
    ) -> dict[str, Moved]:
        moved: dict[str, Moved] = {}
        for policy in self._parameters:
            gradients = [part.gradient for source, part in contributions.items() if source.policy == policy]
            joint = added(gradients) if gradients else None
            if joint is not None and joint.norm() != 0.0:
                moved[policy] = self._optimizers.move(policy, joint, step=step, factor=rates.get(policy, 1.0))
        return moved

    def logprobs(self, calls: Sequence[Call]) -> list[list[float]]:
        found: dict[int, list[float]] = {}
        for policy in dict.fromkeys(call.policy for call in calls):
            mine = [index for index, call in enumerate(calls) if call.policy == policy]
            found |= dict(zip(mine, self._passes.logprobs(policy, [calls[index] for index in mine]), strict=True))
        return [found[index] for index in range(len(calls))]

    def logprobs_with(self, adapter: Adapter, calls: Sequence[Call]) -> list[list[float]]:
        with self._adapters.lent(adapter):
            return self._passes.logprobs(adapter.policy, calls)

    def base_logprobs(self, calls: Sequence[Call]) -> list[list[float]]:
        return self._passes.base_logprobs(calls)

    def adapters(self) -> list[Adapter]:
        return self._adapters.copies(self._optimizers.versions)

    def digests(self, policies: Sequence[str] | None = None) -> dict[str, str]:
        return self._adapters.digests(policies)

    def fingerprints(self) -> dict[str, tuple[int, int]]:
        """Policy -> the fingerprint of its weights, and that of the state of its optimizer."""
        return {
            policy: (fingerprint(list(parameters.values())), fingerprint(self._optimizers.state(policy)))
            for policy, parameters in self._parameters.items()
        }

    def save(self, folder: Path) -> None:
        for adapter in self.adapters():
            adapter.write(folder / adapter.policy)
            self._optimizers.save(adapter.policy, folder / adapter.policy)

    def load(self, folder: Path) -> None:
        for policy in self._parameters:
            place = folder / policy
            try:
                self._adapters.load(policy, place)
                self._optimizers.load(policy, place)
            except (OSError, KeyError, SafetensorError, AdapterError) as error:
                raise LearnerError(f"{place} does not hold policy {policy!r} of this recipe: {error}") from error

    def _check_trainable(self, policy: str, samples: Sequence[Sample]) -> None:
        if not self._settings[policy].trainable:
            raise LearnerError(f"policy {policy!r} is frozen: none of its calls may be in a loss")
        for sample in samples:
            call = sample.call
            if not call.completion_ids or len(call.logprobs) != len(call.completion_ids):
                raise LearnerError(
                    f"policy {policy!r}: a call by {call.key.role} has {len(call.completion_ids)} token ids and"
                    f" {len(call.logprobs)} log-probabilities; a call without one for each token cannot be trained on"
                )


def _slot(pair: tuple[Sample, float]) -> int:
    return pair[0].call.key.slot


def _together(slots: Mapping[int, Passed]) -> Contribution:
    """The contribution whose parts these are.

    Whether it is zero is told by its terms, as where slots are not kept apart: a look must not change what is trained.
    """
    parts = [passed.contribution for passed in slots.values()]
    weight = sum(part.weight for part in parts)
    whole = Contribution(
        gradient=reduce(lambda one, other: one.plus(other), (part.gradient for part in parts)),
        weight=weight,
        loss=sum(part.loss for part in parts),
        facts={name: sum(part.facts[name] * part.weight for part in parts) / weight for name in parts[0].facts},
        slots={slot: _told(passed).gradient for slot, passed in slots.items()},
    )
    return _told(Passed(whole, reduce(Terms.plus, (passed.terms for passed in slots.values()))))


def _told(passed: Passed) -> Contribution:
    """The contribution, whose gradient is exactly zero if its terms cancel."""
    whole, terms = passed
    return whole._replace(gradient=whole.gradient.scaled(0.0)) if terms.cancel() else whole
