"""The adapted linear layers of the learner, against PEFT's own and against arithmetic in float64."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from torch import nn
from torch_build import ISOLATED, ROUTING, fresh_model, new_learner, tiny_base, tiny_folder
from transformers.pytorch_utils import Conv1D

from counterpoint.algorithms.aggregation import token
from counterpoint.algorithms.loss import Loss, clip
from counterpoint.learners._lora import fuse_adapters
from counterpoint.learners.peft import Peft
from counterpoint.testing.tiny import tiny_calls, tiny_config, tiny_samples


class Small(nn.Module):
    """Two linear layers, one with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(24, 40, bias=False)
        self.second = nn.Linear(40, 12)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


def adapted(dtype=torch.float32, names=("one",), **options):
    """PEFT's model with adapters that have moved away from the base, and the same fused."""
    torch.manual_seed(0)
    lora = LoraConfig(**{"r": 5, "lora_alpha": 7, "target_modules": ["first", "second"], **options})
    usual = get_peft_model(Small().to(dtype), lora, adapter_name=names[0])
    for name in names[1:]:
        usual.add_adapter(name, lora)
    for name, parameter in usual.named_parameters():
        if ".lora_" in name:
            nn.init.normal_(parameter, std=0.3)
    fused = copy.deepcopy(usual)
    fuse_adapters(fused)
    return usual.eval(), fused.eval()


