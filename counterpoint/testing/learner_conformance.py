"""The conformance suite of learners. Run it on your own learner; an AssertionError names the promise that is broken.

    check_learner(lambda routing: MyLearner(load_my_base(), routing), base)

Each check is a plain function that can also be run alone.
"""

import functools
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from counterpoint.adapter import Adapter
from counterpoint.algorithms.aggregation import token
from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss, reinforce
from counterpoint.base_model import BaseModel
from counterpoint.chat import Chat
from counterpoint.errors import LearnerError
from counterpoint.learners.base import Gradient, Learner, Source
from counterpoint.policy import Routing
from counterpoint.testing.reference import adapter_digest, dot, largest_difference, plain_gradient, plain_logprobs
from counterpoint.testing.tiny import tiny_calls, tiny_samples

MakeLearner = Callable[[Routing], Learner]
"""Makes a new learner for a routing, with every policy equal to the base; called several times."""

LOGPROB_TOLERANCE = 1e-4
"""Nats per token."""
GRADIENT_TOLERANCE = 1e-5
"""Relative to the gradient's norm."""

SHARED = Routing({"writer": "both", "critic": "both"})
ISOLATED = Routing({"writer": "left", "critic": "right"})
_LOSS = Loss(reinforce, token)
_ELSEWHERE = 0.01
"""By how much weights that are given for a while differ from the policy's own."""
_SMALL = 0.01
"""Euclidean norm of a change of the weights along which the loss is nearly straight."""


def check_learner(
    make: MakeLearner,
    base: BaseModel,
    *,
    tolerance: float = GRADIENT_TOLERANCE,
    logprob_tolerance: float = LOGPROB_TOLERANCE,
) -> None:
    """Check every promise of `Learner`. Raises AssertionError if one is broken.

    The learners that `make` returns are compared with plain computations on `base`. `base.model` must have no adapter
    in it, so `make` must load or copy the base.
    """
    every_policy_starts_as_the_base(make, base, logprob_tolerance)
    logprobs_are_those_of_the_adapter(make, base, logprob_tolerance)
    logprobs_with_an_adapter_are_those_of_it(make, base, logprob_tolerance)
    contributions_are_the_plain_gradients(make, base, tolerance)
    losses_are_the_plain_losses(make, base, logprob_tolerance)
    contributions_sum_to_the_joint_gradient(make, base, tolerance)
    slots_kept_apart_sum_to_their_role(make, base, tolerance)
    base_logprobs_are_those_of_the_base(make, base, logprob_tolerance)
    backward_leaves_the_weights_alone(make, base)
    only_policies_with_a_contribution_move(make, base)
    a_step_lowers_the_loss(make, base)
    a_step_tells_what_it_did(make, base)
    rates_multiply_the_learning_rate(make, base)
    zero_advantage_moves_nothing(make, base)
    calls_that_cancel_move_nothing(make, base)
    isolated_policies_do_not_touch_each_other(make, base)
    saving_and_loading_is_exact(make, base)
    learner_digests_are_those_of_its_adapters(make, base)
    learner_refuses_an_unknown_policy(make, base)
    a_gradient_that_is_not_finite_is_refused(make, base)


def every_policy_starts_as_the_base(make: MakeLearner, base: BaseModel, tolerance: float) -> None:
    """Before the first step each policy's log-probabilities are the base's."""
    calls = tiny_calls(base.chat, ISOLATED)
    worst = largest_difference(make(ISOLATED).logprobs(calls), plain_logprobs(base.model, calls))
    assert worst <= tolerance, f"a new policy differs from the base: a log-probability is off by {worst:.3g} nats"


def logprobs_are_those_of_the_adapter(make: MakeLearner, base: BaseModel, tolerance: float) -> None:
    """After some steps the log-probabilities are those of the base with the adapter that `adapters` returns."""
    learner = _trained(make(ISOLATED), base)
    adapters = {adapter.policy: adapter for adapter in learner.adapters()}
    for temperature in (1.0, 0.6):
        calls = tiny_calls(base.chat, ISOLATED, temperature=temperature)
        found = learner.logprobs(calls)
        for call, row in zip(calls, found, strict=True):
            assert len(row) == len(call.completion_ids), "there must be one log-probability per token of a completion"
            worst = largest_difference([row], plain_logprobs(base.model, [call], adapters[call.policy]))
            assert worst <= tolerance, (
                f"policy {call.policy!r}, temperature {temperature}: a log-probability is off by {worst:.3g} nats"
            )


