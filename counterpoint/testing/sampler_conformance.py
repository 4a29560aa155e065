"""The conformance suite of samplers. Run it on your own sampler; an AssertionError names the promise that is broken.

    check_sampler(my_sampler, base)

Each check is a plain function that can also be run alone.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from counterpoint.adapter import Adapter
from counterpoint.base_model import BaseModel
from counterpoint.chat import Chat
from counterpoint.episode import Call, CallKey
from counterpoint.errors import SamplerError
from counterpoint.event_loop import run_to_end
from counterpoint.samplers.base import Completion, Request, Sampler, Scorer
from counterpoint.testing.reference import adapter_digest, largest_difference, plain_logprobs, plain_luck
from counterpoint.testing.tiny import tiny_adapters, tiny_prompts

LOGPROB_TOLERANCE = 1e-4
"""Nats per token."""
_POLICIES = ("one", "two")
_DRAWN = 256
"""Calls at each temperature, from whose tokens is told whether they were drawn from the whole distribution."""
_STRANGE = 5.0
"""Standard deviations that chance reaches once in a million times."""


def check_sampler(sampler: Sampler, base: BaseModel, *, tolerance: float = LOGPROB_TOLERANCE) -> None:
    """Check every promise of `Sampler`. Raises AssertionError if one is broken.

    The sampler, whose base is `base`, is compared with `base.model`, which must have no adapter in it. Afterwards the
    policies "one" and "two" remain loaded.
    """

    async def suite() -> None:
        for check in SAMPLER_CHECKS:
            await check(sampler, base, tolerance)

    run_to_end(suite())


async def logprobs_are_those_of_the_weights(sampler: Sampler, base: BaseModel, tolerance: float) -> None:
    """Each token's log-probability is that of a full forward pass with the policy's adapter."""
    adapters = await _load(sampler, base)
    for temperature in (1.0, 0.6):
        requests = _requests(base.chat, temperature=temperature)
        calls = [_call(*pair) for pair in zip(requests, await _ask(sampler, requests), strict=True)]
        for policy in _POLICIES:
            mine = [call for call in calls if call.policy == policy]
            expected = plain_logprobs(base.model, mine, adapters[policy])
            worst = largest_difference([call.logprobs for call in mine], expected)
            assert worst <= tolerance, (
                f"policy {policy!r}, temperature {temperature}: a token's log-probability is off by {worst:.3g} nats"
            )
            strangers = plain_logprobs(
                base.model, mine, next(adapters[other] for other in _POLICIES if other != policy)
            )
            assert largest_difference([call.logprobs for call in mine], strangers) > 100 * tolerance, (
                "the adapters of this check are too much alike to tell whose weights spoke"
            )


async def tokens_are_drawn_from_the_distribution(sampler: Sampler, base: BaseModel, tolerance: float) -> None:
    """Tokens are drawn from the whole distribution, at the temperature.

    A sampler that leaves out unlikely tokens (top-k, top-p) may still tell the log-probabilities of the whole.
    """
    adapters = await _load(sampler, base)
    luck = variance = 0.0
    for temperature in (1.0, 0.6):
        requests = _requests(base.chat, count=_DRAWN, temperature=temperature)
        calls = [_call(*pair) for pair in zip(requests, await _ask(sampler, requests), strict=True)]
        for policy in _POLICIES:
            mine = [call for call in calls if call.policy == policy]
            found = plain_luck(base.model, mine, adapters[policy])
            luck, variance = luck + found[0], variance + found[1]
    strange = abs(luck) / math.sqrt(variance)
    assert strange <= _STRANGE, (
        f"the tokens are {'more' if luck > 0.0 else 'less'} likely than tokens that are drawn from their distribution,"
        f" by {strange:.1f} standard deviations: is there a top-k, a top-p or another temperature?"
    )


async def same_seed_same_tokens(sampler: Sampler, base: BaseModel, tolerance: float) -> None:
    """A completion depends on its request alone: not on other requests, nor on their order."""
    await _load(sampler, base)
    requests = _requests(base.chat)
    first = await _ask(sampler, requests)
    backwards = (await _ask(sampler, requests[::-1]))[::-1]
    alone = [(await _ask(sampler, [request]))[0] for request in requests[:4]]
    for way, others in (("in reverse order", backwards), ("alone", alone)):
        for request, one, other in zip(requests, first, others, strict=False):
            assert one.ids == other.ids, (
                f"requested {way}, {request.policy!r} generates {other.ids} instead of {one.ids}"
            )
    other_seeds = await _ask(sampler, [replace(request, seed=request.seed + 1000) for request in requests])
    assert any(one.ids != other.ids for one, other in zip(first, other_seeds, strict=True)), (
        "other seeds give the same tokens"
    )


async def calls_end_where_they_must(sampler: Sampler, base: BaseModel, tolerance: float) -> None:
    """A completion ends with its first stop token or at `max_tokens`, and `finish` tells which; it is never empty."""
    await _load(sampler, base)
    requests = _requests(base.chat, count=48)
    for request, completion in zip(requests, await _ask(sampler, requests), strict=True):
        assert completion.ids, "a completion is empty"
        assert len(completion.ids) == len(completion.logprobs), "ids and log-probabilities differ in number"
        assert len(completion.ids) <= request.max_tokens, (
            f"a completion has {len(completion.ids)} tokens, but max_tokens = {request.max_tokens}"
        )
        stops = [place for place, token_id in enumerate(completion.ids) if token_id in base.chat.stop_ids]
        if stops:
            assert stops[0] == len(completion.ids) - 1, "a completion continues after a stop token"
        else:
            assert len(completion.ids) == request.max_tokens, "a completion ended early, without a stop token"
        expected = "stop" if stops else "length"
        assert completion.finish == expected, f"finish is {completion.finish!r} instead of {expected!r}"


async def loading_one_policy_leaves_the_others(sampler: Sampler, base: BaseModel, tolerance: float) -> None:
    """After `load`, exactly the loaded policies generate with the new weights and report the new version."""
    await _load(sampler, base)
    requests = _requests(base.chat)
    before = await _ask(sampler, requests)
    (newer,) = tiny_adapters(base.model, ["one"], version=7, seed=99)
    await sampler.load([newer])
    after = await _ask(sampler, requests)
    changed = 0
    for request, one, other in zip(requests, before, after, strict=True):
        wanted = 7 if request.policy == "one" else 1
        assert other.version == wanted, f"policy {request.policy!r} reports version {other.version} instead of {wanted}"
        if request.policy == "two":
            assert (one.ids, one.version) == (other.ids, other.version), "loading policy 'one' changed policy 'two'"
        else:
            changed += one.logprobs != other.logprobs
    assert changed, "policy 'one' still generates with the weights that it had before its new weights were loaded"


async def without_an_adapter_the_base_speaks(sampler: Sampler, base: BaseModel, tolerance: float) -> None:
    """After an adapter without tensors is loaded, its policy generates as the base, whatever it had before."""
    await _load(sampler, base)
    bare = Adapter.base("one")
    await sampler.load([bare])
    requests = [request for request in _requests(base.chat) if request.policy == "one"]
    calls = [_call(*pair) for pair in zip(requests, await _ask(sampler, requests), strict=True)]
    worst = largest_difference([call.logprobs for call in calls], plain_logprobs(base.model, calls))
    assert worst <= tolerance, f"policy 'one' has no adapter: a token's log-probability is off by {worst:.3g} nats"
    assert {call.version for call in calls} == {0}, "a policy without an adapter does not report version 0"
    assert sampler.digests().get("one") == adapter_digest(bare), "the digest is not that of no tensors at all"


async def sampler_digests_are_those_of_the_adapters(sampler: Sampler, base: BaseModel, tolerance: float) -> None:
    """`digests` returns the digests of the loaded weights."""
    adapters = await _load(sampler, base)
    for policy, adapter in adapters.items():
        found = sampler.digests().get(policy)
        assert found == adapter_digest(adapter), (
            f"policy {policy!r}: the digest is {found}, but that of its weights is {adapter_digest(adapter)}"
        )


async def sampler_refuses_an_unknown_policy(sampler: Sampler, base: BaseModel, tolerance: float) -> None:
    """A request for a policy that was never loaded raises SamplerError: the base must not serve it."""
    await _load(sampler, base)
    request = replace(_requests(base.chat, count=1)[0], policy="nobody")
    refused = None
    try:
        await _ask(sampler, [request])
    except SamplerError as error:
        refused = str(error)
    assert refused is not None, "a request for a policy that was never loaded was served"
    assert "nobody" in refused, f"the error does not name the policy: {refused}"


async def scores_are_those_of_the_weights(sampler: Sampler, base: BaseModel, tolerance: float) -> None:
    """If the sampler scores tokens, it does so under its policies' weights, or the base's, and generates as before."""
    if not isinstance(sampler, Scorer):
        return
    adapters = await _load(sampler, base)
    requests = _requests(base.chat)
    said = await _ask(sampler, requests)
    calls = [_call(*pair) for pair in zip(requests, said, strict=True)]
    for of_base in (False, True):
        scores = await sampler.logprobs(calls, base=of_base)
        for policy in _POLICIES:
            mine = [place for place, call in enumerate(calls) if call.policy == policy]
            expected = plain_logprobs(
                base.model, [calls[place] for place in mine], None if of_base else adapters[policy]
            )
            worst = largest_difference([scores[place] for place in mine], expected)
            whose = "the base" if of_base else f"policy {policy!r}"
            assert worst <= tolerance, f"scored under {whose}, a token's log-probability is off by {worst:.3g} nats"
    assert await _ask(sampler, requests) == said, "what is generated is another after tokens were scored"


SampleCheck = Callable[[Sampler, BaseModel, float], Awaitable[None]]
SAMPLER_CHECKS: tuple[SampleCheck, ...] = (
    logprobs_are_those_of_the_weights,
    tokens_are_drawn_from_the_distribution,
    same_seed_same_tokens,
    calls_end_where_they_must,
    loading_one_policy_leaves_the_others,
    without_an_adapter_the_base_speaks,
    sampler_digests_are_those_of_the_adapters,
    sampler_refuses_an_unknown_policy,
    scores_are_those_of_the_weights,
)


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
