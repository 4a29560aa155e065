"""Estimates of the KL to the base: by hand, and their expectations over a distribution small enough to enumerate."""

import math
from functools import partial

import pytest
import torch
from torch.autograd import gradcheck

from counterpoint.algorithms.kl import k1, k2, k3, none

ESTIMATES = {"k1": k1, "k2": k2, "k3": k3}
LOG2 = math.log(2)
BASE = torch.tensor([0.1, 0.2, 0.25, 0.4, 0.05], dtype=torch.float64)


def logits():
    return torch.tensor([0.3, -0.7, 1.1, 0.0, -1.9], dtype=torch.float64, requires_grad=True)


def slope(value, of):
    return torch.autograd.grad(value, of)[0]


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.mark.parametrize(
    ("estimate", "difference", "value", "loss", "gradient"),
    [
        # the log-probability is -3, the weight 1/2
        (k1, LOG2, LOG2, -1.5 * LOG2, LOG2 / 2),
        (k1, -LOG2, -LOG2, 1.5 * LOG2, -LOG2 / 2),
        (k2, LOG2, LOG2**2 / 2, LOG2**2 / 4, LOG2 / 2),
        (k2, -LOG2, LOG2**2 / 2, LOG2**2 / 4, -LOG2 / 2),
        (k3, LOG2, LOG2 - 0.5, (LOG2 - 0.5) / 2, 0.25),  # exp(-d) = 1/2, slope 1 - exp(-d)
        (k3, -LOG2, 1 - LOG2, (1 - LOG2) / 2, -0.5),  # exp(-d) = 2
        (k1, 0.0, 0.0, 0.0, 0.0),
        (k2, 0.0, 0.0, 0.0, 0.0),
        (k3, 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_the_estimates_by_hand(estimate, difference, value, loss, gradient):
    logprob = column(-3.0).requires_grad_()
    found = estimate(logprob, column(-3.0 - difference), weight=0.5)
    assert found.value_CT.item() == pytest.approx(value, abs=1e-12)
    assert found.loss_CT.item() == pytest.approx(loss, abs=1e-12)
    assert slope(found.loss_CT.sum(), logprob).item() == pytest.approx(gradient, abs=1e-12)


def test_nothing_is_held_without_an_anchor():
    found = none(column(-1.0, -5.0), column(-3.0, -2.0))
    assert found.value_CT.tolist() == found.loss_CT.tolist() == [[0.0], [0.0]]


def slow(name, logprob, base):
    return {
        "k1": math.log(math.exp(logprob) / math.exp(base)),
        "k2": (logprob - base) * (logprob - base) / 2,
        "k3": math.exp(base) / math.exp(logprob) - 1 - math.log(math.exp(base) / math.exp(logprob)),
    }[name]


@pytest.mark.parametrize("name", ESTIMATES)
def test_the_values_agree_with_a_slow_reference(name):
    generator = torch.Generator().manual_seed(0)
    logprobs, base = (-4 * torch.rand(5, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    found = ESTIMATES[name](logprobs, base, weight=1.0).value_CT
    for row in range(5):
        for place in range(4):
            wanted = slow(name, logprobs[row, place].item(), base[row, place].item())
            assert found[row, place].item() == pytest.approx(wanted, rel=1e-9, abs=1e-12)
            assert name == "k1" or found[row, place].item() >= 0.0


@pytest.mark.parametrize("estimate", [k2, k3])
def test_gradients_of_k2_and_k3_are_numerically_right(estimate):
    generator = torch.Generator().manual_seed(1)
    logprobs, base = (-4 * torch.rand(5, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    assert gradcheck(lambda one: estimate(one, base, weight=0.3).loss_CT, (logprobs.requires_grad_(),))


@pytest.mark.parametrize("estimate", ESTIMATES.values(), ids=ESTIMATES)
def test_the_weight_multiplies_the_loss_and_not_the_value(estimate):
    logprobs, base = column(-1.0, -2.0).requires_grad_(), column(-3.0, -1.5)
    one, half = (estimate(logprobs, base, weight=weight) for weight in (1.0, 0.5))
    assert torch.equal(one.value_CT, half.value_CT)
    assert torch.equal(one.loss_CT, 2 * half.loss_CT)
    assert not one.value_CT.requires_grad
    assert not estimate(logprobs, base, weight=0.0).loss_CT.any()


def expected(estimate, theta):
    """Sum over tokens x of p(x) times (the estimate's value, the gradient of what it adds to the loss)."""
    value, gradient = 0.0, torch.zeros_like(theta)
    for token, base in enumerate(BASE):
        probability = torch.softmax(theta, 0)[token].item()
        logprob = torch.log_softmax(theta, 0)[token].reshape(1, 1)
        found = estimate(logprob, base.log().reshape(1, 1), weight=1.0)
        value += probability * found.value_CT.item()
        gradient += probability * slope(found.loss_CT.sum(), theta)
    return value, gradient


def divergence(of, to):
    return sum(one * (one / other).log() for one, other in zip(of, to, strict=True))


def same(one, other):
    return torch.allclose(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("estimate", [k1, k3])
def test_k1_and_k3_are_unbiased(estimate):
    value, _ = expected(estimate, logits())
    assert value == pytest.approx(divergence(torch.softmax(logits(), 0), BASE).item(), rel=1e-12)


def test_k2_is_biased():
    theta = 2 * logits()
    value, _ = expected(k2, theta.detach().requires_grad_())
    exact = divergence(torch.softmax(theta, 0), BASE).item()
    assert abs(value - exact) > 0.05 * exact


@pytest.mark.parametrize("estimate", [k1, k2])
def test_the_gradient_of_k1_in_the_reward_and_of_k2_is_in_expectation_that_of_the_kl_to_the_base(estimate):
    theta = logits()
    _, gradient = expected(estimate, theta)
    exact = slope(divergence(torch.softmax(theta, 0), BASE), theta)
    assert same(gradient, exact)
    assert exact.abs().max() > 0.01


def test_the_gradient_of_k3_is_in_expectation_that_of_the_kl_from_the_base():
    theta = logits()
    _, gradient = expected(k3, theta)
    by_hand = torch.softmax(theta, 0) - BASE  # the sum over x of -q(x) d log p(x) / d theta
    assert same(gradient, by_hand)
    assert same(gradient, slope(divergence(BASE, torch.softmax(theta, 0)), theta))
    assert not torch.allclose(gradient, slope(divergence(torch.softmax(theta, 0), BASE), theta), rtol=0.1)


def test_k1_as_a_plain_term_of_the_loss_would_hold_nothing():
    def plain(logprobs, base, *, weight):
        return k1(logprobs, base, weight=weight)._replace(loss_CT=weight * (logprobs - base))

    _, gradient = expected(plain, logits())
    assert gradient.abs().max() < 1e-15


@pytest.mark.parametrize("estimate", ESTIMATES.values(), ids=ESTIMATES)
def test_at_the_base_itself_no_estimate_pulls_anywhere(estimate):
    theta = BASE.log().requires_grad_()
    value, gradient = expected(estimate, theta)
    assert value == pytest.approx(0.0, abs=1e-14)
    assert gradient.abs().max() < 1e-14


@pytest.mark.parametrize("estimate", [k2, k3])
@pytest.mark.parametrize("far", [19.0, 21.0, 60.0, 1000.0])
def test_however_far_below_its_base_the_policy_is_it_is_pulled_up_by_finite_numbers(estimate, far):
    logprobs = column(-1.0 - far).float().requires_grad_()
    found = estimate(logprobs, column(-1.0).float(), weight=1.0)
    (pull,) = torch.autograd.grad(found.loss_CT.sum(), logprobs)
    assert -1e9 < pull.item() < 0.0
    assert 0.0 < found.value_CT.item() < 1e12


@pytest.mark.parametrize("estimate", [partial(one, weight=0.5) for one in ESTIMATES.values()], ids=ESTIMATES)
def test_padding_adds_nothing(estimate):
    found = estimate(column(-1.0, 0.0), column(-2.0, 0.0))
    assert found.value_CT[1].item() == found.loss_CT[1].item() == 0.0
    assert found.loss_CT[0].item() != 0.0