def logprobs_with_an_adapter_are_those_of_it(make: MakeLearner, base: BaseModel, tolerance: float) -> None:
    """`logprobs_with` gives those of the base with the given weights; afterwards the policy has its own again."""
    learner = _trained(make(ISOLATED), base)
    calls = [call for call in tiny_calls(base.chat, ISOLATED, temperature=0.6) if call.policy == "left"]
    before, digests = learner.logprobs(calls), learner.digests()
    own = next(adapter for adapter in learner.adapters() if adapter.policy == "left")
    given = replace(own, tensors={name: tensor + _ELSEWHERE for name, tensor in own.tensors.items()})
    worst = largest_difference(learner.logprobs_with(given, calls), plain_logprobs(base.model, calls, given))
    assert worst <= tolerance, f"with given weights a log-probability is off by {worst:.3g} nats"
    assert learner.digests() == digests, "computing log-probabilities with given weights changed a policy's own"
    assert learner.logprobs(calls) == before, "after log-probabilities with given weights those of a policy differ"


def contributions_are_the_plain_gradients(make: MakeLearner, base: BaseModel, tolerance: float) -> None:
    """Norms of the contributions, and angles between them, are those of gradients computed by plain autograd."""
    learner = _trained(make(SHARED), base)
    samples = _samples(base.chat, SHARED, temperature=0.6)
    contributions = learner.backward(samples, _LOSS)
    (adapter,) = learner.adapters()
    expected = {
        source: _plain(base, [s for s in samples if _source(s) == source], samples, adapter) for source in contributions
    }
    sources = sorted(contributions)
    assert sources == sorted({_source(sample) for sample in samples}), f"contributions came from {sources}"
    for one in sources:
        for other in sources:
            found = contributions[one].gradient.dot(contributions[other].gradient)
            wanted = dot(expected[one], expected[other])
            scale = math.sqrt(dot(expected[one], expected[one]) * dot(expected[other], expected[other]))
            assert abs(found - wanted) <= 4 * tolerance * scale, (
                f"the gradients of {one} and {other}: their inner product is {found:.8g} instead of {wanted:.8g}"
            )
    weight = math.fsum(contribution.weight for contribution in contributions.values())
    assert abs(weight - 1.0) < 1e-6, f"the weights of the contributions sum to {weight}, not to 1"


def losses_are_the_plain_losses(make: MakeLearner, base: BaseModel, tolerance: float) -> None:
    """The loss of each contribution is the weighted sum over its tokens of advantage times log-probability, negated."""
    learner = _trained(make(SHARED), base)
    samples = _samples(base.chat, SHARED, temperature=0.6)
    (adapter,) = learner.adapters()
    for source, contribution in learner.backward(samples, _LOSS).items():
        mine = [sample for sample in samples if _source(sample) == source]
        wanted = _loss(mine, samples, plain_logprobs(base.model, [sample.call for sample in mine], adapter))
        off = abs(contribution.loss - wanted)
        assert off <= tolerance * max(1.0, abs(wanted)), (
            f"{source}: its loss is {contribution.loss:.8g} instead of {wanted:.8g}"
        )


def contributions_sum_to_the_joint_gradient(make: MakeLearner, base: BaseModel, tolerance: float) -> None:
    """The roles' contributions to a shared policy sum to the contribution of one role with all their samples."""
    learner = _trained(make(SHARED), base)
    samples = _samples(base.chat, SHARED)
    as_one = [replace(s, call=replace(s.call, key=s.call.key._replace(role="writer"))) for s in samples]
    parts = [contribution.gradient for contribution in learner.backward(samples, _LOSS).values()]
    (joint,) = [contribution.gradient for contribution in learner.backward(as_one, _LOSS).values()]
    assert len(parts) == 2, f"two roles have samples, but there are {len(parts)} contributions"
    error = _distance(parts[0].plus(parts[1]), joint) / joint.norm()
    assert error <= tolerance, (
        f"the sum of the roles' contributions differs from the joint gradient by {error:.3g} of its norm"
    )


