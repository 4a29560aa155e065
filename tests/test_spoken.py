"""The change that an adapter makes: what a sampler generates with is what its learner computes, or the run stops."""

import asyncio
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import linear
from torch_build import IN_PROCESS, ISOLATED, fresh_model, sampled, start, tiny_base, tiny_folder, trained

from counterpoint.adapter import Adapter
from counterpoint.algorithms.aggregation import token
from counterpoint.algorithms.loss import Loss, reinforce
from counterpoint.errors import ProofError, SamplerError
from counterpoint.forwards.adapted import adapted_linear
from counterpoint.learners.by_base import ByBase
from counterpoint.learners.peft import Peft
from counterpoint.plan.plan import plan
from counterpoint.recipe import load_config
from counterpoint.samplers import _weights
from counterpoint.samplers._engine import Engine
from counterpoint.samplers._weights import Beside, Merged
from counterpoint.samplers.base import Request
from counterpoint.samplers.by_policy import ByPolicy, scorer_of
from counterpoint.samplers.in_process import InProcess
from counterpoint.samplers.scripted import Scripted
from counterpoint.spoken import LARGE, SMALL, Spoken, agreement, canary, few
from counterpoint.testing.tiny import tiny_adapters, tiny_calls, tiny_config, tiny_prompts, tiny_samples

BASE = tiny_base()
POLICIES = ("soprano", "alto", "conductor")
SHORT = {
    "task": {"validation": 2, "test": 2},
    "rollout": {"tasks_per_step": 2, "group_size": 4, "max_tokens": 8},
    "evaluation": {"every": 10},
    "diagnostics": ["behaviour"],
    "run": {"steps": 3, "save_every": 10, "proof_tolerance": 2.0},
}
STUDY = {
    **SHORT,
    "model": {"dtype": "bfloat16"},
    "policies": {"rank": 64, "alpha": 32.0, "learning_rate": 2e-5},
}
"""The precision and the learning rate of the presets."""


# One agreement of two changes


