"""Weights for what sampler and learner do not agree on, worked out by hand and token by token."""

import math
import random
from functools import partial

import pytest
import torch

from counterpoint.algorithms.correction import sequence, truncated, uncorrected

RULES = {"none": uncorrected, "truncated": truncated, "sequence": sequence}


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def at_ratios(*ratios):
    """(old, sampled, mask) where exp(old - sampled) are these; 0 is padding."""
    old = rows(*([math.log(ratio) - 1.0 if ratio else 0.0 for ratio in row] for row in ratios))
    sampled = rows(*([-1.0 if ratio else 0.0 for ratio in row] for row in ratios))
    return old, sampled, rows(*([float(ratio > 0) for ratio in row] for row in ratios))


def listed(corrected):
    return corrected.weights_CT.tolist(), corrected.changed_CT.tolist()


def near(table):
    return [pytest.approx(row, rel=1e-12) for row in table]


def random_tokens(seed):
    """Six calls of up to five tokens, off by up to about two nats, padded with 0."""
    source = random.Random(seed)
    old, sampled, mask = [], [], []
    for _ in range(6):
        length = source.randint(1, 5)
        padding = [0.0] * (5 - length)
        old.append([-source.random() - 0.5 for _ in range(length)] + padding)
        sampled.append([value + source.gauss(0.0, 0.8) for value in old[-1][:length]] + padding)
        mask.append([1.0] * length + padding)
    return rows(*old), rows(*sampled), rows(*mask)


def test_without_a_correction_every_token_weighs_one():
    assert listed(uncorrected(*at_ratios((0.01, 1.0, 50.0)))) == ([[1.0] * 3], [[0.0] * 3])


def test_truncated_weights_by_hand():
    weights, changed = listed(truncated(*at_ratios((0.25, 1.0, 1.75), (2.25, 8.0, 0.5))))
    assert weights == near([[0.25, 1.0, 1.75], [2.0, 2.0, 0.5]])
    assert changed == [[0.0, 0.0, 0.0], [1.0, 1.0, 0.0]]


def test_the_cap_of_truncated_weights_is_an_option():
    weights, changed = listed(truncated(*at_ratios((0.25, 1.0, 1.75), (2.25, 8.0, 0.5)), cap=1.5))
    assert weights == near([[0.25, 1.0, 1.5], [1.5, 1.5, 0.5]])
    assert changed == [[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]


def test_a_call_is_kept_whole_or_masked_whole_by_hand():
    # geometric means: sqrt(4 * 1/2) = 1.41..; sqrt(9 * 1) = 3; sqrt(1/8 * 1) = 0.35..; sqrt(1/4 * 2) = 0.70..
    weights, changed = listed(sequence(*at_ratios((4.0, 0.5), (9.0, 1.0), (0.125, 1.0), (0.25, 2.0))))
    assert weights == [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
    assert changed == [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"low": 0.75, "high": 2.0}, [1, 0, 0, 0]),
        ({"low": 0.5, "high": 4.0}, [1, 1, 0, 1]),
        ({"low": 0.25, "high": 1.25}, [0, 0, 1, 1]),
    ],
)
def test_the_bounds_of_a_masked_call_are_options(options, kept):
    corrected = sequence(*at_ratios((4.0, 0.5), (9.0, 1.0), (0.125, 1.0), (0.25, 2.0)), **options)
    assert corrected.weights_CT[:, 0].tolist() == kept


def test_a_call_on_the_bounds_is_kept():
    same = rows([-1.0, -2.0])
    assert listed(sequence(same, same, torch.ones_like(same), low=1.0, high=1.0)) == ([[1.0, 1.0]], [[0.0, 0.0]])


def test_a_call_is_judged_by_the_mean_over_its_own_tokens_and_not_over_padding():
    short, padded = at_ratios((3.0,)), at_ratios((3.0, 0, 0, 0))
    assert listed(sequence(*short)) == ([[0.0]], [[1.0]])  # over four it would be 3^(1/4) = 1.3..
    weights, changed = listed(sequence(*padded))
    assert (weights[0][0], changed[0][0]) == (0.0, 1.0)


@pytest.mark.parametrize("seed", range(4))
def test_truncated_weights_agree_with_a_slow_reference(seed):
    old, sampled, mask = random_tokens(seed)
    weights, changed = listed(truncated(old, sampled, mask, cap=1.5))
    for row in range(6):
        for place in range(int(mask[row].sum())):
            ratio = math.exp(old[row, place].item()) / math.exp(sampled[row, place].item())
            assert weights[row][place] == pytest.approx(1.5 if ratio > 1.5 else ratio, rel=1e-12)
            assert changed[row][place] == (1.0 if ratio > 1.5 else 0.0)


@pytest.mark.parametrize("seed", range(4))
def test_masked_calls_agree_with_a_slow_reference(seed):
    old, sampled, mask = random_tokens(seed)
    weights, changed = listed(sequence(old, sampled, mask, low=0.8, high=1.25))
    for row in range(6):
        length = int(mask[row].sum())
        product = math.prod(math.exp(old[row, place].item() - sampled[row, place].item()) for place in range(length))
        kept = 0.8 <= product ** (1 / length) <= 1.25
        assert weights[row][:length] == [float(kept)] * length
        assert changed[row][:length] == [float(not kept)] * length


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_no_gradient_flows_through_a_correction(rule):
    old, sampled, mask = random_tokens(0)
    corrected = rule(old.requires_grad_(), sampled.requires_grad_(), mask)
    assert not corrected.weights_CT.requires_grad
    assert not corrected.changed_CT.requires_grad


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_where_sampler_and_learner_agree_nothing_is_corrected(rule):
    old, _, mask = random_tokens(1)
    weights, changed = listed(rule(old, old.clone(), mask))
    assert weights == [[1.0] * 5] * 6
    assert changed == [[0.0] * 5] * 6


@pytest.mark.parametrize("rule", [*RULES.values(), partial(truncated, cap=1.2), partial(sequence, low=0.8, high=1.2)])
def test_every_call_is_corrected_by_itself_and_padding_changes_nothing(rule):
    old, sampled, mask = random_tokens(2)
    whole = rule(old, sampled, mask)
    for row in range(6):
        length = int(mask[row].sum())
        one = rule(old[row : row + 1, :length], sampled[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(one.weights_CT[0], whole.weights_CT[row, :length], rtol=1e-14, atol=0.0)
        assert one.changed_CT[0].tolist() == whole.changed_CT[row, :length].tolist()


@pytest.mark.parametrize("rule", [truncated, sequence])
def test_a_token_that_the_sampler_thought_impossible_stays_finite(rule):
    old, sampled = torch.tensor([[-1.0, -1.0]]), torch.tensor([[-300.0, -1.0]])  # exp(299) is no float32
    corrected = rule(old, sampled, torch.ones_like(old))
    assert torch.isfinite(corrected.weights_CT).all()
    assert corrected.changed_CT[0, 0].item() == 1.0