def slots_kept_apart_sum_to_their_role(make: MakeLearner, base: BaseModel, tolerance: float) -> None:
    """`slots_apart` leaves every contribution unchanged; its slots are those of its calls and sum to it."""
    learner = _trained(make(SHARED), base)
    samples = _samples(base.chat, SHARED)
    for source, whole in learner.backward(samples, _LOSS).items():
        apart = learner.backward(samples, _LOSS, slots_apart=True)[source]
        assert not whole.slots, f"{source}: slot gradients were returned without slots_apart"
        assert set(apart.slots) == {s.call.key.slot for s in samples if _source(s) == source}, (
            f"{source}: its slots are not those of its calls"
        )
        total = functools.reduce(lambda one, other: one.plus(other), apart.slots.values())
        for name, gradient in (("sum of its slots", total), ("contribution", apart.gradient)):
            error = _distance(gradient, whole.gradient) / whole.gradient.norm()
            assert error <= tolerance, f"{source}: with slots apart the {name} is off by {error:.3g} of the norm"
        for name in ("weight", "loss"):
            one, other = getattr(apart, name), getattr(whole, name)
            assert math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6), f"{source}: with slots apart {name} is {one}"


def base_logprobs_are_those_of_the_base(make: MakeLearner, base: BaseModel, tolerance: float) -> None:
    """After some steps `base_logprobs` are still those of the base, and calling it changes no policy."""
    learner = _trained(make(ISOLATED), base)
    calls = tiny_calls(base.chat, ISOLATED, temperature=0.6)
    before = learner.logprobs(calls)
    worst = largest_difference(learner.base_logprobs(calls), plain_logprobs(base.model, calls))
    assert worst <= tolerance, f"a log-probability of the base is off by {worst:.3g} nats"
    assert learner.logprobs(calls) == before, "computing the base's log-probabilities changed those of a policy"


def backward_leaves_the_weights_alone(make: MakeLearner, base: BaseModel) -> None:
    """`backward` and `logprobs` change no weight, and return the same result when repeated."""
    learner = _trained(make(SHARED), base)
    samples = _samples(base.chat, SHARED)
    before = learner.digests()
    once = learner.backward(samples, _LOSS)
    learner.logprobs([sample.call for sample in samples])
    again = learner.backward(samples, _LOSS)
    assert learner.digests() == before, "computing gradients changed weights"
    for source, contribution in once.items():
        difference = _distance(contribution.gradient, again[source].gradient)
        assert difference == 0.0, (
            f"{source}: a second backward returns another gradient; they differ by {difference:.3g}"
        )


def only_policies_with_a_contribution_move(make: MakeLearner, base: BaseModel) -> None:
    """`step` changes exactly the policies that have contributions, and reports exactly those."""
    learner = _trained(make(ISOLATED), base)
    samples = [sample for sample in _samples(base.chat, ISOLATED) if sample.call.policy == "left"]
    before, versions = learner.digests(), _versions(learner)
    moved = learner.step(learner.backward(samples, _LOSS), step=3)
    after = learner.digests()
    assert set(moved) == {"left"}, f"only policy 'left' had samples, but step reports {sorted(moved)}"
    assert after["left"] != before["left"], "policy 'left' was trained and has not changed"
    assert after["right"] == before["right"], "policy 'right' had no samples in this step and has changed"
    assert _versions(learner) == {"left": versions["left"] + 1, "right": versions["right"]}, (
        "the version of a policy must increase by one when the policy changes, and only then"
    )


def a_step_lowers_the_loss(make: MakeLearner, base: BaseModel) -> None:
    """The first step of a policy, if it is small, lowers the loss of the samples that it learns from."""
    samples = _samples(base.chat, SHARED)
    whole, small = make(SHARED), make(SHARED)
    length = whole.step(whole.backward(samples, _LOSS), step=3)["both"].change
    assert length > 0.0, "a policy was trained and has not changed"

    def loss() -> float:
        return _loss(samples, samples, [Tensor(row) for row in small.logprobs([sample.call for sample in samples])])

    before = loss()
    small.step(small.backward(samples, _LOSS), {"both": _SMALL / length}, step=3)
    assert loss() < before, f"a step raised the loss of its samples from {before:.8g} to {loss():.8g}"