def values(dtype=torch.float32, shape=(3, 17, 24)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def found(model, x):
    """The output, and the gradients of whatever has one, by name."""
    x = x.clone().requires_grad_(x.requires_grad)
    parameters = {name: one for name, one in model.named_parameters() if one.requires_grad}
    output = model(x)
    wanted = {**({"x": x} if x.requires_grad else {}), **parameters}
    slope = torch.randn(output.shape, generator=torch.Generator().manual_seed(2)).to(output)
    gradients = torch.autograd.grad(output, list(wanted.values()), slope) if wanted else ()
    return {"y": output.detach(), **dict(zip(wanted, gradients, strict=True))}


def errors(one, other):
    """By name: the norm of the difference, as a part of the other's norm."""
    assert one.keys() == other.keys()
    return {
        name: float((one[name].double() - other[name].double()).norm() / other[name].double().norm()) for name in one
    }


@pytest.mark.parametrize("shape", [(24,), (7, 24), (3, 17, 24), (2, 3, 5, 24), (5, 16, 24)])
def test_outputs_and_gradients_equal_pefts(shape):
    usual, fused = adapted()
    x = values(shape=shape).requires_grad_()
    expected = found(usual, x)
    assert len(expected) == 6
    assert max(errors(found(fused, x), expected).values()) < 1e-6


@pytest.mark.parametrize("number", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [51, 63, 80])
def test_many_tokens_are_computed_with_a_merged_weight_but_never_in_half_precision(monkeypatch, number, rows):
    merged = []
    monkeypatch.setattr(
        torch, "addmm", lambda *given, real=torch.addmm, **more: merged.append(given) or real(*given, **more)
    )
    _, fused = adapted(number)
    found(fused, values(number, shape=(rows, 24)).requires_grad_())
    layers = (rows >= 24 + 40) + (rows >= 40 + 12)
    assert len(merged) == (2 * layers if number == torch.float32 else 0)  # in the forward and in the backward pass


def test_a_merged_weight_is_as_near_to_the_truth_as_peft():
    usual, fused = adapted()
    true = copy.deepcopy(usual).double()
    x = values(shape=(300, 24)).requires_grad_()
    expected = found(true, x.detach().double().requires_grad_())
    mine, theirs = errors(found(fused, x), expected), errors(found(usual, x), expected)
    assert max(mine.values()) < 1e-6
    assert max(mine.values()) < 3 * max(theirs.values())


def test_values_laid_out_otherwise_are_computed_too():
    usual, fused = adapted()
    x = values(shape=(24, 3, 17)).permute(2, 1, 0).requires_grad_()
    assert max(errors(found(fused, x), found(usual, x)).values()) < 1e-6


def test_a_broadcast_gradient_is_computed_too():
    usual, fused = adapted()
    expected, mine = ({n: p for n, p in one.named_parameters() if p.requires_grad} for one in (usual, fused))
    for model, parameters in ((usual, expected), (fused, mine)):
        for (_, parameter), gradient in zip(
            parameters.items(), torch.autograd.grad(model(values()).sum(), list(parameters.values())), strict=True
        ):
            parameter.grad = gradient
    gradients = [{name: one.grad for name, one in parameters.items()} for parameters in (mine, expected)]
    assert max(errors(*gradients).values()) < 1e-6


def test_an_input_without_a_gradient_gets_none():
    usual, fused = adapted()
    expected = found(usual, values())
    assert "x" not in expected
    assert max(errors(found(fused, values()), expected).values()) < 1e-6


def test_without_gradients_nothing_is_kept():
    usual, fused = adapted()
    with torch.no_grad():
        mine = fused(values())
        assert not mine.requires_grad
        assert max(errors({"y": mine}, {"y": usual(values())}).values()) < 1e-6


def test_in_half_precision_it_is_as_near_to_the_truth_as_peft_and_its_adapters_have_float32_gradients():
    usual, fused = adapted(torch.bfloat16)
    true = copy.deepcopy(usual).double()
    x = values(torch.bfloat16).requires_grad_()
    mine, expected = found(fused, x), found(true, x.detach().double().requires_grad_())
    assert {one.dtype for name, one in mine.items() if ".lora_" in name} == {torch.float32}
    assert {mine["y"].dtype, mine["x"].dtype} == {torch.bfloat16}
    with like_base(usual):
        theirs = errors(found(usual, x), expected)
    for name, error in errors(mine, expected).items():
        assert error < 1.1 * theirs[name], name


def like_base(model):
    """PEFT's layers compute in the numbers of the base."""
    for module in model.modules():
        if isinstance(module, Linear):
            module.cast_input_dtype_enabled = False
    return torch.autocast("cpu", dtype=torch.bfloat16)


def test_disabled_adapters_are_exactly_the_base():
    usual, fused = adapted()
    base = copy.deepcopy(usual).unload()
    with fused.disable_adapter():
        assert torch.equal(fused(values()), base(values()))
    assert not torch.allclose(fused(values()), base(values()))


@pytest.mark.parametrize("kind", [nn.Linear, Conv1D])
def test_an_adapter_that_adds_nothing_is_bit_for_bit_its_base_however_many_tokens_there_are(kind):
    """A KL to the base would be rounding otherwise, which an optimizer makes a step of full length of."""
    inputs, outputs = 700, 60
    model = nn.ModuleDict({"first": kind(outputs, inputs) if kind is Conv1D else kind(inputs, outputs)})
    fan = {"fan_in_fan_out": kind is Conv1D}
    fused = get_peft_model(model, LoraConfig(r=5, target_modules=["first"], init_lora_weights=True, **fan))
    fuse_adapters(fused)
    layer, x = fused.base_model.model["first"], values(shape=(900, inputs))
    found = layer(x).detach()
    with fused.disable_adapter(), torch.no_grad():
        assert torch.equal(layer(x), found)


def test_merged_adapters_are_not_added_again():
    _, fused = adapted()
    before = fused(values())
    fused.merge_adapter()
    assert torch.allclose(fused(values()), before, atol=1e-5)
    fused.unmerge_adapter()
    assert torch.allclose(fused(values()), before, atol=1e-5)


def test_the_adapter_that_is_set_is_used_and_alone_has_a_gradient():
    usual, fused = adapted(names=("one", "two"))
    outputs = []
    for name in ("one", "two", "one"):
        usual.set_adapter(name)
        fused.set_adapter(name)
        mine = found(fused, values())
        assert [key for key in mine if ".lora_" in key and f".{name}." not in key] == []
        assert max(errors(mine, found(usual, values())).values()) < 1e-6
        outputs.append(mine["y"])
    assert torch.equal(outputs[0], outputs[2])
    assert not torch.allclose(outputs[0], outputs[1])


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_dropout": 0.5}, {"lora_bias": True}])
def test_what_is_more_than_a_plain_adapter_goes_pefts_way(options):
    usual, fused = adapted(**{"target_modules": ["second"], **options})
    found_by = []
    for model in (usual.train(), fused.train()):
        torch.manual_seed(3)
        found_by.append(found(model.base_model.model.second, values(shape=(9, 40))))
    assert max(errors(*found_by).values()) == 0.0


def test_two_adapters_at_once_go_pefts_way():
    usual, fused = adapted(names=("one", "two"))
    for model in (usual, fused):
        model.base_model.set_adapter(["one", "two"])
    assert max(errors(found(fused, values()), found(usual, values())).values()) == 0.0


def test_checkpointed_it_gives_the_same():
    usual, fused = adapted()
    x = values().requires_grad_()

    def twice(given):
        return torch.utils.checkpoint.checkpoint(fused, given, use_reentrant=False)

    twice.named_parameters = fused.named_parameters
    assert max(errors(found(twice, x), found(usual, x)).values()) < 1e-6


def test_only_the_input_what_lies_between_and_weights_are_kept():
    _, fused = adapted()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
        fused.base_model.model.first(values(shape=(9, 24)).requires_grad_())
    weights = {parameter.data_ptr() for parameter in fused.parameters()}
    assert sorted(tuple(one.shape) for one in kept if one.data_ptr() not in weights) == [(9, 5), (9, 24)]


def test_it_computes_without_values():
    _, fused = adapted()
    assert found(fused.to("meta"), values().to("meta").requires_grad_())["x"].shape == values().shape


def test_the_learners_layers_are_fused_and_the_base_that_others_hold_is_not():
    model = fresh_model()
    learner = new_learner(ISOLATED)
    kinds = {type(one).__name__ for one in learner._adapters.model.modules() if isinstance(one, Linear)}
    assert kinds == {"_FusedLinear"}
    assert not [one for one in model.modules() if isinstance(one, Linear)]


@pytest.mark.parametrize("table", [{}, {"learner": {"gradient_checkpointing": True}}, {"model": {"forward": "plain"}}])
def test_a_learner_on_a_base_of_half_precision_is_near_to_one_of_single_precision(table):
    joint = []
    for dtype in (torch.bfloat16, torch.float32):
        learner = Peft(fresh_model().to(dtype), ROUTING.policies, tiny_config(tiny_folder(), table))
        made = tiny_samples(tiny_calls(tiny_base().chat, ROUTING, seed=0), seed=0)
        parts = learner.backward(made, Loss(clip, token)).values()
        joint.append(sum(part.gradient.flat for part in parts))
    assert joint[0].dtype == torch.float32
    assert (joint[0] - joint[1]).norm() < 0.05 * joint[1].norm()
