import math
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch
from torch.autograd import gradcheck
from torch_build import ROUTING, tiny_base

from counterpoint.algorithms import build_loss
from counterpoint.algorithms.aggregation import call, token
from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Tokens, clip, reinforce
from counterpoint.errors import ConfigError
from counterpoint.recipe import config_from
from counterpoint.testing.tiny import tiny_calls, tiny_samples


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def at_ratio(ratio: float) -> torch.Tensor:
    return column(math.log(ratio) - 1.0).requires_grad_()


OLD = column(-1.0)


def tokens(logprobs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor) -> Tokens:
    return Tokens(logprobs, old, old, None, torch.ones_like(logprobs), advantages)


def slow_clip(logprob: float, old: float, advantage: float, low: float, high: float, dual: float | None) -> float:
    ratio = math.exp(logprob - old)
    clipped = 1 - low if ratio < 1 - low else 1 + high if ratio > 1 + high else ratio
    loss = max(-ratio * advantage, -clipped * advantage)
    return min(loss, -dual * advantage) if dual is not None and advantage < 0 else loss


def samples(*lengths: int) -> list[Sample]:
    made = tiny_samples(tiny_calls(tiny_base().chat, ROUTING, count=len(lengths)))
    return [
        replace(sample, call=replace(sample.call, completion_ids=(1,) * length))
        for sample, length in zip(made, lengths, strict=True)
    ]


def test_reinforce_is_minus_advantage_times_log_probability():
    logprobs = torch.tensor([[-1.0, -2.0], [-0.5, -4.0]], dtype=torch.float64)
    found = reinforce(tokens(logprobs, torch.zeros_like(logprobs), column(2.0, -1.0)))
    assert found.tolist() == [[2.0, 4.0], [-0.5, -4.0]]


@pytest.mark.parametrize("dual", [None, 1.5, 3.0])
@pytest.mark.parametrize(("low", "high"), [(0.2, 0.28), (0.5, 0.1), (0.1, 3.0)])
def test_clip_equals_a_slow_reference(low, high, dual):
    ratios, advantages = (0.01, 0.5, 0.85, 1.0, 1.15, 2.0, 9.0), (-2.0, -0.3, 0.0, 0.7)
    for ratio, advantage in product(ratios, advantages):
        found = clip(tokens(at_ratio(ratio), OLD, column(advantage)), low=low, high=high, dual=dual)
        assert found.item() == pytest.approx(slow_clip(math.log(ratio), 0.0, advantage, low, high, dual), rel=1e-12)


@pytest.mark.parametrize(
    ("ratio", "advantage", "dual", "loss", "gradient"),
    [
        (1.0, 2.0, None, -2.0, -2.0),
        (1.0, -2.0, None, 2.0, 2.0),
        (1.5, 1.0, None, -1.28, 0.0),
        (1.25, 1.0, None, -1.25, -1.25),
        (0.5, 1.0, None, -0.5, -0.5),
        (1.5, -1.0, None, 1.5, 1.5),
        (0.5, -1.0, None, 0.8, 0.0),
        (0.9, -1.0, None, 0.9, 0.9),
        (5.0, -1.0, None, 5.0, 5.0),
        (5.0, -1.0, 3.0, 3.0, 0.0),
        (2.0, -1.0, 3.0, 2.0, 2.0),
        (5.0, 1.0, 3.0, -1.28, 0.0),
    ],
)
def test_clip_gives_the_numbers_worked_out_by_hand(ratio, advantage, dual, loss, gradient):
    logprob = at_ratio(ratio)
    found = clip(tokens(logprob, OLD, column(advantage)), dual=dual)
    assert found.item() == pytest.approx(loss, rel=1e-12)
    (slope,) = torch.autograd.grad(found.sum(), logprob)
    assert slope.item() == pytest.approx(gradient, rel=1e-12)


def test_on_policy_the_gradient_of_clip_is_that_of_reinforce():
    logprobs = torch.tensor([[-1.0, -2.0], [-0.5, -4.0]], requires_grad=True)
    advantages = torch.tensor([[0.7], [-1.3]])
    now = tokens(logprobs, logprobs.detach(), advantages)
    for dual in (None, 3.0):
        (one,) = torch.autograd.grad(clip(now, dual=dual).sum(), logprobs)
        (other,) = torch.autograd.grad(reinforce(now).sum(), logprobs)
        assert torch.equal(one, other)


@pytest.mark.parametrize("token_loss", [reinforce, clip, partial(clip, low=0.1, high=0.6, dual=2.0)])
def test_gradients_of_the_token_losses_are_numerically_right(token_loss):
    generator = torch.Generator().manual_seed(0)
    old = -torch.rand(6, 5, generator=generator, dtype=torch.float64) - 0.5
    logprobs = (old + torch.randn(6, 5, generator=generator, dtype=torch.float64)).requires_grad_()
    advantages = torch.randn(6, 1, generator=generator, dtype=torch.float64)
    assert gradcheck(lambda value: token_loss(tokens(value, old, advantages)), (logprobs,))


def test_token_aggregation_gives_every_token_of_the_update_the_same_weight():
    assert token(samples(1, 3, 4)) == [1 / 8, 1 / 8, 1 / 8]


def test_call_aggregation_gives_every_call_of_the_update_the_same_weight():
    assert call(samples(1, 3, 4)) == [1 / 3, 1 / 9, 1 / 12]


@pytest.mark.parametrize("aggregation", [token, call])
def test_the_weights_of_an_update_sum_to_one_over_its_tokens(aggregation):
    update = samples(7, 1, 2, 9, 9, 3)
    weights = aggregation(update)
    assert math.fsum(w * s.tokens for w, s in zip(weights, update, strict=True)) == pytest.approx(1.0, rel=1e-12)


def test_a_loss_is_the_weighted_sum_that_its_definition_says():
    update = samples(2, 3)
    logprobs = torch.tensor([[-1.0, -2.0, 0.0], [-3.0, -4.0, -5.0]], dtype=torch.float64)
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    values = reinforce(tokens(logprobs, logprobs, column(1.0, -2.0))) * mask
    by_token, by_call = ((values * column(*rule(update))).sum().item() for rule in (token, call))
    assert by_token == pytest.approx((1 + 2 - 6 - 8 - 10) / 5)
    assert by_call == pytest.approx(((1 + 2) / 2 - (6 + 8 + 10) / 3) / 2)


def test_a_recipe_sets_the_options_of_its_loss():
    table = {"loss": {"name": "clip", "low": 0.1, "high": 0.5, "dual": 2}, "aggregation": "call"}
    loss = build_loss(config_from({"algorithm": table}))
    assert loss.aggregation(samples(1, 3, 4)) == [1 / 3, 1 / 9, 1 / 12]
    assert loss.token_loss(tokens(at_ratio(9.0), OLD, column(1.0))).item() == pytest.approx(-1.5)
    assert loss.token_loss(tokens(at_ratio(0.5), OLD, column(-1.0))).item() == pytest.approx(0.9)
    assert loss.token_loss(tokens(at_ratio(9.0), OLD, column(-1.0))).item() == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"name": "clip", "low": 1.5}, "low"),
        ({"name": "clip", "high": 0.0}, "high"),
        ({"name": "clip", "dual": 0.5}, "dual"),
        ({"name": "clip", "width": 0.5}, "width"),
        ({"name": "ppo"}, "ppo"),
    ],
)
def test_options_of_a_loss_that_make_no_sense_are_refused(spec, named):
    with pytest.raises(ConfigError, match=named):
        build_loss(config_from({"algorithm": {"loss": spec}}))
