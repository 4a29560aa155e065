"""What only a GPU can show: its attention, recorded steps, fused norms, half precision. Skipped where there is none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import micro_run
from torch.nn.functional import linear
from torch_build import ROUTING, fresh_model, tiny_base

from benchmarks import _work
from benchmarks._models import SHAPES, random_model
from benchmarks._sides import Ours
from benchmarks.base import Setting
from counterpoint.errors import ProofError
from counterpoint.forwards import _replay as replay_part
from counterpoint.forwards import forward_of
from counterpoint.forwards._attention import ATTENTION, FlashLayout, ForestLayout, layout_of
from counterpoint.forwards._choice import kernels_of
from counterpoint.forwards._forest import forest_of
from counterpoint.forwards._gather import gathered, places_of
from counterpoint.forwards._hidden import of_forest
from counterpoint.forwards._layers import fuse_layers, is_fused
from counterpoint.forwards.adapted import adapted_linear
from counterpoint.learners.peft import Peft
from counterpoint.policy import Policy
from counterpoint.samplers import _weights
from counterpoint.samplers._engine import Engine
from counterpoint.samplers._weights import Beside, Merged
from counterpoint.samplers.base import Request
from counterpoint.spoken import LARGE, SMALL, agreement, canary, difference, few
from counterpoint.testing.tiny import tiny_adapters, tiny_calls, tiny_prompts

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
SIZE = _work.Size(tasks=4, group=3, prompt=40, completion=30)


def middling(device="cuda"):
    shape = {**SHAPES["tiny-shape"], "vocab_size": 600, "hidden_size": 256, "head_dim": 64, "num_hidden_layers": 4}
    return random_model(shape, device, "bfloat16")


def requests(count=12, most=150, policy="p"):
    prompts = tiny_prompts(tiny_base().chat, 4)
    return [
        Request(policy=policy, prompt_ids=prompts[number % 4], max_tokens=most, temperature=1.0, seed=number)
        for number in range(count)
    ]


def there(adapter):
    return replace(adapter, tensors={name: tensor.to("cuda") for name, tensor in adapter.tensors.items()})


def test_flash_attention_gives_what_tiles_give_and_so_do_its_gradients():
    torch.manual_seed(0)
    shared = list(range(40))
    forest = forest_of([shared + [50 + row] * (5 * row + 1) for row in range(9)] + [[7] * 90, shared])
    values = [torch.randn(len(forest.ids), heads, 64, device="cuda", dtype=torch.bfloat16) for heads in (4, 2, 2)]
    for value in values:
        value.requires_grad_()
    pull = torch.randn(len(forest.ids), 4, 64, device="cuda")
    found = []
    for layout in (FlashLayout, ForestLayout):
        out = layout(forest, torch.device("cuda")).attend(0, *values, 0.2)
        found.append([out, *torch.autograd.grad((out.float() * pull).sum(), values)])
    for one, other in zip(*found, strict=True):
        assert float((one - other).detach().float().norm() / other.detach().float().norm()) < 2e-2


@pytest.mark.parametrize("weights", [Merged, Beside])
@pytest.mark.parametrize("stops", [frozenset(), frozenset(range(0, 259, 30))])
def test_recorded_steps_say_what_steps_as_they_are_say(monkeypatch, stops, weights):
    said = []
    for as_it_is in (10**9, 1):
        monkeypatch.setattr(replay_part, "_WARM_UP", as_it_is)
        engine = Engine(fresh_model().to("cuda"), stops, weights=weights)
        engine.load([there(one) for one in tiny_adapters(fresh_model(), ["p"])])
        said.append(engine.compute(requests()))
    assert [one.ids for one in said[0]] == [one.ids for one in said[1]]
    assert [one.logprobs for one in said[0]] == [one.logprobs for one in said[1]]
    if stops:
        assert len({len(one.ids) for one in said[0]}) > 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_recorded_steps_never_go_on_with_an_adapter_that_was_exchanged(monkeypatch, dtype):
    model = middling() if dtype == "bfloat16" else fresh_model().to("cuda")
    first, other = (there(one) for one in tiny_adapters(model.to("cpu"), ["p", "q"]))
    (second,) = (there(one) for one in tiny_adapters(model, ["p"], version=2, seed=5))
    some = {name: one for name, one in first.tensors.items() if "layers.0." in name}
    narrow = replace(first, version=3, tensors=some)
    model.to("cuda")
    said = []
    for as_it_is in (10**9, 1):
        monkeypatch.setattr(replay_part, "_WARM_UP", as_it_is)
        engine = Engine(model, frozenset())
        engine.load([first, other])
        found = [engine.compute([*requests(most=40), *requests(most=40, policy="q")])]
        for exchanged in (second, narrow, replace(first, version=4)):
            engine.load([exchanged])
            found.append(engine.compute([*requests(most=40, policy="q"), *requests(most=40)]))
        said.append(found)
    assert said[0] == said[1]
    by_version = [[one.ids for one in wave if one.version == version] for wave, version in
                  zip(said[1], (1, 2, 3, 4), strict=True)]  # fmt: skip
    assert by_version[0][:12] == by_version[3] != by_version[1] != by_version[2] != by_version[3]


@pytest.mark.parametrize("rows", [1, 8, 64, 300])
@pytest.mark.parametrize(("inputs", "outputs"), [(1024, 3072), (3072, 1024), (1024, 1024)])
def test_in_half_precision_base_and_adapter_are_rounded_together(rows, inputs, outputs):
    source = torch.Generator("cuda").manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=source, device="cuda")

    x, weight = normal(rows, inputs).bfloat16(), (0.03 * normal(outputs, inputs)).bfloat16()
    a, b = normal(64, inputs) / inputs**0.5, normal(outputs, 64) / 8
    y, between = adapted_linear(x, weight, None, a, b, 1e-3)
    base = x.double() @ weight.double().T
    added = 1e-3 * (between.double() @ b.bfloat16().double().T)
    right = float((y == (base + added.bfloat16().double()).bfloat16()).double().mean())
    moved = y.double() - base.bfloat16().double()
    share = float((moved * added).sum() / added.square().sum())
    none, _ = adapted_linear(x, weight, None, a, torch.zeros_like(b), 1e-3)
    same = float((none == linear(x, weight)).double().mean())
    print(
        f"{rows} x {inputs} -> {outputs}: right {right:.4f}, share {share:.3f}, as the base without adapter {same:.4f}"
    )
    assert right > 0.98
    assert share == pytest.approx(1.0, abs=0.15 if rows > 1 else 0.6)


def sides(forward="packed"):
    """Sampler and learner on one base in half precision."""
    model = middling()
    config = _work.config_for("random", "cuda", "bfloat16", rank=64)
    chosen = config.model.model_copy(update={"forward": forward})
    engine = Engine(model, frozenset(), forward=forward)
    policies = [Policy(name=_work.POLICY, roles=())]
    return engine, Peft(model, policies, config.model_copy(update={"model": chosen}))


def said_by(engine):
    """Calls that the engine generates."""
    asked = _work.requests(SIZE, 600)
    call = tiny_calls(tiny_base().chat, ROUTING, count=1)[0]
    return few(
        [
            replace(call, policy=_work.POLICY, prompt_ids=one.prompt_ids, completion_ids=two.ids, logprobs=two.logprobs)
            for one, two in zip(asked, engine.compute(asked), strict=True)
        ]
    )


@pytest.mark.parametrize("forward", ["packed", "plain"])
@pytest.mark.parametrize("reach", [SMALL, 1e-3, LARGE])
def test_in_half_precision_every_change_is_spoken_however_small(reach, forward):
    engine, learner = sides(forward)
    assert isinstance(engine._weights, Beside)
    adapter = canary(learner.adapters()[0], reach, seed=0)
    engine.load([adapter])
    calls = said_by(engine)
    learned, base = learner.logprobs_with(adapter, calls), learner.base_logprobs(calls)
    spoken, spoken_base = engine.logprobs(calls), engine.logprobs(calls, base=True)
    noise = difference(base, spoken_base)
    found = agreement(spoken, learned, base, noise=noise, sampler_base=spoken_base)
    change = difference(learned, base)
    print(f"{forward}, reach {reach:g}: change {change:.4f} nats, noise {noise:.2g}, {found}, same {spoken == learned}")
    assert noise == 0.0, "the same passes on the same weights"
    assert found is not None
    assert found.correlation > 0.99
    assert found.share == pytest.approx(1.0, abs=0.02)


def test_in_half_precision_a_merged_adapter_is_not_spoken(monkeypatch):
    engine, learner = sides()
    adapter = canary(learner.adapters()[0], SMALL, seed=0)
    engine.load([adapter])
    calls = said_by(engine)
    monkeypatch.setattr(_weights, "_has_half", lambda model: False)
    merged = Engine(middling(), frozenset())
    merged.load([adapter])
    learned, base = learner.logprobs_with(adapter, calls), learner.base_logprobs(calls)
    found = agreement(merged.logprobs(calls), learned, base, noise=0.0, sampler_base=merged.logprobs(calls, base=True))
    assert found.is_less_than(0.9)


def test_in_half_precision_sampler_and_learner_agree_nearly():
    ours = Ours(middling(), Setting(device="cuda"), _work.single(_work.TINY, 600))
    assert ours.engine._forward.name == ours.learner._passes.forward.name == "packed"
    asked = _work.requests(SIZE, 600)
    said = ours.engine.compute(asked)
    call = tiny_calls(tiny_base().chat, ROUTING, count=1)[0]
    calls = [
        replace(call, policy=_work.POLICY, prompt_ids=one.prompt_ids, completion_ids=two.ids, logprobs=two.logprobs)
        for one, two in zip(asked, said, strict=True)
    ]
    apart = [
        abs(mine - theirs)
        for call, own in zip(calls, ours.learner.logprobs(calls), strict=True)
        for mine, theirs in zip(own, call.logprobs, strict=True)
    ]
    assert sum(apart) / len(apart) < 0.02


@pytest.mark.parametrize("number", [torch.float32, torch.bfloat16])
def test_layers_are_computed_by_kernels_of_triton(number):
    model = middling().to(number)
    assert forward_of(model).name == "packed"
    assert is_fused(model.get_decoder())
    assert kernels_of(torch.device("cuda"), number).name == "triton"


def test_layers_by_kernels_are_as_near_to_float32_as_those_of_transformers():
    torch.manual_seed(0)
    forest = forest_of([torch.randint(3, 500, (60,)).tolist() for _ in range(6)] + [[7] * 90, [7] * 40])
    found = {}
    for way in ("float32", "transformers", "kernels"):
        model = middling().to(torch.float32 if way == "float32" else torch.bfloat16)
        model.set_attn_implementation(ATTENTION)
        assert way != "kernels" or fuse_layers(model)
        weights = [one.requires_grad_() for name, one in model.named_parameters() if "proj" in name]
        hidden = of_forest(model, forest, layout_of(forest, model))
        pull = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(1)).to(hidden)
        slopes = torch.autograd.grad(hidden, weights, pull)
        found[way] = torch.cat([one.detach().float().flatten() for one in (hidden, *slopes)])
    apart = {way: float((one - found["float32"]).norm()) for way, one in found.items()}
    assert apart["kernels"] < 1.1 * apart["transformers"]


def test_gradients_of_gathered_rows_are_the_same_bits_every_time():
    places = places_of(np.random.default_rng(0).integers(0, 50, 5000), 60, torch.device("cuda"))
    rows = torch.randn(60, 2, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    pull = torch.randn(5000, 2, 64, device="cuda", dtype=torch.bfloat16)
    found = [torch.autograd.grad(gathered(rows, places), rows, pull)[0] for _ in range(20)]
    assert all(torch.equal(one, found[0]) for one in found)


def test_a_micro_model_is_trained_on_a_gpu_with_the_proofs_of_the_cpu(tmp_path):
    pytest.importorskip("polars")  # with which runs write their episodes
    run = micro_run(tmp_path / "run", model={"path": "micro-medium", "device": "cuda"})
    assert len(run.metric_rows()) == 2
    for row in run.metric_rows():
        assert row["policy/shared/mismatch"] < 1e-4
        assert row["policy/shared/gradient_norm"] > 0


HALF = {"path": "micro-medium", "device": "cuda", "dtype": "bfloat16"}
STUDY = {"sharing": "isolated", "rank": 64, "alpha": 32.0, "learning_rate": 2e-5}


def test_a_run_in_half_precision_speaks_with_every_change(tmp_path):
    pytest.importorskip("polars")
    run = micro_run(
        tmp_path / "run", model=HALF, policies=STUDY, run={"steps": 4, "threads": 1, "proof_tolerance": 2.0}
    )
    numbers = [(name, value) for row in run.metric_rows() for name, value in row.items() if "/spoken_" in name]
    print(numbers, [value for row in run.metric_rows() for name, value in row.items() if name.endswith("/mismatch")])
    assert len(numbers) >= 2 * 2 * 2
    assert all(value == pytest.approx(1.0, abs=0.01) for _, value in numbers)


def test_a_run_whose_sampler_merges_into_half_precision_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(_weights, "_has_half", lambda model: False)
    with pytest.raises(ProofError, match="the sampler does not generate with a small random adapter"):
        micro_run(tmp_path / "run", model=HALF, policies=STUDY, run={"steps": 2, "threads": 1, "proof_tolerance": 2.0})