def a_step_tells_what_it_did(make: MakeLearner, base: BaseModel) -> None:
    """`step` returns the norm of the joint gradient, and the Euclidean norm of the change of the policy's weights."""
    learner = _trained(make(SHARED), base)
    contributions = learner.backward(_samples(base.chat, SHARED), _LOSS)
    norm = functools.reduce(lambda one, other: one.plus(other), (one.gradient for one in contributions.values())).norm()
    (before,) = learner.adapters()
    moved = learner.step(contributions, step=3)["both"]
    (after,) = learner.adapters()
    change = math.hypot(*(float((after.tensors[name] - old).double().norm()) for name, old in before.tensors.items()))
    for what, found, wanted in (("joint gradient", moved.norm, norm), ("change", moved.change, change)):
        assert math.isclose(found, wanted, rel_tol=1e-3), (
            f"step says that the norm of the {what} is {found:.6g}; it is {wanted:.6g}"
        )


def rates_multiply_the_learning_rate(make: MakeLearner, base: BaseModel) -> None:
    """A rate of 0.5 halves a policy's learning rate, so that it changes less; other policies are unaffected."""
    samples = _samples(base.chat, ISOLATED, seed=3)
    plain, slower = _trained(make(ISOLATED), base), _trained(make(ISOLATED), base)
    whole = plain.step(plain.backward(samples, _LOSS), step=3)
    half = slower.step(slower.backward(samples, _LOSS), {"left": 0.5}, step=3)
    found = half["left"].learning_rate / whole["left"].learning_rate
    assert abs(found - 0.5) < 1e-6, f"a rate of 0.5 multiplies the learning rate by {found:.3g}"
    assert half["left"].change < whole["left"].change, "with half the learning rate a policy changes as much as before"
    assert plain.digests()["right"] == slower.digests()["right"], "a rate for policy 'left' changed policy 'right'"


def zero_advantage_moves_nothing(make: MakeLearner, base: BaseModel) -> None:
    """Samples without signal, or with advantage 0, change nothing: not even through an optimizer's momentum."""
    learner = _trained(make(SHARED), base)
    before = learner.digests()
    for signal in (False, True):
        samples = [replace(sample, advantage=0.0, signal=signal) for sample in _samples(base.chat, SHARED)]
        moved = learner.step(learner.backward(samples, _LOSS), step=3)
        why = "advantage 0" if signal else "no signal"
        assert learner.digests() == before, f"samples with {why} changed the weights"
        assert not moved, f"after samples with {why}, step reports {sorted(moved)}"


def calls_that_cancel_move_nothing(make: MakeLearner, base: BaseModel) -> None:
    """Equal calls with opposite advantages have a gradient of exactly 0, one that is small has not; so do the steps."""
    learner = _trained(make(SHARED), base)
    before = learner.digests()
    first = _samples(base.chat, SHARED)[0]
    opposed = [replace(first, advantage=advantage) for advantage in (1.0, -1.0, -0.5, 0.5)]
    (found,) = learner.backward(opposed, _LOSS).values()
    assert found.gradient.norm() == 0.0, (
        f"equal calls whose advantages add up to 0 have a gradient of norm {found.gradient.norm():.3g}: rounding"
    )
    moved = learner.step(learner.backward(opposed, _LOSS), step=3)
    assert not moved, f"after calls that cancel, step reports {sorted(moved)}"
    assert learner.digests() == before, "calls that cancel changed the weights"
    learner.step(learner.backward([replace(first, advantage=1e-9)], _LOSS), step=3)
    assert learner.digests() != before, "a gradient that is small, but not 0, changed no weight"


def isolated_policies_do_not_touch_each_other(make: MakeLearner, base: BaseModel) -> None:
    """A policy's steps are bit-identical with and without another policy in training."""
    together, apart = make(ISOLATED), make(ISOLATED)
    for step in (1, 2):
        samples = _samples(base.chat, ISOLATED, seed=step)
        together.step(together.backward(samples, _LOSS), step=step)
        mine = [sample for sample in samples if sample.call.policy == "left"]
        apart.step(apart.backward(mine, _LOSS), step=step)
    assert together.digests()["left"] == apart.digests()["left"], (
        "policy 'left' changes differently when policy 'right' is trained too"
    )


