"""Products of linear layers by oneDNN, against float64."""

import pytest
import torch
from torch.nn.functional import linear

from counterpoint.forwards import _linear as linear_part
from counterpoint.forwards._linear import has_onednn, multiplied


def normal(*shape, number=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(number)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 1, 1), (7, 33, 5), (130, 16, 97), (0, 4, 3)])
def test_a_product_is_that_of_float64(rows, inputs, outputs, has_bias, transposed):
    x, bias = normal(rows, inputs), normal(outputs) if has_bias else None
    weight = normal(inputs, outputs).T if transposed else normal(outputs, inputs)
    found = multiplied(x, weight, bias)
    wanted = linear(x.double(), weight.double(), None if bias is None else bias.double())
    assert found.dtype == torch.float32
    assert found.shape == wanted.shape
    assert torch.allclose(found.double(), wanted, rtol=1e-5, atol=1e-5)


def test_rows_that_are_not_side_by_side_are_multiplied_too():
    x, weight = normal(24, 50).T, normal(60, 48)[:, ::2]
    assert torch.allclose(multiplied(x, weight).double(), x.double() @ weight.double().T, atol=1e-5)


def test_other_numbers_and_other_builds_of_torch_are_multiplied_as_ever(monkeypatch):
    for number in (torch.float64, torch.bfloat16):
        x, weight = normal(9, 24, number=number), normal(5, 24, number=number)
        assert torch.equal(multiplied(x, weight), linear(x, weight))
    monkeypatch.setattr(linear_part, "has_onednn", lambda: False)
    x, weight = normal(9, 24), normal(5, 24)
    assert torch.equal(multiplied(x, weight), linear(x, weight))


def test_without_onednn_nothing_is_tried_and_it_is_said(monkeypatch, caplog):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    caplog.set_level("INFO", "counterpoint")
    assert not has_onednn.__wrapped__()
    assert "oneDNN" in caplog.text
