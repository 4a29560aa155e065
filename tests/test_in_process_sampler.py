import asyncio
import gc
from collections import Counter
from dataclasses import replace
from weakref import ref

import pytest
import torch
from torch_build import ISOLATED, ROUTING, adapter_of, ask, fresh_model, new_learner, request_of, sampled, tiny_base

from counterpoint.algorithms.aggregation import token
from counterpoint.algorithms.loss import Loss, reinforce
from counterpoint.errors import SamplerError
from counterpoint.samplers._engine import Engine
from counterpoint.samplers._picking import _pick
from counterpoint.samplers.base import Request
from counterpoint.samplers.in_process import InProcess
from counterpoint.testing.reference import plain_logprobs
from counterpoint.testing.sampler_conformance import check_sampler
from counterpoint.testing.tiny import tiny_adapters, tiny_calls, tiny_prompts, tiny_samples

BASE = tiny_base()


def new_sampler(policies=("one", "two"), *, stops=BASE.chat.stop_ids, **options) -> InProcess:
    sampler = InProcess(Engine(BASE.model, stops, **options))
    asyncio.run(sampler.load(tiny_adapters(BASE.model, policies)))
    return sampler


def requests(count: int, *, temperature: float = 1.0, longest: int = 30) -> list[Request]:
    prompts = tiny_prompts(BASE.chat, 4)
    return [
        Request(
            policy="one",
            prompt_ids=prompts[index % 4],
            max_tokens=longest - index % 7,
            temperature=temperature,
            seed=index,
        )
        for index in range(count)
    ]


def test_it_keeps_every_promise_of_a_sampler():
    check_sampler(InProcess(Engine(BASE.model, BASE.chat.stop_ids)), BASE)


def test_log_probabilities_are_the_learners_after_training():
    learner = new_learner(ISOLATED)
    loss = Loss(reinforce, token)
    calls = tiny_calls(BASE.chat, ISOLATED)
    for step in range(1, 7):
        learner.step(learner.backward(tiny_samples(calls, seed=step), loss), step=step)
    sampler = InProcess(Engine(BASE.model, BASE.chat.stop_ids))
    asyncio.run(sampler.load(learner.adapters()))
    spoken = [
        replace(call, completion_ids=completion.ids, logprobs=completion.logprobs)
        for call, completion in zip(calls, sampled(sampler, [request_of(call) for call in calls]), strict=True)
    ]
    trained = [value for row in learner.logprobs(spoken) for value in row]
    untrained = [value for row in plain_logprobs(BASE.model, spoken) for value in row.tolist()]
    sampler_says = [value for call in spoken for value in call.logprobs]
    assert sampler_says == pytest.approx(trained, abs=1e-4)
    assert sampler_says != pytest.approx(untrained, abs=0.1)


def test_the_base_is_the_same_bit_for_bit_after_many_merges():
    model = fresh_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sampler = InProcess(Engine(model, BASE.chat.stop_ids))
    for version in range(20):
        asyncio.run(sampler.load(tiny_adapters(model, ("one", "two"), version=version, seed=version)))
        sampled(sampler, [replace(requests(1)[0], policy=policy) for policy in ("one", "two", "one")])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_policy_speaks_the_same_bit_for_bit_after_others_have_spoken():
    sampler = new_sampler()
    asked = requests(8)
    first = sampled(sampler, asked)
    sampled(sampler, [replace(request, policy="two") for request in asked])
    assert sampled(sampler, asked) == first


def test_a_policy_whose_adapter_is_zero_speaks_as_the_base():
    (adapter,) = tiny_adapters(BASE.model, ["one"])
    zero = replace(adapter, tensors={name: torch.zeros_like(tensor) for name, tensor in adapter.tensors.items()})
    sampler = new_sampler()
    sampled(sampler, requests(1))
    asyncio.run(sampler.load([zero]))
    calls = tiny_calls(BASE.chat, ROUTING)
    completions = sampled(sampler, [replace(request_of(call), policy="one") for call in calls])
    spoken = [replace(call, completion_ids=one.ids) for call, one in zip(calls, completions, strict=True)]
    expected = [value for row in plain_logprobs(BASE.model, spoken) for value in row.tolist()]
    assert [value for one in completions for value in one.logprobs] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("max_rows", [1, 5])
