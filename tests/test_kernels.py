"""Every implementation of a layer's kernels gives what float64 gives, and its gradients.

Triton's kernels are tested on a GPU, and where Triton is installed also without one, interpreted, by a test in the slow
lane, or by `TRITON_INTERPRET=1 python -m pytest tests/test_kernels.py`.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_map

from counterpoint.forwards import _gather as gather_part
from counterpoint.forwards._choice import tried
from counterpoint.forwards._cpu import Cpu
from counterpoint.forwards._eager import Eager
from counterpoint.forwards._fused import Fused
from counterpoint.forwards._gather import gathered, places_of
from counterpoint.forwards._kernels import Plain
from counterpoint.forwards._trial import why_not

NO_TRITON = "Triton is not installed, or there is no GPU and TRITON_INTERPRET is not set"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
IMPLEMENTATIONS = {"plain": Plain(), "torch": Fused(Eager()), "cpu": Fused(Cpu())}
if find_spec("triton") and (DEVICE == "cuda" or os.environ.get("TRITON_INTERPRET")):
    from counterpoint.forwards._triton import Triton

    IMPLEMENTATIONS["triton"] = Fused(Triton())
WITHIN = {torch.float32: 2e-6, torch.bfloat16: 1.2e-2}

kernels = pytest.mark.parametrize("kernels", IMPLEMENTATIONS.values(), ids=IMPLEMENTATIONS)
number = pytest.mark.parametrize("number", WITHIN, ids=["float32", "bfloat16"])


def normal(*shape, number, seed=0):
    source = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=source).to(DEVICE, number)


def norm64(x, weight, epsilon):
    return weight.double() * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)


def turn64(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return x * cos.double()[:, None] + torch.cat([-second, first], -1) * sin.double()[:, None]


def agree(compute, wanted, inputs, number):
    """Values and gradients of `compute` are those of `wanted` in float64."""
    given = [one.detach().clone().requires_grad_() for one in inputs]
    wide = [one.detach().double().requires_grad_() for one in inputs]
    results, right = compute(*given), wanted(*wide)
    results, right = ([one] if isinstance(one, torch.Tensor) else list(one) for one in (results, right))
    pulls = [normal(*one.shape, number=number, seed=at + 7) for at, one in enumerate(right)]
    found = torch.autograd.grad(results, given, pulls)
    slopes = torch.autograd.grad(right, wide, [pull.double() for pull in pulls])
    for one, other in zip([*results, *found], [*right, *slopes], strict=True):
        assert one.dtype == number
        assert one.shape == other.shape
        if other.numel():
            assert float((one.double() - other).detach().norm() / other.detach().norm()) < WITHIN[number]


@kernels
@number
@pytest.mark.parametrize(("rows", "width"), [(1, 8), (7, 33), (130, 128), (0, 16)])
def test_a_norm(kernels, number, rows, width):
    weight = 1 + 0.3 * normal(width, number=number)
    x, y = normal(rows, width, number=number), normal(rows, width, number=number, seed=3)
    agree(lambda x: kernels.normed(x, weight, 1e-5), lambda x: norm64(x, weight, 1e-5), [x], number)
    agree(
        lambda x, y: kernels.added_and_normed(x, y, weight, 1e-5),
        lambda x, y: (x + y, norm64(x + y, weight, 1e-5)),
        [x, y],
        number,
    )


@kernels
def test_a_norm_of_which_only_the_sum_is_used_has_the_gradient_of_the_sum(kernels):
    x, y = (normal(3, 8, number=torch.float32, seed=seed).requires_grad_() for seed in (0, 1))
    weight = torch.ones(8, device=DEVICE)
    total, normed = kernels.added_and_normed(x, y, weight, 1e-6)
    assert all(torch.equal(one, torch.ones_like(x)) for one in torch.autograd.grad(total.sum(), [x, y]))
    total, normed = kernels.added_and_normed(x, y.detach(), weight, 1e-6)
    (found,) = torch.autograd.grad((normed * x.detach()).sum(), [x])
    wide = x.detach().double().requires_grad_()
    (wanted,) = torch.autograd.grad((norm64(wide + y.detach(), weight, 1e-6) * x.detach()).sum(), [wide])
    assert torch.allclose(found.double(), wanted, atol=1e-5)


@kernels
@number
@pytest.mark.parametrize(("rows", "heads", "width"), [(1, 1, 4), (5, 3, 6), (40, 4, 32), (0, 2, 8)])
@pytest.mark.parametrize("has_norm", [False, True])
def test_heads_are_turned(kernels, number, rows, heads, width, has_norm):
    weight = 1 + 0.3 * normal(width, number=number) if has_norm else None
    cos, sin = normal(rows, width, number=number, seed=5), normal(rows, width, number=number, seed=6)
    agree(
        lambda x: kernels.turned(x, weight, 1e-5, cos, sin),
        lambda x: turn64(norm64(x, weight, 1e-5) if has_norm else x, cos, sin),
        [normal(rows, heads, width, number=number)],
        number,
    )


@kernels
@number
@pytest.mark.parametrize(("rows", "width"), [(1, 8), (7, 33), (130, 96), (0, 16)])
def test_a_gate(kernels, number, rows, width):
    inputs = [3 * normal(rows, width, number=number), normal(rows, width, number=number, seed=2)]
    agree(kernels.gated, lambda gate, up: gate * torch.sigmoid(gate) * up, inputs, number)


@kernels
@number
def test_inputs_whose_values_are_not_side_by_side(kernels, number):
    x = normal(16, 40, number=number).T
    weight, cos = 1 + 0.3 * normal(16, number=number), normal(16, 40, number=number, seed=5).T[:, :8]
    agree(lambda x: kernels.normed(x, weight, 1e-5), lambda x: norm64(x, weight, 1e-5), [x], number)
    agree(kernels.gated, lambda gate, up: gate * torch.sigmoid(gate) * up, [x, x], number)
    heads = normal(2, 40, 8, number=number).transpose(0, 1)
    agree(lambda x: kernels.turned(x, None, 0.0, cos, cos + 1), lambda x: turn64(x, cos, cos + 1), [heads], number)


@kernels
@number
@pytest.mark.parametrize(("rows", "vocabulary"), [(1, 5), (9, 525), (3, 9001), (0, 7)])
def test_chosen_log_probabilities_and_their_slopes(kernels, number, rows, vocabulary):
    logits = 8 * normal(rows, vocabulary, number=number)
    temperatures = torch.linspace(0.5, 2.0, rows, device=DEVICE)
    targets = torch.arange(rows, device=DEVICE) * 37 % vocabulary
    wide = logits.double().requires_grad_()
    logprobs = torch.log_softmax(wide / temperatures[:, None].double(), -1).gather(1, targets[:, None])[:, 0]
    (slopes,) = torch.autograd.grad(logprobs.sum(), [wide])
    logprobs = logprobs.detach()
    found, pull = kernels.chosen(logits.clone(), targets, temperatures)
    assert found.dtype == torch.float32
    assert pull.dtype == number
    assert torch.allclose(found.double(), logprobs, rtol=1e-5, atol=1e-5)
    if rows:
        assert float((pull.double() - slopes).norm() / slopes.norm()) < WITHIN[number]


@pytest.fixture(params=["torch", "triton"])
def passes(request, monkeypatch):
    if request.param not in IMPLEMENTATIONS:
        pytest.skip(NO_TRITON)
    found = IMPLEMENTATIONS[request.param]._passes
    monkeypatch.setattr(gather_part, "passes_of", lambda device, dtype: found)
    return found


@number
@pytest.mark.parametrize(("rows", "taken", "shape"), [(1, 1, (3,)), (9, 40, (2, 8)), (30, 200, (700,)), (5, 0, (4,))])
def test_gathered_rows_have_the_sum_of_their_gradients(passes, number, rows, taken, shape):
    places = np.random.default_rng(0).integers(0, max(1, rows - 2), taken)
    x, pull = normal(rows, *shape, number=number), normal(taken, *shape, number=number)
    x.requires_grad_()
    found = gathered(x, places_of(places, rows, x.device))
    assert torch.equal(found, x[torch.from_numpy(places).to(DEVICE)])
    (slope,) = torch.autograd.grad(found, [x], pull)
    wanted = torch.zeros(rows, *shape, dtype=torch.float64, device=DEVICE)
    wanted.index_add_(0, torch.from_numpy(places).to(DEVICE), pull.double())
    assert slope.dtype == number
    assert float((slope.double() - wanted).norm()) <= WITHIN[number] * float(wanted.norm())


# Tried before they are used


class Lying(Eager):
    """Wrong in one function, and right in all others."""

    def __init__(self, name):
        self._wrong = name

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name == "_wrong" or name != self._wrong:
            return found
        return lambda *given: tree_map(lambda one: one * 1.1, found(*given))


class Raising(Eager):
    def gated_back(self, *given):
        raise SystemError("no compiler\nwas found")


FUNCTIONS = [name for name, one in vars(Eager).items() if callable(one)]


def test_right_passes_are_used():
    for dtype in WITHIN:
        passes = Eager()
        assert tried(passes, torch.device(DEVICE), dtype) is passes


@pytest.mark.skipif(
    "triton" not in IMPLEMENTATIONS,
    reason="Triton is not installed, or there is no GPU and TRITON_INTERPRET is not set",
)
@number
def test_triton_is_used_where_it_is(number):
    assert why_not(Triton(), torch.device(DEVICE), number) == ""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_passes_that_are_wrong_are_not_used_and_it_is_said(name, caplog):
    for dtype in WITHIN:
        assert type(tried(Lying(name), torch.device(DEVICE), dtype)) is Eager
    assert "is wrong on this machine" in caplog.text
    assert len(caplog.records) == 2


def test_passes_that_raise_are_not_used_and_it_is_said(caplog):
    assert type(tried(Raising(), torch.device(DEVICE), torch.float32)) is Eager
    assert caplog.messages == ["norms, rotations and gates take longer, since Triton cannot be used: no compiler"]


@pytest.mark.slow
@pytest.mark.skipif(DEVICE == "cuda", reason="Triton's kernels are tested on the GPU")
def test_interpreted_kernels_of_triton():
    if not find_spec("triton"):
        pytest.skip("Triton is not installed: `pip install --no-deps triton` (640 MB) is enough")
    # Triton reads the variable when it is imported, which transformers may have done here.
    found = subprocess.run(
        [sys.executable, "-m", "pytest", __file__, "-q", "-k", "triton", "-m", "not slow", "-p", "no:xdist"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stdout
    assert "skipped" not in found.stdout
