"""A suite that never fails proves nothing: each promise is broken here once, and must be missed."""

import asyncio
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from torch_build import fresh_model, tiny_base, tiny_folder

from counterpoint.adapter import Adapter
from counterpoint.learners.base import NO_RATES
from counterpoint.learners.gradient import FlatGradient
from counterpoint.learners.peft import Peft
from counterpoint.samplers import _picking
from counterpoint.samplers._engine import Engine
from counterpoint.samplers.in_process import InProcess
from counterpoint.testing import learner_conformance as learners
from counterpoint.testing import sampler_conformance as samplers
from counterpoint.testing.tiny import tiny_config

BASE = tiny_base()


class ForgetsTemperature(Engine):
    def compute(self, requests):
        return super().compute([replace(request, temperature=1.0) for request in requests])


class LeavesOutTheUnlikely(Engine):
    """Draws from the likeliest tokens that have 95 % together; the log-probabilities are those of all tokens."""

    def compute(self, requests):
        with patch.object(_picking, "_pick", self._pick_likely):
            return super().compute(requests)

    def _pick_likely(self, logits_AV, uniforms_A, draw=_picking._pick):
        sorted_AV, places_AV = torch.sort(logits_AV, descending=True)
        sums_AV = torch.softmax(sorted_AV, -1).cumsum(-1)
        is_likely_AV = torch.zeros_like(logits_AV, dtype=torch.bool)
        is_likely_AV.scatter_(1, places_AV, sums_AV.roll(1, -1).index_fill(-1, torch.tensor([0]), 0.0) < 0.95)
        ids_A, _ = draw(logits_AV.masked_fill(~is_likely_AV, -torch.inf), uniforms_A)
        return ids_A, torch.log_softmax(logits_AV, -1).gather(-1, ids_A[:, None])[:, 0]


class DrawsAtTemperatureOne(Engine):
    """Tells the log-probabilities at the temperature of the request."""

    def compute(self, requests):
        temperatures = {request.temperature for request in requests}
        with patch.object(_picking, "_pick", lambda *given: self._pick_warm(*given, max(temperatures))):
            return super().compute(requests)

    def _pick_warm(self, logits_AV, uniforms_A, temperature, draw=_picking._pick):
        ids_A, _ = draw(logits_AV * temperature, uniforms_A)
        return ids_A, torch.log_softmax(logits_AV, -1).gather(-1, ids_A[:, None])[:, 0]


class SpeaksAsTheFirst(Engine):
    def _adapters_of(self, policies):
        return super()._adapters_of(["one" if policy == "two" else policy for policy in policies])


class SeedsByPlace(Engine):
    def compute(self, requests):
        return super().compute([replace(request, seed=place) for place, request in enumerate(requests)])


class IgnoresSeeds(Engine):
    def compute(self, requests):
        return super().compute([replace(request, seed=1) for request in requests])


class NeverStops(Engine):
    def __init__(self, model, stop_ids):
        super().__init__(model, frozenset({10_000}))


class StopsTooSoon(Engine):
    def __init__(self, model, stop_ids):
        super().__init__(model, stop_ids | set(range(200)))


class AlwaysSaysStop(Engine):
    def compute(self, requests):
        return [replace(completion, finish="stop") for completion in super().compute(requests)]


class KeepsItsVersion(Engine):
    def compute(self, requests):
        return [replace(completion, version=1) for completion in super().compute(requests)]


class KeepsItsWeights(Engine):
    """Takes the merged weights of a policy that was loaded again for the new ones."""

    def _use(self, adapters):
        known = self.__dict__.setdefault("first", {})
        super()._use([known.setdefault(adapter.policy, adapter) for adapter in adapters])


class LoadsNoEmptyAdapter(Engine):
    def load(self, adapters):
        super().load([adapter for adapter in adapters if adapter.tensors])


class NamesNothing(Engine):
    def digests(self):
        return {}


class LetsTheBaseSpeak(Engine):
    def _adapters_of(self, policies):
        return [self._adapters.get(policy) or Adapter.base(policy) for policy in policies]


class ScoresTheBase(Engine):
    def logprobs(self, calls, *, base=False):
        return super().logprobs(calls, base=True)