def test_dropping_finished_rows_changes_nothing(max_rows):
    asked = requests(40)
    together, apart = sampled(new_sampler(), asked), sampled(new_sampler(max_rows=max_rows), asked)
    lengths = {len(completion.ids) for completion in together}
    assert len(lengths) > 5, "rows should finish at different times for this test to mean something"
    for one, other in zip(together, apart, strict=True):
        assert (one.ids, one.finish) == (other.ids, other.finish)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_any_stop_token_ends_a_call_and_is_part_of_it():
    stops = frozenset(range(0, 259, 3))
    completions = sampled(new_sampler(stops=stops), requests(40))
    assert {completion.finish for completion in completions} == {"stop"}
    for completion in completions:
        assert completion.ids[-1] in stops
        assert not stops.intersection(completion.ids[:-1])


def test_without_a_stop_token_the_limit_ends_a_call():
    asked = requests(10)
    completions = sampled(new_sampler(stops=frozenset({10_000})), asked)
    assert [len(completion.ids) for completion in completions] == [request.max_tokens for request in asked]
    assert {completion.finish for completion in completions} == {"length"}


def test_a_stop_token_at_the_limit_counts_as_a_stop():
    asked = [replace(request, max_tokens=1) for request in requests(8)]
    first = [completion.ids[0] for completion in sampled(new_sampler(), asked)]
    again = sampled(new_sampler(stops=frozenset(first)), asked)
    assert {completion.finish for completion in again} == {"stop"}


def test_at_a_very_low_temperature_it_says_the_likeliest_token():
    sampler = new_sampler()
    (adapter, _) = tiny_adapters(BASE.model, ("one", "two"))
    (request, *_) = requests(1, temperature=1e-4, longest=6)
    (completion,) = sampled(sampler, [request])
    call = replace(tiny_calls(BASE.chat, ROUTING, count=1)[0], prompt_ids=request.prompt_ids, temperature=1.0)
    for place, said in enumerate(completion.ids):
        ways = [replace(call, completion_ids=(*completion.ids[:place], other)) for other in range(259)]
        assert (
            max(range(259), key=[row[-1].item() for row in plain_logprobs(BASE.model, ways, adapter)].__getitem__)
            == said
        )


def test_first_tokens_are_as_frequent_as_the_softmax_says():
    count = 6000
    request = replace(requests(1)[0], max_tokens=1)
    completions = sampled(new_sampler(), [replace(request, seed=seed) for seed in range(count)])
    found = Counter(completion.ids[0] for completion in completions)
    (adapter, _) = tiny_adapters(BASE.model, ("one", "two"))
    call = replace(tiny_calls(BASE.chat, ROUTING, count=1)[0], prompt_ids=request.prompt_ids)
    ways = [replace(call, completion_ids=(token_id,)) for token_id in range(259)]
    expected = [count * row.exp().item() for row in plain_logprobs(BASE.model, ways, adapter)]
    common = [token_id for token_id in range(259) if expected[token_id] >= 5]
    statistic = sum((found[one] - expected[one]) ** 2 / expected[one] for one in common)
    assert statistic < len(common) + 5 * (2 * len(common)) ** 0.5


def test_pick_meets_every_probability_exactly_over_evenly_spread_numbers():
    logits = torch.tensor([0.0, 2.0, -1.0, 0.5, -float("inf"), 1.0])
    count = 10_000
    uniforms = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    ids, logprobs = _pick(logits.expand(count, -1), uniforms)
    expected = torch.log_softmax(logits, dim=0)
    for token_id, probability in enumerate(expected.exp().tolist()):
        assert abs(int((ids == token_id).sum()) - count * probability) <= 1.001
    assert torch.equal(logprobs, expected[ids])


@pytest.mark.parametrize("possible", [[0], [3], [7], [2, 5], [0, 7], [1, 2, 3]])
def test_pick_never_takes_a_token_of_probability_zero(possible):
    logits = torch.full((8,), -float("inf"))
    logits[possible] = torch.tensor([0.3 * index for index in range(len(possible))])
    edges = [0.0, 5e-324, 1e-300, 2**-53, 0.5, 1 - 2**-53, 1.0]
    ids, logprobs = _pick(logits.expand(len(edges), -1), torch.tensor(edges, dtype=torch.float64))
    assert set(ids.tolist()) <= set(possible)
    assert ids[0] == min(possible)
    assert ids[-2] == ids[-1] == max(possible)
    assert torch.isfinite(logprobs).all()


