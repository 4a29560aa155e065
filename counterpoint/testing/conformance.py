"""Does a sampler or a learner keep its promises? Run these on one of your own; an AssertionError says what is broken.

    check_sampler(my_sampler, base)
    check_learner(lambda routing: MyLearner(load_my_base(), routing), base)

Each check is a plain function that can also be run alone.
"""

import asyncio
import math
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from counterpoint.algorithms.aggregation import token
from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss, reinforce
from counterpoint.base_model import BaseModel
from counterpoint.chat import Chat
from counterpoint.episode import Call, CallKey
from counterpoint.errors import LearnerError, SamplerError
from counterpoint.learners.base import Gradient, Learner, Source
from counterpoint.policy import Adapter, Routing, digest
from counterpoint.samplers.base import Completion, Request, Sampler
from counterpoint.testing.reference import dot, plain_gradient, plain_logprobs
from counterpoint.testing.tiny import tiny_adapters, tiny_calls, tiny_prompts, tiny_samples

MakeLearner = Callable[[Routing], Learner]
"""A new learner for this routing, every policy at the base; called several times."""

LOGPROB_TOLERANCE = 1e-4
"""Nats a token."""
GRADIENT_TOLERANCE = 1e-5
"""Relative to the norm."""

SHARED = Routing({"writer": "both", "critic": "both"})
ISOLATED = Routing({"writer": "left", "critic": "right"})
_LOSS = Loss(reinforce, token)
_POLICIES = ("one", "two")


def check_sampler(sampler: Sampler, base: BaseModel, *, tolerance: float = LOGPROB_TOLERANCE) -> None:
    """Every promise of `Sampler`, with `base` as the base it speaks for.

    `base.model` is compared with: it must have no adapter in it. Policies "one" and "two" are loaded and left behind.
    """

    async def suite() -> None:
        for check in SAMPLER_CHECKS:
            await check(sampler, base, tolerance)

    asyncio.run(suite())


def check_learner(
    make: MakeLearner,
    base: BaseModel,
    *,
    tolerance: float = GRADIENT_TOLERANCE,
    logprob_tolerance: float = LOGPROB_TOLERANCE,
) -> None:
    """Every promise of `Learner`, with learners that `make` makes and a `base` of their own to compare with.

    `base.model` must have no adapter in it, so `make` has to load or copy the base for itself.
    """
    every_policy_starts_as_the_base(make, base, logprob_tolerance)
    logprobs_are_those_of_the_adapter(make, base, logprob_tolerance)
    contributions_are_the_plain_gradients(make, base, tolerance)
    contributions_sum_to_the_joint_gradient(make, base, tolerance)
    backward_leaves_the_weights_alone(make, base)
    only_policies_with_a_contribution_move(make, base)
    zero_advantage_moves_nothing(make, base)
    isolated_policies_do_not_touch_each_other(make, base)
    saving_and_loading_is_exact(make, base)
    learner_digests_are_those_of_its_adapters(make, base)
    learner_refuses_an_unknown_policy(make, base)
    a_gradient_that_is_not_finite_is_refused(make, base)


async def logprobs_are_those_of_the_weights(sampler: Sampler, base: BaseModel, tolerance: float) -> None:
    """Each token's log-probability is what a plain full forward pass with the policy's own adapter gives it."""
    adapters = await _load(sampler, base)
    for temperature in (1.0, 0.6):
        requests = _requests(base.chat, temperature=temperature)
        calls = [_call(*pair) for pair in zip(requests, await _ask(sampler, requests), strict=True)]
        for policy in _POLICIES:
            mine = [call for call in calls if call.policy == policy]
            expected = plain_logprobs(base.model, mine, adapters[policy])
            worst = _largest_difference([call.logprobs for call in mine], expected)
            assert worst <= tolerance, (
                f"policy {policy!r}, temperature {temperature}: a token's log-probability is off by {worst:.3g} nats"
            )
            strangers = plain_logprobs(
                base.model, mine, next(adapters[other] for other in _POLICIES if other != policy)
            )
            assert _largest_difference([call.logprobs for call in mine], strangers) > 100 * tolerance, (
                "the adapters of this check are too much alike to tell whose weights spoke"
            )


async def same_seed_same_tokens(sampler: Sampler, base: BaseModel, tolerance: float) -> None:
    """A completion depends on its request alone: not on what else is asked for, nor on the order."""
    await _load(sampler, base)
    requests = _requests(base.chat)
    first = await _ask(sampler, requests)
    backwards = (await _ask(sampler, requests[::-1]))[::-1]
    alone = [(await _ask(sampler, [request]))[0] for request in requests[:4]]
    for way, others in (("in the other order", backwards), ("alone", alone)):
        for request, one, other in zip(requests, first, others, strict=False):
            assert one.ids == other.ids, f"asked {way}, {request.policy!r} says {other.ids}, before it said {one.ids}"
    other_seeds = await _ask(sampler, [replace(request, seed=request.seed + 1000) for request in requests])
    assert any(one.ids != other.ids for one, other in zip(first, other_seeds, strict=True)), (
        "other seeds give the same tokens"
    )