class ScoresNoBase(Engine):
    def logprobs(self, calls, *, base=False):
        return super().logprobs(calls)


class StaysAsItScored(Engine):
    """Goes on with the base after it has scored."""

    def logprobs(self, calls, *, base=False):
        found = super().logprobs(calls, base=base)
        self._use = lambda adapters: Engine._use(self, [Adapter.base(adapter.policy) for adapter in adapters])
        return found if base else super().logprobs(calls)


@pytest.mark.parametrize(
    ("engine", "check", "message"),
    [
        (ForgetsTemperature, samplers.logprobs_are_those_of_the_weights, "temperature 0.6: .* is off by"),
        (
            SpeaksAsTheFirst,
            samplers.logprobs_are_those_of_the_weights,
            "policy 'two', temperature 1.0: .* is off by",
        ),
        (LeavesOutTheUnlikely, samplers.tokens_are_drawn_from_the_distribution, "are more likely than tokens"),
        (DrawsAtTemperatureOne, samplers.tokens_are_drawn_from_the_distribution, "are less likely than tokens"),
        (SeedsByPlace, samplers.same_seed_same_tokens, "instead of"),
        (IgnoresSeeds, samplers.same_seed_same_tokens, "other seeds give the same tokens"),
        (NeverStops, samplers.calls_end_where_they_must, "continues after a stop token"),
        (StopsTooSoon, samplers.calls_end_where_they_must, "ended early, without a stop token"),
        (AlwaysSaysStop, samplers.calls_end_where_they_must, "finish is 'stop' instead of 'length'"),
        (KeepsItsVersion, samplers.loading_one_policy_leaves_the_others, "reports version 1 instead of 7"),
        (KeepsItsWeights, samplers.loading_one_policy_leaves_the_others, "still generates with the weights"),
        (LoadsNoEmptyAdapter, samplers.without_an_adapter_the_base_speaks, "has no adapter: .* is off by"),
        (NamesNothing, samplers.sampler_digests_are_those_of_the_adapters, "the digest is None"),
        (LetsTheBaseSpeak, samplers.sampler_refuses_an_unknown_policy, "never loaded was served"),
        (ScoresTheBase, samplers.scores_are_those_of_the_weights, "scored under policy 'one', .* is off by"),
        (ScoresNoBase, samplers.scores_are_those_of_the_weights, "scored under the base, .* is off by"),
        (StaysAsItScored, samplers.scores_are_those_of_the_weights, "(is off by|after tokens were scored)"),
    ],
)
def test_a_sampler_that_breaks_a_promise_is_caught(engine, check, message):
    with pytest.raises(AssertionError, match=message):
        asyncio.run(check(InProcess(engine(BASE.model, BASE.chat.stop_ids)), BASE, 1e-4))


class StartsElsewhere(Peft):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        with torch.no_grad():
            for parameters in self._parameters.values():
                for parameter in parameters.values():
                    parameter.add_(0.01)


class ComputesAtTemperatureOne(Peft):
    def logprobs(self, calls):
        return super().logprobs([replace(call, temperature=1.0) for call in calls])


class KeepsWhatItWasLent(Peft):
    def logprobs_with(self, adapter, calls):
        with self._adapters.lent(adapter):
            lent = [replace(one) for one in super().adapters() if one.policy == adapter.policy]
        for name, parameter in self._parameters[adapter.policy].items():
            parameter.data.copy_(lent[0].tensors[name])
        return self.logprobs(calls)


class LendsNothing(Peft):
    def logprobs_with(self, adapter, calls):
        return self.logprobs(calls)


class LearnsAtTemperatureOne(Peft):
    def backward(self, samples, loss, **options):
        plain = [replace(sample, call=replace(sample.call, temperature=1.0)) for sample in samples]
        return super().backward(plain, loss, **options)


class TellsTheGain(Peft):
    def backward(self, samples, loss, **options):
        found = super().backward(samples, loss, **options)
        return {source: one._replace(loss=-one.loss) for source, one in found.items()}


class GoesUp(Peft):
    def step(self, contributions, rates=NO_RATES, *, step):
        turned = {source: one._replace(gradient=one.gradient.scaled(-1.0)) for source, one in contributions.items()}
        return super().step(turned, rates, step=step)