def rows(*values):
    return [list(values[: len(values) // 2]), list(values[len(values) // 2 :])]


BASE_ROWS = rows(*(-0.1 * place for place in range(10)))
CHANGE = np.array([0.3, -0.2, 0.1, 0.4, -0.5, 0.2, 0.0, -0.1, 0.6, 0.2])


def changed(change):
    return rows(*(np.array([value for row in BASE_ROWS for value in row]) + change))


def test_the_agreement_is_pearsons_correlation_and_the_slope_of_a_regression():
    spoken = np.array([0.2, -0.3, 0.0, 0.5, -0.4, 0.1, 0.1, -0.1, 0.3, 0.4])
    found = agreement(changed(spoken), changed(CHANGE), BASE_ROWS, noise=0.0)
    assert found.correlation == pytest.approx(np.corrcoef(spoken, CHANGE)[0, 1])
    assert found.share == pytest.approx(np.polyfit(CHANGE, spoken, 1)[0])


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.25, 0.5, 0.8, 1.0, 1.25, 2.0, -1.0])
def test_a_change_that_is_scaled_has_that_share(factor):
    found = agreement(changed(factor * CHANGE), changed(CHANGE), BASE_ROWS, noise=0.0)
    assert found.share == pytest.approx(factor, abs=1e-12)
    assert found.correlation == pytest.approx(np.sign(factor))
    assert found.is_less_than(0.9) == (factor != 1.0)


def test_each_side_may_have_a_base_of_its_own():
    elsewhere = [[value - 3.0 for value in row] for row in BASE_ROWS]
    spoken = [[value - 3.0 for value in row] for row in changed(CHANGE)]
    found = agreement(spoken, changed(CHANGE), BASE_ROWS, noise=0.0, sampler_base=elsewhere)
    assert (found.correlation, found.share) == (pytest.approx(1.0), pytest.approx(1.0))


def test_what_cannot_be_told_has_no_agreement():
    assert agreement(changed(CHANGE), changed(CHANGE), BASE_ROWS, noise=0.0) is not None
    assert agreement(changed(CHANGE), changed(CHANGE), BASE_ROWS, noise=0.1) is None, "a tenth of the change at most"
    assert agreement(changed(1e-4 * CHANGE), changed(1e-4 * CHANGE), BASE_ROWS, noise=0.0) is None, "float32 rounds"
    assert agreement(changed(CHANGE), BASE_ROWS, BASE_ROWS, noise=0.0) is None, "the learner holds no change"
    assert agreement([[-1.0] * 7], [[-2.0, -3.0, -1.0] * 2 + [0.0]], [[-1.0] * 7], noise=0.0) is None, "few tokens"
    assert agreement([], [], [], noise=0.0) is None


@pytest.mark.parametrize(
    ("correlation", "share", "less"),
    [
        (1.0, 1.0, False),
        (0.9, 0.9, False),
        (0.95, 1.11, False),
        (0.95, 1.12, True),
        (0.89, 1.0, True),
        (1.0, 0.89, True),
        (0.0, 0.0, True),
        (-1.0, -1.0, True),
        (math.nan, 1.0, True),
        (1.0, math.nan, True),
        (1.0, math.inf, True),
    ],
)
def test_an_agreement_is_enough_if_both_its_numbers_are(correlation, share, less):
    assert Spoken(correlation, share).is_less_than(0.9) is less


def test_few_tokens_of_the_first_calls_are_compared_in_the_learners_order():
    made = tiny_calls(BASE.chat, ISOLATED, count=12)
    long = replace(made[3], completion_ids=tuple(range(90)), logprobs=(-1.0,) * 90)
    assert few([long, *made])[0].completion_ids == tuple(range(64))
    assert len(few([long, *made])) == 1
    assert len(few([long, *made])[0].logprobs) == 64
    silent = replace(made[0], completion_ids=(), logprobs=())
    chosen = few([silent, *made])
    assert 0 < sum(len(call.completion_ids) for call in chosen) < 64 + 9
    assert [call.prompt_ids for call in chosen] == sorted(call.prompt_ids for call in chosen)
    assert few([]) == []


@pytest.mark.parametrize("reach", [LARGE, SMALL])
def test_a_canary_adds_its_reach_to_the_outputs_of_every_layer(reach):
    (adapter,) = tiny_adapters(BASE.model, ["one"], scale=0.5, rank=64)
    made = canary(adapter, reach, seed=1)
    assert made.digest == canary(adapter, reach, seed=1).digest != canary(adapter, reach, seed=2).digest
    for _, a_RI, b_OR in made.layers():
        x_NI = torch.randn(400, a_RI.shape[1], generator=torch.Generator().manual_seed(0))
        added = made.scale * x_NI @ a_RI.T @ b_OR.T
        assert float(added.square().mean().sqrt()) == pytest.approx(reach, rel=0.25)


# One function for both sides, which rounds once


def layer(rows=60, inputs=48, outputs=80):
    source = torch.Generator().manual_seed(0)
    x, weight = torch.randn(rows, inputs, generator=source), 0.2 * torch.randn(outputs, inputs, generator=source)
    a, b = torch.randn(8, inputs, generator=source), torch.randn(outputs, 8, generator=source)
    return x.bfloat16(), weight.bfloat16(), a, b


def test_in_half_precision_an_adapter_far_below_a_grid_step_is_there_on_average():
    x, weight, a, b = layer(rows=2000)
    wanted = 1e-4 * (x.double() @ a.bfloat16().double().T @ b.bfloat16().double().T)
    base = linear(x, weight).double()
    y, _ = adapted_linear(x, weight, None, a, b, 1e-4)
    share = float(((y.double() - base) * wanted).sum() / wanted.square().sum())
    assert share == pytest.approx(1.0, abs=0.1)
    swallowed = linear(x, weight).add(wanted.bfloat16()).double() - base
    assert float((swallowed * wanted).sum() / wanted.square().sum()) < 0.8, "rounded twice, part of it is lost"


def test_in_half_precision_it_is_the_exact_sum_rounded_once():
    x, weight, a, b = layer()
    between = x @ a.bfloat16().T
    added = (0.01 * (between.double() @ b.bfloat16().double().T)).bfloat16()
    exact = (x.double() @ weight.double().T + added.double()).bfloat16()
    y, found = adapted_linear(x, weight, None, a, b, 0.01)
    assert torch.equal(found, between)
    assert float((y == exact).float().mean()) > 0.99


def test_an_adapter_that_is_zero_leaves_the_base_as_it_is_bit_for_bit():
    x, weight, a, b = layer()
    y, _ = adapted_linear(x, weight, None, a, torch.zeros_like(b), 2.0)
    assert torch.equal(y, linear(x, weight))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("with_bias", [False, True])
def test_in_every_precision_it_is_base_plus_adapter(dtype, with_bias):
    x, weight, a, b = (one.to(dtype) for one in layer())
    bias = torch.linspace(-3, 3, len(weight)).to(dtype) if with_bias else None
    y, _ = adapted_linear(x, weight, bias, a, b, 0.5)
    wanted = linear(x.double(), weight.double(), None if bias is None else bias.double())
    wanted += 0.5 * (x.double() @ a.double().T @ b.double().T)
    assert y.dtype == dtype
    assert torch.allclose(y.double(), wanted, rtol=8 * torch.finfo(dtype).eps, atol=40 * torch.finfo(dtype).eps)


# Weights of a sampler


def test_half_precision_is_never_merged():
    half = fresh_model().to(torch.bfloat16)
    with pytest.raises(SamplerError, match="cannot be merged into weights of half precision"):
        Merged(half)
    assert isinstance(Engine(half, frozenset())._weights, Beside)
    assert isinstance(Engine(fresh_model(), frozenset())._weights, Merged)
    mixed = fresh_model()
    mixed.model.layers[1].mlp.up_proj.to(torch.float16)
    assert isinstance(_weights.lossless(mixed), Beside)


def test_beside_a_learner_the_base_is_in_memory_once_and_stays_as_it_is():
    model = fresh_model().to(torch.bfloat16)
    before = {name: value.clone() for name, value in model.named_parameters()}
    engine = Engine(model, BASE.chat.stop_ids)
    learner = Peft(model, ISOLATED.policies, tiny_config(tiny_folder()))
    engine.load(learner.adapters())
    shared = {one.data_ptr() for name, one in learner._adapters.model.named_parameters() if "lora_" not in name}
    assert {one.data_ptr() for one in engine._model.parameters()} == shared
    sampled(InProcess(engine), [Request(**REQUEST, policy=policy, seed=1) for policy in ("writer", "critic")])
    assert {name for name, _ in engine._model.named_parameters()} == set(before)
    assert all(torch.equal(value, before[name]) for name, value in engine._model.named_parameters())


def test_a_dry_run_counts_a_base_of_half_precision_once():
    weights = {
        dtype: plan(load_config("voting_arithmetic", ["policies.sharing=shared", f"model.dtype={dtype!r}"]))
        .memory()
        .lasting
        for dtype in ("float32", "bfloat16")
    }
    name = "bases, for learner and sampler"
    assert weights["float32"][name] == 4 * weights["bfloat16"][name]


REQUEST = {"prompt_ids": tiny_prompts(BASE.chat, 1)[0], "max_tokens": 12, "temperature": 0.7}


def moved(dtype, forward="packed", steps=1):
    """A learner that has taken some small steps, and the sampler beside it."""
    model = fresh_model().to(dtype)
    config = tiny_config(tiny_folder(), {**STUDY, "model": {"forward": forward}})
    engine = Engine(model, BASE.chat.stop_ids, forward=forward)
    learner = Peft(model, ISOLATED.policies, config)
    for step in range(1, steps + 1):
        samples = tiny_samples(tiny_calls(BASE.chat, ISOLATED, seed=step), seed=step)
        learner.step(learner.backward(samples, Loss(reinforce, token)), step=step)
    engine.load(learner.adapters())
    return learner, engine


@pytest.mark.parametrize("forward", ["packed", "plain"])
@pytest.mark.parametrize("steps", [1, 10])
def test_in_half_precision_a_sampler_computes_what_the_learner_computes_bit_for_bit(forward, steps):
    learner, engine = moved(torch.bfloat16, forward, steps)
    for policy in ("writer", "critic"):
        mine = few([call for call in tiny_calls(BASE.chat, ISOLATED, count=40) if call.policy == policy])
        assert engine.logprobs(mine) == learner.logprobs(mine) != learner.base_logprobs(mine)
        assert engine.logprobs(mine, base=True) == learner.base_logprobs(mine)


@pytest.mark.parametrize("steps", [1, 10])
def test_in_single_precision_a_sampler_computes_nearly_what_the_learner_computes(steps):
    learner, engine = moved(torch.float32, steps=steps)
    mine = few([call for call in tiny_calls(BASE.chat, ISOLATED, count=40) if call.policy == "writer"])
    found = agreement(engine.logprobs(mine), learner.logprobs(mine), learner.base_logprobs(mine), noise=0.0)
    assert found.correlation > 0.9999
    assert found.share == pytest.approx(1.0, abs=1e-3)


def test_scoring_leaves_what_is_generated_as_it_is():
    _, engine = moved(torch.bfloat16)
    asked = [Request(**REQUEST, policy="writer", seed=seed) for seed in range(4)]
    before = engine.compute(asked)
    calls = tiny_calls(BASE.chat, ISOLATED)
    engine.logprobs(calls, base=True)
    assert engine.compute(asked) == before
    engine.logprobs(calls)
    assert engine.compute(asked) == before


def test_a_learner_that_was_lent_an_adapter_has_its_own_again_bit_for_bit():
    learner, _ = moved(torch.float32)
    mine = [call for call in tiny_calls(BASE.chat, ISOLATED) if call.policy == "critic"]
    before, own = learner.digests(), learner.logprobs(mine)
    adapter = canary(next(one for one in learner.adapters() if one.policy == "critic"), LARGE, seed=0)
    other = learner.logprobs_with(adapter, mine)
    assert learner.digests() == before
    assert learner.logprobs(mine) == own != other
    assert ByBase([learner]).logprobs_with(adapter, mine) == other
    engine = Engine(fresh_model(), BASE.chat.stop_ids)
    engine.load([adapter])
    for one, two in zip(engine.logprobs(mine), other, strict=True):
        assert one == pytest.approx(two, abs=1e-4)


def test_the_scorer_of_a_policy_is_that_of_its_sampler():
    scoring, scripted = InProcess(Engine(BASE.model, BASE.chat.stop_ids)), Scripted(lambda *_: "no", BASE.chat)
    both = ByPolicy({"one": scoring, "two": scripted})
    assert scorer_of(both, "one") is scoring is scorer_of(scoring, "one")
    assert scorer_of(both, "two") is None is scorer_of(scripted, "two")


# Whole runs


def numbers(run, ending):
    return [value for row in run.metric_rows() for name, value in row.items() if name.endswith(ending)]


@pytest.mark.parametrize("table", [STUDY, {**STUDY, "policies": {**STUDY["policies"], "warmup": 15}}, SHORT])
def test_a_healthy_run_speaks_with_the_whole_of_every_change(tmp_path, table):
    run = trained(start(tmp_path / "run", table))
    assert len(numbers(run, "/spoken_correlation")) >= 3
    assert min(numbers(run, "/spoken_correlation")) > 0.99
    assert numbers(run, "/spoken_share") == pytest.approx([1.0] * len(numbers(run, "/spoken_share")), abs=0.05)
    assert not [name for name in run.metric_rows()[0] if "spoken" in name], "before the first step there is no change"


def test_proofs_change_nothing_but_their_own_numbers(tmp_path):
    proved, bare = (
        trained(start(tmp_path / str(count), {**SHORT, "run": {"steps": 2, "proof_calls": count}})) for count in (4, 0)
    )
    assert proved.checkpoint_state(2)["digests"] == bare.checkpoint_state(2)["digests"]
    kept = [
        [{name: row[name] for name in row if "time/" not in name and "spoken" not in name and "mismatch" not in name}
         for row in run.metric_rows()]
        for run in (proved, bare)
    ]  # fmt: skip
    assert kept[0] == kept[1]
    assert not numbers(bare, "/spoken_share")


class Ignores(InProcess):
    """Holds every adapter and generates with none."""

    def __init__(self, engine, *rest):
        super().__init__(engine, *rest)
        engine._use = lambda adapters: Engine._use(engine, [Adapter.base(adapter.policy) for adapter in adapters])


class Halves(InProcess):
    """Speaks with half of every adapter; digests do not know the scale."""

    async def load(self, adapters):
        await super().load([replace(adapter, scale=adapter.scale / 2) for adapter in adapters])


class Lies(InProcess):
    """Names the weights that it was given, whichever it generates with."""

    loads = 0

    async def load(self, adapters):
        self.loads += 1
        self.claimed = {adapter.policy: adapter.digest for adapter in adapters}
        await self.take(adapters)

    async def take(self, adapters):
        await super().load(adapters)

    def digests(self):
        return self.claimed


class StopsListening(Lies):
    """Takes the canaries and the first weights, and none after."""

    async def take(self, adapters):
        if self.loads <= 3:
            await super().take(adapters)


class OneBehind(Lies):
    """Speaks with the weights of the step before, once training has begun."""

    last = None

    async def take(self, adapters):
        await super().take(self.last if self.loads > 4 else adapters)
        self.last = adapters


class MixesUp(InProcess):
    """Speaks with the soprano's weights when the alto is asked for."""

    def _compute(self, requests):
        return super()._compute([replace(one, policy="soprano") if one.policy == "alto" else one for one in requests])


class IgnoresLater(StopsListening):
    """From the first step on generates with half of every adapter."""

    async def take(self, adapters):
        scale = 1.0 if self.loads <= 3 else 0.5
        await InProcess.load(self, [replace(adapter, scale=scale * adapter.scale) for adapter in adapters])


@pytest.mark.parametrize("table", [STUDY, SHORT], ids=["half", "single"])
@pytest.mark.parametrize(
    ("sampler", "whose"),
    [
        (Ignores, "a random"),
        (Halves, "a random"),
        (MixesUp, "a random"),
        (StopsListening, "its"),
        (OneBehind, "its"),
        (IgnoresLater, "its"),
    ],
)
def test_a_run_stops_if_its_sampler_speaks_with_something_else(tmp_path, monkeypatch, sampler, whose, table):
    monkeypatch.setattr(IN_PROCESS, "InProcess", sampler)
    with pytest.raises(
        ProofError, match=rf"policy '(soprano|alto|conductor)': the sampler does not generate with {whose}"
    ):
        trained(start(tmp_path / "run", table))


def test_a_run_stops_before_its_first_call_if_its_sampler_merges_into_half_precision(tmp_path, monkeypatch):
    monkeypatch.setattr(_weights, "_has_half", lambda model: False)
    with pytest.raises(ProofError, match=r"with a small random adapter .*run.proof_spoken allows 0.9 at least"):
        trained(start(tmp_path / "run", STUDY))
    off = {**STUDY, "run": {**STUDY["run"], "steps": 1, "proof_spoken": 0}}
    assert trained(start(tmp_path / "off", off)).is_finished


class ScoresNothing:
    """A sampler of one's own, which generates and does not score."""

    def __init__(self, inner):
        self.session, self.load, self.digests = inner.session, inner.load, inner.digests


def unscored(sampler):
    return lambda *given: ScoresNothing(sampler(*given))


@pytest.mark.parametrize("sampler", [Ignores, Halves, MixesUp, StopsListening])
def test_what_a_sampler_generates_tells_too_where_it_does_not_score(tmp_path, monkeypatch, sampler):
    monkeypatch.setattr(IN_PROCESS, "InProcess", unscored(sampler))
    with pytest.raises(ProofError, match="the sampler does not generate with"):
        trained(start(tmp_path / "run", SHORT))


def test_a_healthy_sampler_that_does_not_score_is_not_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(IN_PROCESS, "InProcess", unscored(InProcess))
    assert min(numbers(trained(start(tmp_path / "single", SHORT)), "/spoken_correlation")) > 0.99
    assert trained(start(tmp_path / "half", STUDY)).is_finished


def test_a_frozen_policy_with_an_adapter_is_proved_and_one_without_has_no_change(tmp_path):
    (adapter,) = tiny_adapters(BASE.model, ["alto"])
    adapter.write(tmp_path / "alto")
    frozen = {"alto": {"trainable": False, "adapter": str(tmp_path / "alto")}, "conductor": {"trainable": False}}
    run = trained(start(tmp_path / "run", {**SHORT, "policy": frozen}))
    for row in run.metric_rows():
        assert row["policy/alto/spoken_correlation"] > 0.999
        assert "policy/conductor/spoken_correlation" not in row


def test_roles_on_several_bases_are_proved_each_on_its_own(tmp_path):
    table = {**SHORT, "policy": {"alto": {"model": {"dtype": "bfloat16"}}}}
    run = trained(start(tmp_path / "run", table))
    proved = {name for row in run.metric_rows() for name in row if name.endswith("/spoken_share")}
    assert proved == {f"policy/{policy}/spoken_share" for policy in POLICIES}
    assert min(numbers(run, "/spoken_correlation")) > 0.999


def test_no_calls_have_no_scores():
    assert asyncio.run(InProcess(Engine(BASE.model, BASE.chat.stop_ids)).logprobs([])) == []