async def calls_end_where_they_must(sampler: Sampler, base: BaseModel, tolerance: float) -> None:
    """A completion ends with its first stop token, or at `max_tokens`, and says which; it is never empty."""
    await _load(sampler, base)
    requests = _requests(base.chat, count=48)
    for request, completion in zip(requests, await _ask(sampler, requests), strict=True):
        assert completion.ids, "a completion is empty"
        assert len(completion.ids) == len(completion.logprobs), "ids and log-probabilities differ in number"
        assert len(completion.ids) <= request.max_tokens, (
            f"{len(completion.ids)} tokens were given, max_tokens = {request.max_tokens}"
        )
        stops = [place for place, token_id in enumerate(completion.ids) if token_id in base.chat.stop_ids]
        if stops:
            assert stops[0] == len(completion.ids) - 1, "a completion goes on after a stop token"
        else:
            assert len(completion.ids) == request.max_tokens, "a completion ended early, without a stop token"
        expected = "stop" if stops else "length"
        assert completion.finish == expected, f"finish is {completion.finish!r}, it ended by {expected!r}"


async def loading_one_policy_leaves_the_others(sampler: Sampler, base: BaseModel, tolerance: float) -> None:
    """After `load`, exactly the loaded policies speak with the new weights, under the new version."""
    await _load(sampler, base)
    requests = _requests(base.chat)
    before = await _ask(sampler, requests)
    (newer,) = tiny_adapters(base.model, ["one"], version=7, seed=99)
    await sampler.load([newer])
    after = await _ask(sampler, requests)
    changed = 0
    for request, one, other in zip(requests, before, after, strict=True):
        wanted = 7 if request.policy == "one" else 1
        assert other.version == wanted, f"policy {request.policy!r} at version {wanted} answers as {other.version}"
        if request.policy == "two":
            assert (one.ids, one.version) == (other.ids, other.version), "loading policy 'one' changed policy 'two'"
        else:
            changed += one.logprobs != other.logprobs
    assert changed, "policy 'one' speaks as it did before its new weights were loaded"


async def sampler_digests_are_those_of_the_adapters(sampler: Sampler, base: BaseModel, tolerance: float) -> None:
    """`digests` names the weights that were loaded."""
    adapters = await _load(sampler, base)
    for policy, adapter in adapters.items():
        found = sampler.digests().get(policy)
        assert found == _digest(adapter), f"policy {policy!r}: the digest is {found}, of the weights {_digest(adapter)}"


async def sampler_refuses_an_unknown_policy(sampler: Sampler, base: BaseModel, tolerance: float) -> None:
    """A policy that was never loaded is a SamplerError: the base must not speak in its place."""
    await _load(sampler, base)
    request = replace(_requests(base.chat, count=1)[0], policy="nobody")
    refused = None
    try:
        await _ask(sampler, [request])
    except SamplerError as error:
        refused = str(error)
    assert refused is not None, "a policy that was never loaded was answered for"
    assert "nobody" in refused, f"the error does not name the policy: {refused}"


SampleCheck = Callable[[Sampler, BaseModel, float], Awaitable[None]]
SAMPLER_CHECKS: tuple[SampleCheck, ...] = (
    logprobs_are_those_of_the_weights,
    same_seed_same_tokens,
    calls_end_where_they_must,
    loading_one_policy_leaves_the_others,
    sampler_digests_are_those_of_the_adapters,
    sampler_refuses_an_unknown_policy,
)


def every_policy_starts_as_the_base(make: MakeLearner, base: BaseModel, tolerance: float) -> None:
    """Before the first step each policy's log-probabilities are the base's."""
    calls = tiny_calls(base.chat, ISOLATED)
    worst = _largest_difference(make(ISOLATED).logprobs(calls), plain_logprobs(base.model, calls))
    assert worst <= tolerance, f"a new policy is not the base: a log-probability is off by {worst:.3g} nats"