class TellsTheSquare(Peft):
    def step(self, contributions, rates=NO_RATES, *, step):
        moved = super().step(contributions, rates, step=step)
        return {policy: replace(one, change=one.change**2) for policy, one in moved.items()} if step == 3 else moved


class TellsTheClipped(Peft):
    def step(self, contributions, rates=NO_RATES, *, step):
        moved = super().step(contributions, rates, step=step)
        return {policy: replace(one, norm=min(one.norm, 0.1)) for policy, one in moved.items()}


class AveragesEachRoleAlone(Peft):
    """Denominators over the role instead of the policy's whole update."""

    def backward(self, samples, loss, **options):
        found = {}
        for role in {sample.call.key.role for sample in samples}:
            found |= super().backward([sample for sample in samples if sample.call.key.role == role], loss, **options)
        return found


class LosesTheLastSlot(Peft):
    def backward(self, samples, loss, **options):
        return super().backward(
            [s if s.call.key.slot == 0 else replace(s, advantage=0.0) for s in samples], loss, **options
        )


class MistakesASlotForAnother(Peft):
    def backward(self, samples, loss, **options):
        found = super().backward(samples, loss, **options)
        return {source: one._replace(slots=dict.fromkeys(one.slots, one.gradient)) for source, one in found.items()}


class TakesTheAdapterForTheBase(Peft):
    def base_logprobs(self, calls):
        return self.logprobs(calls)


class LeavesTheAdapterOff(Peft):
    def base_logprobs(self, calls):
        self._adapters._peft.base_model.disable_adapter_layers()
        with torch.no_grad():
            return self._passes.scored(calls)


class LosesAStray(Peft):
    """Drops the last sample of a role, if there is more than one role."""

    def backward(self, samples, loss, **options):
        roles = {sample.call.key.role for sample in samples}
        return super().backward(samples if len(roles) == 1 else samples[:-1], loss, **options)


class MovesWhileComputing(Peft):
    def backward(self, samples, loss, **options):
        found = super().backward(samples, loss, **options)
        super().step(found, step=1)
        return found


class ForgetsToMove(Peft):
    def step(self, contributions, rates=NO_RATES, *, step):
        moved = super().step({}, step=step)
        return moved | dict.fromkeys((source.policy for source in contributions), None)


class MovesEverybody(Peft):
    """One optimizer step for all policies, with zeros for those without a gradient."""

    def step(self, contributions, rates=NO_RATES, *, step):
        moved = super().step(contributions, step=step)
        for policy, optimizer in self._optimizers.adamw.items():
            if policy not in moved:
                for parameter in self._parameters[policy].values():
                    parameter.grad = torch.zeros_like(parameter)
                optimizer.step()
        return moved


class ClipsAllPoliciesTogether(Peft):
    def step(self, contributions, rates=NO_RATES, *, step):
        norm = sum(contribution.gradient.norm() for contribution in contributions.values())
        return super().step(
            {
                source: one._replace(gradient=one.gradient.scaled(min(1.0, 0.01 / norm)))
                for source, one in contributions.items()
            },
            step=step,
        )


class IgnoresRates(Peft):
    def step(self, contributions, rates=NO_RATES, *, step):
        return super().step(contributions, step=step)


class SlowsEverybody(Peft):
    def step(self, contributions, rates=NO_RATES, *, step):
        return super().step(contributions, dict.fromkeys(self._parameters, min(rates.values(), default=1.0)), step=step)


class ForgetsItsMoments(Peft):
    def load(self, folder):
        super().load(folder)
        for optimizer in self._optimizers.adamw.values():
            optimizer.state.clear()


class ForgetsItsVersions(Peft):
    def load(self, folder):
        super().load(folder)
        self._optimizers.versions = dict.fromkeys(self._parameters, 0)


class LendsItsWeights(Peft):
    def adapters(self):
        return [replace(one, tensors=self._parameters[one.policy]) for one in super().adapters()]


class AnswersForAnybody(Peft):
    def logprobs(self, calls):
        return super().logprobs([c if c.policy in self._parameters else replace(c, policy="left") for c in calls])


class StepsIntoTheUnknown(Peft):
    def step(self, contributions, rates=NO_RATES, *, step):
        finite = {
            source: one._replace(gradient=FlatGradient(torch.nan_to_num(one.gradient.vector())))
            for source, one in contributions.items()
        }
        return super().step(finite, rates, step=step)