def saving_and_loading_is_exact(make: MakeLearner, base: BaseModel) -> None:
    """A learner that loads a checkpoint has the saved weights and versions, and its next step is bit-identical."""
    samples = _samples(base.chat, ISOLATED, seed=3)
    original, other = _trained(make(ISOLATED), base), make(ISOLATED)
    with tempfile.TemporaryDirectory() as folder:
        original.save(Path(folder))
        before = original.digests()
        original.step(original.backward(samples, _LOSS), step=3)
        other.load(Path(folder))
        assert other.digests() == before, "the loaded weights are not those that were saved"
        other.step(other.backward(samples, _LOSS), step=3)
        assert other.digests() == original.digests(), "after loading, the next step differs: some state was not saved"
        assert _versions(other) == _versions(original), "after loading, versions differ"


def learner_digests_are_those_of_its_adapters(make: MakeLearner, base: BaseModel) -> None:
    """`digests` and `adapters` describe the same weights, and adapters already returned do not change."""
    learner = _trained(make(ISOLATED), base)
    adapters = learner.adapters()
    assert {adapter.policy: adapter_digest(adapter) for adapter in adapters} == learner.digests(), (
        "the digests are not those of the adapters"
    )
    given = [adapter_digest(adapter) for adapter in adapters]
    learner.step(learner.backward(_samples(base.chat, ISOLATED), _LOSS), step=3)
    assert [adapter_digest(adapter) for adapter in adapters] == given, (
        "a step changed adapters that had already been returned"
    )


def learner_refuses_an_unknown_policy(make: MakeLearner, base: BaseModel) -> None:
    """A call of a policy that the learner does not hold is a LearnerError that names it."""
    call = replace(tiny_calls(base.chat, ISOLATED, count=1)[0], policy="nobody")
    refused = None
    try:
        make(ISOLATED).logprobs([call])
    except LearnerError as error:
        refused = str(error)
    assert refused is not None, "log-probabilities were returned for a policy that the learner does not hold"
    assert "nobody" in refused, f"the error does not name the policy: {refused}"


def a_gradient_that_is_not_finite_is_refused(make: MakeLearner, base: BaseModel) -> None:
    """A gradient that is not finite is a LearnerError that names the policy; its weights stay as they are."""
    learner = _trained(make(SHARED), base)
    before = learner.digests()
    samples = [replace(sample, advantage=math.nan) for sample in _samples(base.chat, SHARED)]
    refused = None
    try:
        learner.step(learner.backward(samples, _LOSS), step=3)
    except LearnerError as error:
        refused = str(error)
    assert refused is not None, "a step was taken with a gradient that is not finite"
    assert "both" in refused, f"the error does not name the policy: {refused}"
    assert learner.digests() == before, "a gradient that is not finite changed weights"


def _samples(chat: Chat, routing: Routing, *, seed: int = 0, temperature: float = 1.0) -> list[Sample]:
    return tiny_samples(tiny_calls(chat, routing, seed=seed, temperature=temperature), seed=seed)


def _trained(learner: Learner, base: BaseModel) -> Learner:
    """The learner after two steps of all its policies."""
    routing = ISOLATED if set(learner.digests()) == {"left", "right"} else SHARED
    for step in (1, 2):
        learner.step(learner.backward(_samples(base.chat, routing, seed=step), _LOSS), step=step)
    return learner


def _plain(base: BaseModel, part: Sequence[Sample], whole: Sequence[Sample], adapter: Adapter) -> dict[str, Tensor]:
    tokens = sum(len(sample.call.completion_ids) for sample in whole)
    advantages = [sample.advantage for sample in part]
    return plain_gradient(base.model, [s.call for s in part], advantages, [1.0 / tokens] * len(part), adapter)


def _loss(part: Sequence[Sample], whole: Sequence[Sample], logprobs: Sequence[Tensor]) -> float:
    """The part's share of the loss of the whole, by the log-probabilities of the part's tokens."""
    tokens = sum(len(sample.call.completion_ids) for sample in whole)
    summed = (one.advantage * float(row.double().sum()) for one, row in zip(part, logprobs, strict=True))
    return -math.fsum(summed) / tokens


def _source(sample: Sample) -> Source:
    return Source(sample.call.policy, sample.call.key.role)


def _distance(one: Gradient, other: Gradient) -> float:
    return one.plus(other.scaled(-1.0)).norm()


def _versions(learner: Learner) -> dict[str, int]:
    return {adapter.policy: adapter.version for adapter in learner.adapters()}