def test_an_unknown_policy_is_an_error_that_names_it_and_what_there_is():
    sampler = new_sampler()
    with pytest.raises(SamplerError, match=r"unknown policy 'oen'; did you mean 'one'\? allowed: one, two"):
        sampled(sampler, [replace(requests(1)[0], policy="oen")])


def test_before_anything_is_loaded_nobody_speaks():
    with pytest.raises(SamplerError, match="unknown policy 'one'"):
        sampled(InProcess(Engine(BASE.model, BASE.chat.stop_ids)), requests(1))


def test_a_prompt_of_one_token_is_refused():
    with pytest.raises(SamplerError, match="at least two tokens"):
        sampled(new_sampler(), [replace(requests(1)[0], prompt_ids=(5,))])


def test_where_logits_are_no_numbers_the_policy_is_named():
    (adapter,) = tiny_adapters(BASE.model, ["one"])
    sampler = new_sampler()
    before = sampled(sampler, requests(2))
    asyncio.run(sampler.load([replace(adapter, scale=float("nan"))]))
    with pytest.raises(SamplerError, match="policy 'one': its logits at temperature 1 are no numbers"):
        sampled(sampler, requests(2))
    asyncio.run(sampler.load([adapter]))
    with pytest.raises(SamplerError, match=r"at temperature 1e-40 are no numbers.* the temperature is too small"):
        sampled(sampler, requests(2, temperature=1e-40))
    assert sampled(sampler, requests(2)) == before


def test_after_an_error_it_still_serves():
    sampler = new_sampler()
    before = sampled(sampler, requests(3))
    with pytest.raises(SamplerError):
        sampled(sampler, [replace(requests(1)[0], policy="nobody")])
    assert sampled(sampler, requests(3)) == before


def test_sampling_depends_on_no_global_random_state_and_leaves_it_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = sampled(new_sampler(), requests(4))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert sampled(new_sampler(), requests(4)) == one


def test_the_learners_adapters_are_served_under_their_versions():
    learner = new_learner(ROUTING)
    loss = Loss(reinforce, token)
    sampler = InProcess(Engine(BASE.model, BASE.chat.stop_ids))

    async def versions() -> list[int]:
        seen = []
        for step in (1, 2, 3):
            await sampler.load(learner.adapters())
            seen += [one.version for one in await ask(sampler, [request_of(tiny_calls(BASE.chat, ROUTING)[0])])]
            assert sampler.digests() == learner.digests()
            samples = tiny_samples(tiny_calls(BASE.chat, ROUTING), seed=step)
            learner.step(learner.backward(samples, loss), step=step)
        return seen

    assert asyncio.run(versions()) == [0, 1, 2]
    assert adapter_of(learner, "shared").version == 3


def test_a_policy_that_adapts_fewer_layers_does_not_inherit_anothers():
    one, two = tiny_adapters(BASE.model, ("one", "two"))
    empty = replace(two, tensors={})
    wanted = requests(6)
    fresh = InProcess(Engine(BASE.model, BASE.chat.stop_ids))
    asyncio.run(fresh.load([empty]))
    alone = fresh._compute([replace(request, policy="two") for request in wanted])
    after = InProcess(Engine(BASE.model, BASE.chat.stop_ids))
    asyncio.run(after.load([one, empty]))
    after._compute([replace(request, policy="one") for request in wanted])
    assert after._compute([replace(request, policy="two") for request in wanted]) == alone


def test_a_sampler_that_is_no_longer_used_takes_no_memory():
    sampler = new_sampler()
    sampled(sampler, requests(3))
    engine = ref(sampler._default)
    gc.disable()
    try:
        del sampler
        assert engine() is None, "it waits for a search for garbage"
    finally:
        gc.enable()


def test_an_open_session_keeps_its_sampler():
    async def said():
        with new_sampler_loaded().session() as session:
            return await session.sample(request)

    def new_sampler_loaded():
        sampler = InProcess(Engine(BASE.model, BASE.chat.stop_ids))
        sampler._default.load(tiny_adapters(BASE.model, ("one",)))
        return sampler

    (request,) = requests(1)
    assert asyncio.run(said()).ids