@pytest.mark.parametrize(
    ("learner", "check", "message"),
    [
        (StartsElsewhere, learners.every_policy_starts_as_the_base, "a new policy differs from the base"),
        (
            ComputesAtTemperatureOne,
            learners.logprobs_are_those_of_the_adapter,
            "temperature 0.6: .* is off by",
        ),
        (KeepsWhatItWasLent, learners.logprobs_with_an_adapter_are_those_of_it, "changed a policy's own"),
        (LendsNothing, learners.logprobs_with_an_adapter_are_those_of_it, "with given weights .* is off by"),
        (LearnsAtTemperatureOne, learners.contributions_are_the_plain_gradients, "their inner product is"),
        (TellsTheGain, learners.losses_are_the_plain_losses, "its loss is"),
        (GoesUp, learners.a_step_lowers_the_loss, "raised the loss of its samples"),
        (TellsTheSquare, learners.a_step_tells_what_it_did, "the norm of the change"),
        (TellsTheClipped, learners.a_step_tells_what_it_did, "the norm of the joint gradient"),
        (AveragesEachRoleAlone, learners.contributions_are_the_plain_gradients, "their inner product is"),
        (LosesTheLastSlot, learners.contributions_are_the_plain_gradients, "their inner product is"),
        (AveragesEachRoleAlone, learners.contributions_sum_to_the_joint_gradient, "differs from the joint gradient"),
        (LosesAStray, learners.contributions_sum_to_the_joint_gradient, "differs from the joint gradient"),
        (MistakesASlotForAnother, learners.slots_kept_apart_sum_to_their_role, "sum of its slots is off"),
        (TakesTheAdapterForTheBase, learners.base_logprobs_are_those_of_the_base, "of the base is off"),
        (LeavesTheAdapterOff, learners.base_logprobs_are_those_of_the_base, "changed those of a policy"),
        (
            MovesWhileComputing,
            learners.backward_leaves_the_weights_alone,
            "computing gradients changed weights",
        ),
        (ForgetsToMove, learners.only_policies_with_a_contribution_move, "was trained and has not changed"),
        (
            MovesEverybody,
            learners.only_policies_with_a_contribution_move,
            "had no samples in this step and has changed",
        ),
        (IgnoresRates, learners.rates_multiply_the_learning_rate, "multiplies the learning rate by 1"),
        (SlowsEverybody, learners.rates_multiply_the_learning_rate, "changed policy 'right'"),
        (MovesEverybody, learners.zero_advantage_moves_nothing, "samples with no signal changed the weights"),
        (
            ClipsAllPoliciesTogether,
            learners.isolated_policies_do_not_touch_each_other,
            "changes differently when",
        ),
        (ForgetsItsMoments, learners.saving_and_loading_is_exact, "some state was not saved"),
        (ForgetsItsVersions, learners.saving_and_loading_is_exact, "versions differ"),
        (
            LendsItsWeights,
            learners.learner_digests_are_those_of_its_adapters,
            "adapters that had already been returned",
        ),
        (AnswersForAnybody, learners.learner_refuses_an_unknown_policy, "were returned for a policy"),
        (StepsIntoTheUnknown, learners.a_gradient_that_is_not_finite_is_refused, "not finite"),
    ],
)
def test_a_learner_that_breaks_a_promise_is_caught(learner, check, message):
    config = tiny_config(tiny_folder())
    tolerances = {
        learners.every_policy_starts_as_the_base: (1e-4,),
        learners.logprobs_are_those_of_the_adapter: (1e-4,),
        learners.logprobs_with_an_adapter_are_those_of_it: (1e-4,),
        learners.contributions_are_the_plain_gradients: (1e-5,),
        learners.losses_are_the_plain_losses: (1e-4,),
        learners.contributions_sum_to_the_joint_gradient: (1e-5,),
        learners.slots_kept_apart_sum_to_their_role: (1e-5,),
        learners.base_logprobs_are_those_of_the_base: (1e-4,),
    }
    with pytest.raises(AssertionError, match=message):
        check(lambda routing: learner(fresh_model(), routing.policies, config), BASE, *tolerances.get(check, ()))