def logprobs_are_those_of_the_adapter(make: MakeLearner, base: BaseModel, tolerance: float) -> None:
    """After some steps the log-probabilities are those of the base with the adapter that `adapters` gives out."""
    learner = _trained(make(ISOLATED), base)
    adapters = {adapter.policy: adapter for adapter in learner.adapters()}
    for temperature in (1.0, 0.6):
        calls = tiny_calls(base.chat, ISOLATED, temperature=temperature)
        found = learner.logprobs(calls)
        for call, row in zip(calls, found, strict=True):
            assert len(row) == len(call.completion_ids), "not one log-probability for each token of a completion"
            worst = _largest_difference([row], plain_logprobs(base.model, [call], adapters[call.policy]))
            assert worst <= tolerance, (
                f"policy {call.policy!r}, temperature {temperature}: a log-probability is off by {worst:.3g} nats"
            )


def contributions_are_the_plain_gradients(make: MakeLearner, base: BaseModel, tolerance: float) -> None:
    """Norms of the contributions, and angles between them, are those of gradients computed the plain way."""
    learner = _trained(make(SHARED), base)
    samples = _samples(base.chat, SHARED)
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
                f"the gradients of {one} and {other}: their inner product is {found:.8g}, it should be {wanted:.8g}"
            )
    weight = math.fsum(contribution.weight for contribution in contributions.values())
    assert abs(weight - 1.0) < 1e-6, f"the weights of the contributions sum to {weight}, not to 1"


def contributions_sum_to_the_joint_gradient(make: MakeLearner, base: BaseModel, tolerance: float) -> None:
    """The roles' contributions to a shared policy add up to what one role that said everything would contribute."""
    learner = _trained(make(SHARED), base)
    samples = _samples(base.chat, SHARED)
    as_one = [replace(s, call=replace(s.call, key=s.call.key._replace(role="writer"))) for s in samples]
    parts = [contribution.gradient for contribution in learner.backward(samples, _LOSS).values()]
    (joint,) = [contribution.gradient for contribution in learner.backward(as_one, _LOSS).values()]
    assert len(parts) == 2, f"two roles were to contribute, {len(parts)} did"
    error = _distance(parts[0].plus(parts[1]), joint) / joint.norm()
    assert error <= tolerance, f"the roles' contributions miss the joint gradient by {error:.3g} of its norm"


def backward_leaves_the_weights_alone(make: MakeLearner, base: BaseModel) -> None:
    """`backward` and `logprobs` change no weight, and give the same result twice."""
    learner = _trained(make(SHARED), base)
    samples = _samples(base.chat, SHARED)
    before = learner.digests()
    once = learner.backward(samples, _LOSS)
    learner.logprobs([sample.call for sample in samples])
    again = learner.backward(samples, _LOSS)
    assert learner.digests() == before, "computing gradients changed weights"
    for source, contribution in once.items():
        difference = _distance(contribution.gradient, again[source].gradient)
        assert difference == 0.0, f"{source}: a second backward gives another gradient, {difference:.3g} away"


def only_policies_with_a_contribution_move(make: MakeLearner, base: BaseModel) -> None:
    """`step` moves the policies that have contributions, all of them, and reports exactly those."""
    learner = _trained(make(ISOLATED), base)
    samples = [sample for sample in _samples(base.chat, ISOLATED) if sample.call.policy == "left"]
    before, versions = learner.digests(), _versions(learner)
    moved = learner.step(learner.backward(samples, _LOSS), step=3)
    after = learner.digests()
    assert set(moved) == {"left"}, f"only policy 'left' had samples, these are said to have moved: {sorted(moved)}"
    assert after["left"] != before["left"], "policy 'left' was trained and has not moved"
    assert after["right"] == before["right"], "policy 'right' had no samples in this step and has moved"
    assert _versions(learner) == {"left": versions["left"] + 1, "right": versions["right"]}, (
        "the version of a policy must grow by one when it moves, and only then"
    )


def zero_advantage_moves_nothing(make: MakeLearner, base: BaseModel) -> None:
    """Samples without signal, or whose advantages are all 0, move nothing: not even by an optimizer's momentum."""
    learner = _trained(make(SHARED), base)
    before = learner.digests()
    for signal in (False, True):
        samples = [replace(sample, advantage=0.0, signal=signal) for sample in _samples(base.chat, SHARED)]
        moved = learner.step(learner.backward(samples, _LOSS), step=3)
        why = "advantage 0" if signal else "no signal"
        assert learner.digests() == before, f"samples with {why} moved the weights"
        assert not moved, f"samples with {why} are said to have moved {sorted(moved)}"


def isolated_policies_do_not_touch_each_other(make: MakeLearner, base: BaseModel) -> None:
    """A policy's steps are the same, bit for bit, whether or not another policy trains beside it."""
    together, apart = make(ISOLATED), make(ISOLATED)
    for step in (1, 2):
        samples = _samples(base.chat, ISOLATED, seed=step)
        together.step(together.backward(samples, _LOSS), step=step)
        mine = [sample for sample in samples if sample.call.policy == "left"]
        apart.step(apart.backward(mine, _LOSS), step=step)
    assert together.digests()["left"] == apart.digests()["left"], "policy 'left' moves otherwise beside policy 'right'"


