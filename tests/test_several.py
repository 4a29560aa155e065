"""Policies side by side: every row with its own policy's weights, and each policy as it is alone."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from architectures import tiny_model
from torch_build import fresh_model, tiny_base

from counterpoint.adapter import Adapter
from counterpoint.errors import ModelError, SamplerError
from counterpoint.forwards._forest import forest_of
from counterpoint.forwards.adapted import adapted_linear
from counterpoint.forwards.several import OwnWeights, Rows, shared_weight
from counterpoint.samplers import _weights, footprint
from counterpoint.samplers._engine import Engine
from counterpoint.samplers._weights import Beside, Merged
from counterpoint.samplers.base import Request
from counterpoint.testing.tiny import tiny_adapters, tiny_prompts

CPU = torch.device("cpu")
MEMBERS = {
    "even": [0, 0, 0, 1, 1, 1, 2, 2, 2],
    "uneven": [0, 0, 0, 0, 1, 2, 2],
    "nobody's": [0, 0, 2, 2, 2],
    "one row": [1],
    "in turns": [0, 1, 2, 0, 1, 2],
    "mixed": [2, 0, 1, 1, 2, 1, 0],
}
NAMES = ("alto", "bass", "tenor")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


# One layer


@pytest.fixture(params=MEMBERS.values(), ids=MEMBERS.keys())
def members(request):
    return np.array(request.param)


@pytest.fixture
def rows(members):
    found = Rows(3, CPU)
    found.set(members)
    return found


@pytest.mark.parametrize("biased", [True, False])
def test_every_row_is_computed_with_the_weight_of_its_policy(members, rows, biased):
    x, weights, bias = normal(5, len(members)).T, normal(3, 5, 7), normal(7) if biased else None
    wanted = torch.stack([row.double() @ weights[member].double() for row, member in zip(x, members, strict=True)])
    found = OwnWeights(weights, rows)(x, torch.full((7, 5), torch.nan), bias)
    assert torch.allclose(found.double(), wanted + (normal(7).double() if biased else 0.0), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biased", [True, False])
def test_every_row_is_computed_with_the_adapter_of_its_policy(members, rows, biased, dtype):
    x, weight = normal(5, len(members)).to(dtype).T, normal(7, 5).to(dtype)
    bias = normal(7).to(dtype) if biased else None
    adapters = [(normal(2, 5), normal(7, 2), 2.0), None, (normal(4, 5, seed=1), normal(7, 4, seed=1), 0.5)]
    found = shared_weight(adapters, weight, rows)(x, weight, bias)
    assert found.dtype == dtype
    for row, (member, one) in enumerate(zip(members, x, strict=True)):
        a, b, scale = adapters[member] or (torch.zeros(1, 5), torch.zeros(7, 1), 1.0)
        alone, _ = adapted_linear(one[None], weight, bias, a, b, scale)
        assert torch.allclose(found[row].float(), alone[0].float(), atol=1e-5 if dtype == torch.float32 else 0.07)


def test_in_half_precision_small_adapters_side_by_side_are_not_rounded_away():
    rows, rank = Rows(2, CPU), 4
    rows.set(np.repeat([0, 1], 200))
    x, weight = normal(400, 64).bfloat16(), (0.1 * normal(32, 64)).bfloat16()
    a, b = normal(rank, 64) / 8, normal(32, rank) / 2
    found = shared_weight([(a, b, 1e-3), (a, -b, 1e-3)], weight, rows)(x, weight, None)
    added = 1e-3 * (x.double() @ a.double().T @ b.double().T)
    added[200:] *= -1
    moved = found.double() - (x.double() @ weight.double().T).bfloat16().double()
    assert float((moved * added).sum() / added.square().sum()) == pytest.approx(1.0, abs=0.2)


def test_other_rows_than_were_told_are_an_error():
    rows = Rows(2, CPU)
    rows.set(np.array([0, 1]))
    for layer in (
        OwnWeights(normal(2, 5, 7), rows),
        shared_weight([(normal(2, 5), normal(7, 2), 1.0)] * 2, normal(7, 5), rows),
    ):
        with pytest.raises(ModelError, match="other rows than the model"):
            layer(normal(3, 5), normal(7, 5), None)


# A whole engine


def asked(counts, *, longest=24):
    """Requests of each policy, with some equal prompts."""
    prompts = tiny_prompts(tiny_base().chat, 3)
    return [
        Request(
            policy=policy,
            prompt_ids=tuple(one % 60 for one in prompts[number % 3]),
            max_tokens=longest - 3 * (number % 5),
            temperature=1.0 + 0.1 * (number % 2),
            seed=number,
        )
        for policy, count in counts.items()
        for number in range(count)
    ]


def differing(model):
    """An adapter of every policy: of one rank, of another on fewer layers, and none."""
    alto, bass = tiny_adapters(model, NAMES[:2])
    wide = {
        name: torch.cat([one, normal(*one.shape) / 9], dim=0 if "lora_A" in name else 1)
        for place, (name, one) in enumerate(bass.tensors.items())
        if place % 4 < 2
    }
    return [alto, replace(bass, tensors=wide, scale=1.5), Adapter.base("tenor")]


def engine_of(model, *, stops=frozenset(range(0, 259, 25)), weights=Merged, **options):
    engine = Engine(model, stops, weights=weights, **options)
    engine.load(differing(model))
    return engine


def alone(engine, requests):
    """The completions of each policy by itself, in the order of the requests."""
    found = {}
    for policy in NAMES:
        mine = [place for place, one in enumerate(requests) if one.policy == policy]
        found |= dict(zip(mine, engine.compute([requests[place] for place in mine]), strict=True)) if mine else {}
    return [found[place] for place in range(len(requests))]


def assert_alike(found, wanted, *, within=1e-5):
    assert [(one.ids, one.finish, one.version) for one in found] == [
        (one.ids, one.finish, one.version) for one in wanted
    ]
    for one, other in zip(found, wanted, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=within)


@pytest.mark.parametrize(
    "counts", [dict.fromkeys(NAMES, 6), {"alto": 11, "bass": 1, "tenor": 4}, {"tenor": 3, "alto": 5}]
)
@pytest.mark.parametrize(
    ("weights", "kept"), [(Merged, 2**29), (Merged, 0), (Beside, 0)], ids=["merged", "too many to merge", "beside"]
)
def test_policies_side_by_side_say_what_each_says_alone(monkeypatch, weights, kept, counts):
    monkeypatch.setattr(_weights, "MERGED_BYTES", kept)
    model, requests = fresh_model(), asked(counts)
    together = engine_of(model, weights=weights).compute(requests)
    assert_alike(together, alone(engine_of(model, weights=weights), requests))
    assert len({len(one.ids) for one in together}) > 3, "calls should end at different times for this to mean something"
    by_policy = {one.policy: said.ids for one, said in zip(requests, together, strict=True)}
    assert len(set(by_policy.values())) == len(counts)


@pytest.mark.parametrize("weights", [Merged, Beside])
@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
def test_so_they_do_in_models_with_biases_and_transposed_weights(kind, weights):
    model, requests = tiny_model(kind), asked({"alto": 5, "bass": 2, "tenor": 3})
    engine = engine_of(model, weights=weights)
    together = engine.compute(requests)
    assert engine._why_not == ""
    assert_alike(together, alone(engine_of(model, weights=weights), requests))


@pytest.mark.parametrize("limits", [{"max_rows": 4}, {"max_cache_tokens": 300}])
def test_limits_count_over_all_policies(limits):
    model, requests = fresh_model(), asked(dict.fromkeys(NAMES, 5))
    assert_alike(engine_of(model, **limits).compute(requests), engine_of(model).compute(requests))


def test_policies_in_any_order_say_the_same_bit_for_bit():
    model, requests = fresh_model(), asked(dict.fromkeys(NAMES, 5))
    engine = engine_of(model)
    first = engine.compute(requests)
    assert engine.compute(requests[::-1])[::-1] == first == engine_of(model).compute(requests)


@pytest.mark.parametrize("kept", [2**29, 0], ids=["merged", "not merged"])
def test_an_engine_that_has_generated_before_says_what_a_fresh_one_says_bit_for_bit(monkeypatch, kept):
    monkeypatch.setattr(_weights, "MERGED_BYTES", kept)
    model, requests = fresh_model(), asked(dict.fromkeys(NAMES, 4))
    used, fresh = engine_of(model), engine_of(model)
    (other,) = tiny_adapters(model, ["alto"], version=3, seed=9)
    before = used.compute(requests)
    used.compute([one for one in requests if one.policy != "alto"])
    used.compute([one for one in requests if one.policy == "bass"])
    for engine in (used, fresh):
        engine.load([other])
    after = used.compute(requests)
    assert after == fresh.compute(requests)
    changed = {one.policy for one, was, now in zip(requests, before, after, strict=True) if was.ids != now.ids}
    assert changed == {"alto"}


def test_which_policies_came_before_does_not_decide_whether_they_are_merged(monkeypatch):
    """A run that is resumed between two waves would else round the second differently."""
    model, requests = fresh_model(), asked({"bass": 5, "tenor": 3})
    used, fresh = engine_of(model), engine_of(model)
    layers = sum(layer.weight.nbytes for layer in used._weights.layers.values())
    monkeypatch.setattr(_weights, "MERGED_BYTES", 2 * layers)
    used.compute(asked({"alto": 2, "bass": 2}))
    assert used.compute(requests) == fresh.compute(requests)
    kept = used._weights._kept
    assert sum(stack.nbytes for stack in kept._weights_PIO.values()) == 2 * layers
    assert list(kept._adapters) == ["bass", "tenor"]


def interrupted_at(count, monkeypatch):
    """torch.addmm, which is interrupted before it is computed for the time `count`."""
    left, addmm = [count], torch.addmm

    def product(*given, **options):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return addmm(*given, **options)

    monkeypatch.setattr(torch, "addmm", product)


@pytest.mark.parametrize("first", [False, True], ids=["other weights", "the first ones"])
def test_an_interrupt_while_adapters_are_merged_leaves_nothing_half_merged(monkeypatch, first):
    model, requests = fresh_model(), asked(dict.fromkeys(NAMES, 3))
    engine, wanted = engine_of(model), engine_of(model).compute(requests)
    before = differing(model)
    engine.load(before)
    if not first:
        engine.compute(requests)
        engine.load(tiny_adapters(model, ["alto"], version=3, seed=9))
    with monkeypatch.context() as patch:
        interrupted_at(3, patch)
        with pytest.raises(KeyboardInterrupt):
            engine.compute(requests)
    engine.load(before)
    some = [place for place, one in enumerate(requests) if one.policy != "alto"]
    assert_alike(engine.compute([requests[place] for place in some]), [wanted[place] for place in some])
    assert engine.compute(requests) == wanted


def test_the_plan_counts_all_that_is_merged(monkeypatch):
    model = fresh_model()
    engine = engine_of(model)
    layers = engine._weights.layers
    for part in (_weights, footprint):
        monkeypatch.setattr(part, "MERGED_BYTES", 3 * sum(layer.weight.nbytes for layer in layers.values()))
    engine.compute(asked(dict.fromkeys(NAMES, 1)))
    engine.compute(asked({"alto": 1, "tenor": 1}))
    stacks = [*engine._weights._kept._weights_PIO.values(), *(layer.adapter.weights_PIO for layer in layers.values())]
    held = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in stacks}
    base = sum(one.nbytes for one in model.parameters())
    assert sum(held.values()) <= footprint.copies(3, base) - base


def test_a_weight_that_an_interrupt_left_changed_is_restored():
    class Interrupted(set):
        def add(self, name):
            raise KeyboardInterrupt

    model = fresh_model()
    merged, (alto, *_) = Merged(model), differing(model)
    merged._changed = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        merged.use(alto)
    merged._changed = set(merged._changed)
    merged.use(Adapter.base("tenor"))
    base = dict(model.named_parameters())
    assert all(torch.equal(one, base[name]) for name, one in merged.model.named_parameters())


def test_policies_share_no_prompt_and_calls_of_one_policy_do(monkeypatch):
    model, requests, seen = fresh_model(), asked(dict.fromkeys(NAMES[:2], 6)), []
    engine = engine_of(model)
    tell = engine._weights.rows
    monkeypatch.setattr(engine._weights, "rows", lambda members: seen.append(members) or tell(members))
    engine.compute(requests)
    tokens = len(forest_of([one.prompt_ids[:-1] for one in requests]).ids)
    assert np.bincount(seen[0]).tolist() == [tokens, tokens]


def test_an_adapter_of_another_base_is_refused_beside_others():
    model = fresh_model()
    engine = engine_of(model)
    (alto, *_) = differing(model)
    engine.load([replace(alto, tensors={name.replace("q_proj", "z_proj"): one for name, one in alto.tensors.items()})])
    with pytest.raises(SamplerError, match="policy 'alto': its adapter is for another base model"):
        engine.compute(asked(dict.fromkeys(NAMES, 1)))


# Models that cannot


@pytest.mark.parametrize("forward", ["plain", "whole"])
def test_a_forward_that_is_not_packed_computes_one_policy_after_another(caplog, forward):
    model, requests = fresh_model(), asked(dict.fromkeys(NAMES, 3))
    with caplog.at_level(logging.INFO):
        found = engine_of(model, forward=forward).compute(requests)
    assert f"policies generate one after another: the forward '{forward}' computes one policy at a time" in caplog.text
    assert_alike(found, engine_of(model).compute(requests))


class Reversed(torch.nn.Module):
    """A part whose layers are given the rows of the model the other way round."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        return self.part(x.flip(1)).flip(1)


class Doubled(Reversed):
    """A part whose layers are given every row twice."""

    def forward(self, x):
        return self.part(torch.cat([x, x], dim=1))[:, : x.shape[1]]


@pytest.mark.parametrize(("kind", "reason"), [(Reversed, "side by side they differ"), (Doubled, "other rows than")])
def test_a_model_whose_layers_are_given_other_rows_computes_one_policy_after_another(caplog, kind, reason):
    model, requests = fresh_model(), asked(dict.fromkeys(NAMES, 3))
    model.model.layers[0].mlp = kind(model.model.layers[0].mlp)
    with caplog.at_level(logging.INFO):
        engine = engine_of(model)
        found = engine.compute(requests)
    assert engine._forward.name == "packed"
    assert reason in caplog.text
    assert found == alone(engine_of(model), requests)
