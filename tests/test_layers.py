"""Decoders that are computed layer by layer in few passes say what transformers says; others are left alone."""

import copy

import pytest
import torch
from architectures import tiny_model, tiny_shape

from counterpoint.forwards import _layers as layers_part
from counterpoint.forwards import forward_of
from counterpoint.forwards._attention import ATTENTION, layout_of
from counterpoint.forwards._forest import forest_of
from counterpoint.forwards._hidden import at_places, of_forest
from counterpoint.forwards._kernels import Plain
from counterpoint.forwards._layers import fuse_layers, is_fused, unfuse_layers
from counterpoint.forwards.footprint import rehearse, set_up

USUAL = ["llama", "mistral", "qwen2", "qwen3"]
OTHERS = ["phi3", "gemma2", "olmo2", "granite", "qwen3_moe", "mixtral", "cohere", "stablelm", "gpt2", "smollm3"]
ROWS = [[3, 1, 4, 1, 5, 9, 2, 6, 5], [3, 1, 4, 1, 8, 8], [2, 7, 1, 8], [3, 1]]


def usual(kind, number=torch.float32):
    more = {"sliding_window": None} if kind in ("mistral", "ministral3") else {}
    model = tiny_model(kind, **more).to(number)
    model.set_attn_implementation(ATTENTION)
    return model


def states_and_gradients(model, forest, compute):
    """Hidden states of a forest, and the gradients of all weights."""
    weights = [one.requires_grad_() for name, one in model.named_parameters() if "proj" in name]
    hidden = compute(model, forest, layout_of(forest, model))
    pull = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(1)).to(hidden)
    return [hidden.detach(), *torch.autograd.grad(hidden, weights, pull)]


def apart(found, wanted):
    return max(float((one - two).norm() / two.norm()) for one, two in zip(found, wanted, strict=True))


@pytest.mark.parametrize("kind", USUAL)
@pytest.mark.parametrize("kernels", [Plain(), None], ids=["plain", "own"])
def test_usual_decoders_are_recognised_and_give_the_same(monkeypatch, kind, kernels):
    if kernels:
        monkeypatch.setattr(layers_part, "kernels_of", lambda device, dtype: kernels)
    model, forest = usual(kind), forest_of(ROWS)
    wanted = states_and_gradients(model, forest, of_forest)
    assert fuse_layers(model)
    assert is_fused(model.get_decoder())
    assert apart(states_and_gradients(model, forest, of_forest), wanted) < 2e-6
    unfuse_layers(model)
    assert not is_fused(model.get_decoder())


@pytest.mark.parametrize("kind", USUAL)
def test_in_half_precision_they_differ_by_rounding_alone(kind):
    model, forest = usual(kind, torch.bfloat16), forest_of(ROWS)
    exact = states_and_gradients(copy.deepcopy(model).float(), forest, of_forest)
    before = apart([one.float() for one in states_and_gradients(model, forest, of_forest)], exact)
    assert fuse_layers(model)
    after = apart([one.float() for one in states_and_gradients(model, forest, of_forest)], exact)
    assert after < 1.1 * before


@pytest.mark.parametrize("kind", OTHERS)
def test_other_decoders_are_left_as_they_are(kind):
    more = {"residual_multiplier": 0.5} if kind == "granite" else {}
    model = tiny_model(kind, **more)
    forward_of(model)
    assert not is_fused(model.get_decoder())


def test_a_layer_that_computes_something_else_with_the_same_modules_is_not_recognised():
    model = usual("qwen3")
    attention = model.model.layers[1].self_attn
    attention.forward = lambda *args, plain=attention.forward, **options: (
        2 * plain(*args, **options)[0],
        None,
    )
    assert not fuse_layers(model)


class _Wrong(Plain):
    def gated(self, gate_NF, up_NF):
        return torch.nn.functional.gelu(gate_NF) * up_NF


class _Raising(Plain):
    def gated(self, gate_NF, up_NF):
        raise SystemError("out of shared memory")


class _WrongBackwards(Plain):
    def gated(self, gate_NF, up_NF):
        return super().gated(gate_NF, up_NF.detach())


@pytest.mark.parametrize("kernels", [_Wrong(), _Raising(), _WrongBackwards()])
def test_kernels_that_are_wrong_are_not_used(monkeypatch, kernels, caplog):
    monkeypatch.setattr(layers_part, "kernels_of", lambda device, dtype: kernels)
    model = usual("qwen3")
    assert not fuse_layers(model)
    assert ("out of shared memory" in caplog.text) == isinstance(kernels, _Raising)


def test_the_last_layer_is_computed_only_where_it_is_asked_for(monkeypatch):
    model, forest = usual("qwen3"), forest_of(ROWS)
    places = [forest.paths[0][4:], forest.paths[3][1:], forest.paths[1][1:], forest.paths[1][1:]]
    wanted = states_and_gradients(model, forest, lambda *given: at_places(*given, places))
    assert fuse_layers(model)
    seen = []
    last = model.model.layers[-1].mlp.down_proj
    last.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    found = states_and_gradients(model, forest, lambda *given: at_places(*given, places))
    assert apart(found, wanted) < 2e-6
    assert seen == [len({place for part in places for place in part})]
    assert seen[0] < len(forest.ids)


@pytest.mark.parametrize(
    ("kind", "is_usual"), [("qwen3", True), ("llama", True), ("mistral", False), ("gemma2", False)]
)
def test_a_model_without_values_is_recognised_by_its_modules(kind, is_usual):
    model = tiny_shape(kind)
    set_up(model)
    assert is_fused(model.get_decoder()) == is_usual


def test_less_is_kept_for_the_backward_pass():
    model = tiny_shape("qwen3")
    set_up(model)
    fused = rehearse(model)
    unfuse_layers(model)
    usual = rehearse(model)
    assert fused.kept < 0.75 * usual.kept
    assert fused.cached == usual.cached


def test_a_layer_that_scales_what_is_far_away_is_not_recognised():
    model = usual("ministral3")
    assert not fuse_layers(model)
    empty = tiny_shape("ministral3")
    set_up(empty)
    assert not is_fused(empty.get_decoder())


@pytest.mark.parametrize("part", ["model", "model.layers.1", "model.layers.0.mlp", "model.norm"])
def test_a_decoder_with_hooks_is_left_as_it_is(part):
    model = usual("qwen3")
    hook = model.get_submodule(part).register_forward_hook(lambda *_: None)
    assert not fuse_layers(model)
    hook.remove()
    model.model.layers[0].mlp.down_proj.register_forward_hook(lambda *_: None)
    assert fuse_layers(model)