def saving_and_loading_is_exact(make: MakeLearner, base: BaseModel) -> None:
    """A learner that loads what another saved has its weights and versions, and goes on exactly as that one does."""
    samples = _samples(base.chat, ISOLATED, seed=3)
    original, other = _trained(make(ISOLATED), base), make(ISOLATED)
    with tempfile.TemporaryDirectory() as folder:
        original.save(Path(folder))
        before = original.digests()
        original.step(original.backward(samples, _LOSS), step=3)
        other.load(Path(folder))
        assert other.digests() == before, "the loaded weights are not those that were saved"
        other.step(other.backward(samples, _LOSS), step=3)
        assert other.digests() == original.digests(), "after loading, the next step goes elsewhere: a state is missing"
        assert _versions(other) == _versions(original), "after loading, versions differ"


def learner_digests_are_those_of_its_adapters(make: MakeLearner, base: BaseModel) -> None:
    """`digests` and `adapters` speak of the same weights, and adapters that were given out do not change."""
    learner = _trained(make(ISOLATED), base)
    adapters = learner.adapters()
    assert {adapter.policy: _digest(adapter) for adapter in adapters} == learner.digests(), (
        "the digests are not those of the adapters"
    )
    given = [_digest(adapter) for adapter in adapters]
    learner.step(learner.backward(_samples(base.chat, ISOLATED), _LOSS), step=3)
    assert [_digest(adapter) for adapter in adapters] == given, "a step changed adapters that were given out before"


def learner_refuses_an_unknown_policy(make: MakeLearner, base: BaseModel) -> None:
    """A call of a policy that the learner does not hold is a LearnerError that names it."""
    call = replace(tiny_calls(base.chat, ISOLATED, count=1)[0], policy="nobody")
    refused = None
    try:
        make(ISOLATED).logprobs([call])
    except LearnerError as error:
        refused = str(error)
    assert refused is not None, "a policy that the learner does not hold was answered for"
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
    assert refused is not None, "a step was taken along a gradient that is not finite"
    assert "both" in refused, f"the error does not name the policy: {refused}"
    assert learner.digests() == before, "a gradient that is not finite changed weights"


async def _load(sampler: Sampler, base: BaseModel) -> dict[str, Adapter]:
    adapters = tiny_adapters(base.model, _POLICIES)
    await sampler.load(adapters)
    return {adapter.policy: adapter for adapter in adapters}


async def _ask(sampler: Sampler, requests: Sequence[Request]) -> list[Completion]:
    with sampler.session() as session:
        return list(await asyncio.gather(*(session.sample(request) for request in requests)))


def _requests(chat: Chat, *, count: int = 16, temperature: float = 1.0) -> list[Request]:
    """Requests that share some prompts and differ in length, policy and seed."""
    prompts = tiny_prompts(chat, 3)
    return [
        Request(
            policy=_POLICIES[index % 2],
            prompt_ids=prompts[index % 3],
            max_tokens=(4, 16, 9, 1)[index % 4],
            temperature=temperature,
            seed=index // 2,
        )
        for index in range(count)
    ]


def _call(request: Request, completion: Completion) -> Call:
    return Call(
        key=CallKey("speaker", 0, 0),
        policy=request.policy,
        version=completion.version,
        messages=(),
        prompt_ids=request.prompt_ids,
        completion_ids=completion.ids,
        logprobs=completion.logprobs,
        text="",
        finish=completion.finish,
        seed=request.seed,
        temperature=request.temperature,
    )


def _samples(chat: Chat, routing: Routing, *, seed: int = 0) -> list[Sample]:
    return tiny_samples(tiny_calls(chat, routing, seed=seed), seed=seed)


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


def _source(sample: Sample) -> Source:
    return Source(sample.call.policy, sample.call.key.role)


def _distance(one: Gradient, other: Gradient) -> float:
    return one.plus(other.scaled(-1.0)).norm()


def _largest_difference(found: Sequence[Sequence[float]], expected: Sequence[Tensor]) -> float:
    """Not a number if one of them is not."""
    differences: list[float] = [
        abs(mine - theirs)
        for row, wanted in zip(found, expected, strict=True)
        for mine, theirs in zip(row, wanted.tolist(), strict=True)
    ]
    return max(differences, key=lambda difference: math.inf if math.isnan(difference) else difference)


def _versions(learner: Learner) -> dict[str, int]:
    return {adapter.policy: adapter.version for adapter in learner.adapters()}


def _digest(adapter: Adapter) -> str:
    return digest((name, tensor.detach().cpu().numpy().tobytes()) for name, tensor in adapter.tensors.items())
