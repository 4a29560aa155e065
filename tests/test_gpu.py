"""What only a GPU can show: its attention, recorded steps, fused norms, half precision. Skipped where there is none."""

from dataclasses import replace

import pytest
import torch
from conftest import micro_run
from torch_build import ROUTING, fresh_model, tiny_base

from benchmarks import _work
from benchmarks._models import SHAPES, random_model
from benchmarks._sides import Ours
from benchmarks.base import Setting
from counterpoint.forwards import _replay as replay_part
from counterpoint.forwards import forward_of
from counterpoint.forwards._attention import FlashLayout, ForestLayout
from counterpoint.forwards._forest import forest_of
from counterpoint.samplers._engine import Engine
from counterpoint.samplers.base import Request
from counterpoint.testing.tiny import tiny_adapters, tiny_calls, tiny_prompts

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
SIZE = _work.Size(tasks=4, group=3, prompt=40, completion=30)


def middling(device="cuda"):
    shape = {**SHAPES["tiny-shape"], "vocab_size": 600, "hidden_size": 256, "head_dim": 64, "num_hidden_layers": 4}
    return random_model(shape, device, "bfloat16")


def requests(count=12, most=150):
    prompts = tiny_prompts(tiny_base().chat, 4)
    return [
        Request(policy="p", prompt_ids=prompts[number % 4], max_tokens=most, temperature=1.0, seed=number)
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


@pytest.mark.parametrize("stops", [frozenset(), frozenset(range(0, 259, 30))])
def test_recorded_steps_say_what_steps_as_they_are_say(monkeypatch, stops):
    said = []
    for as_it_is in (10**9, 1):
        monkeypatch.setattr(replay_part, "_WARM_UP", as_it_is)
        engine = Engine(fresh_model().to("cuda"), stops)
        engine.load([there(one) for one in tiny_adapters(fresh_model(), ["p"])])
        said.append(engine.compute(requests()))
    assert [one.ids for one in said[0]] == [one.ids for one in said[1]]
    assert [one.logprobs for one in said[0]] == [one.logprobs for one in said[1]]
    if stops:
        assert len({len(one.ids) for one in said[0]}) > 3


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


def test_a_norm_is_one_kernel_and_gives_the_same():
    plain = middling()
    given = torch.randn(50, 256, device="cuda", dtype=torch.bfloat16)
    wanted = plain.model.norm(given)
    assert forward_of(plain).name == "packed"
    assert "forward" in vars(plain.model.norm)
    assert torch.allclose(plain.model.norm(given), wanted, rtol=2e-2, atol=2e-2)


def test_a_micro_model_is_trained_on_a_gpu_with_the_proofs_of_the_cpu(tmp_path):
    run = micro_run(tmp_path / "run", model={"path": "micro-medium", "device": "cuda"})
    assert len(run.metric_rows()) == 2
    for row in run.metric_rows():
        assert row["policy/shared/mismatch"] < 1e-4
        assert row["policy/shared/gradient_norm"] > 0
