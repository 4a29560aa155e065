"""The loss of a policy: every token by hand and against scalar code, its gradients, and what leaves it unchanged.

Shapes: C calls, T tokens.
"""

import math
from functools import partial
from itertools import product

import pytest
import torch
from facts import make_call
from torch.autograd import gradcheck

from counterpoint.algorithms.aggregation import balanced, call, constant, nominal, token
from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.correction import sequence, truncated, uncorrected
from counterpoint.algorithms.kl import k1, k2, k3
from counterpoint.algorithms.loss import Loss, Tokens, cispo, clip, gspo, reinforce, sapo

LOSSES = {
    "reinforce": reinforce,
    "clip": clip,
    "dual clip": partial(clip, low=0.1, high=0.6, dual=2.0),
    "gspo": partial(gspo, low=0.1, high=0.2),
    "cispo": partial(cispo, ratio_max=1.5),
    "sapo": sapo,
}
CORRECTIONS = {"none": uncorrected, "truncated": truncated, "sequence": partial(sequence, low=0.9, high=1.2)}
KLS = {"none": None, "k1": partial(k1, weight=0.1), "k2": partial(k2, weight=0.2), "k3": partial(k3, weight=0.3)}
WHOLE = {
    f"{loss}, {correction}, {kl}": Loss(LOSSES[loss], token, CORRECTIONS[correction], KLS[kl])
    for loss, correction, kl in product(LOSSES, CORRECTIONS, KLS)
}
AGGREGATIONS = {
    "token": token,
    "call": call,
    "constant": partial(constant, max_tokens=9),
    "balanced": partial(balanced, aggregation=call),
    "nominal": partial(nominal, aggregation=token, calls=8),
}


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def table(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def at_ratio(ratio: float) -> torch.Tensor:
    return column(math.log(ratio) - 1.0).requires_grad_()


OLD = column(-1.0)


def tokens(logprobs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor) -> Tokens:
    return Tokens(logprobs, old, old, None, torch.ones_like(logprobs), advantages)


def slope(value: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(value.sum(), of, retain_graph=True)[0]


LENGTHS = (3, 5, 1, 4, 2, 5, 2, 3, 4, 1, 2, 5)
CALLS = len(LENGTHS)


def random_tokens(seed: int = 0, dtype: torch.dtype = torch.float64) -> Tokens:
    """Twelve calls of one to five tokens, of either sign, the second without advantage; where there is padding, 0."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.tensor([[float(place < length) for place in range(5)] for length in LENGTHS], dtype=dtype)

    def noise() -> torch.Tensor:
        return torch.randn(CALLS, 5, generator=generator, dtype=torch.float64).to(dtype) * mask

    old = (-noise().abs() - 0.5) * mask
    advantages = torch.randn(CALLS, 1, generator=generator, dtype=torch.float64).to(dtype)
    advantages[1] = 0.0
    logprobs = (old + 0.4 * noise()).requires_grad_()
    return Tokens(logprobs, old, old + 0.4 * noise(), old + 0.5 * noise(), mask, advantages)


def on_policy(values: Tokens) -> Tokens:
    return values._replace(old_CT=values.logprobs_CT.detach())


def rows_of(values: Tokens, rows: list[int], width: int = 5) -> Tokens:
    """Some calls, cut or padded to `width` tokens."""

    def part(value_CT: torch.Tensor) -> torch.Tensor:
        cut_CT = value_CT[rows, :width]
        return torch.nn.functional.pad(cut_CT, (0, max(0, width - value_CT.shape[1])))

    logprobs, old, sampled, base, mask, advantages = values
    return Tokens(part(logprobs), part(old), part(sampled), part(base), part(mask), advantages[rows])


def samples() -> list[Sample]:
    return [
        Sample(
            task="t",
            rollout=index,
            call=make_call(("generator", "critic")[index % 2], completion_ids=(5,) * length),
            reward=0.0,
            advantage=1.0,
            signal=True,
        )
        for index, length in enumerate(LENGTHS)
    ]


# Scalar code: the loss of one token, its slope by l, and whether its advantage has no hold on it


def slow_clip(ratio: float, advantage: float, low: float, high: float, dual: float | None) -> tuple[float, float, bool]:
    if advantage > 0 and ratio > 1 + high:
        return -(1 + high) * advantage, 0.0, True
    if advantage < 0 and ratio < 1 - low:
        return -(1 - low) * advantage, 0.0, True
    if advantage < 0 and dual is not None and ratio > dual:
        return -dual * advantage, 0.0, True
    return -ratio * advantage, -ratio * advantage, False


def slow(name: str, logprob: float, ratio: float, mean: float, advantage: float) -> tuple[float, float, bool]:
    """`ratio` of the token, `mean` the geometric mean of those of its call."""
    if name == "reinforce":
        return -advantage * logprob, -advantage, False
    if name == "clip":
        return slow_clip(ratio, advantage, 0.2, 0.28, None)
    if name == "dual clip":
        return slow_clip(ratio, advantage, 0.1, 0.6, 2.0)
    if name == "gspo":
        return slow_clip(mean, advantage, 0.1, 0.2, None)
    if name == "cispo":
        cut = ratio if ratio < 1.5 else 1.5
        return -cut * advantage * logprob, -cut * advantage, False
    kappa = 1.0 if advantage > 0 else 1.05
    gate = 1 / (1 + math.exp(-kappa * (ratio - 1)))
    return -gate * 4 / kappa * advantage, -4 * gate * (1 - gate) * ratio * advantage, False


def mean_ratio(one: torch.Tensor, other: torch.Tensor, row: int) -> float:
    product_ = math.prod(math.exp(one[row, place].item() - other[row, place].item()) for place in range(LENGTHS[row]))
    return product_ ** (1 / LENGTHS[row])


def slow_correction(name: str, values: Tokens, row: int, place: int) -> tuple[float, bool]:
    if name == "none":
        return 1.0, False
    if name == "truncated":
        ratio = math.exp(values.old_CT[row, place].item() - values.sampled_CT[row, place].item())
        return min(ratio, 2.0), ratio > 2.0
    kept = 0.9 <= mean_ratio(values.old_CT, values.sampled_CT, row) <= 1.2
    return float(kept), not kept


def slow_kl(name: str, logprob: float, base: float) -> tuple[float, float, float]:
    """The estimate, what it adds to the loss, and to the slope."""
    difference = logprob - base
    if name == "k1":
        return difference, 0.1 * difference * logprob, 0.1 * difference
    if name == "k2":
        return difference**2 / 2, 0.1 * difference**2, 0.2 * difference
    ratio = math.exp(base) / math.exp(logprob)
    return ratio - math.log(ratio) - 1, 0.3 * (ratio - math.log(ratio) - 1), 0.3 * (1 - ratio)


@pytest.mark.parametrize("name", WHOLE)
def test_every_combination_agrees_with_scalar_code_in_value_slope_and_facts(name):
    loss_name, correction_name, kl_name = name.split(", ")
    values = random_tokens(21)
    found, facts = WHOLE[name].per_token(values)
    slopes = slope(found, values.logprobs_CT)
    for row, length in enumerate(LENGTHS):
        mean, advantage = mean_ratio(values.logprobs_CT, values.old_CT, row), values.advantages_C1[row].item()
        for place in range(length):
            logprob = values.logprobs_CT[row, place].item()
            ratio = math.exp(logprob) / math.exp(values.old_CT[row, place].item())
            wanted, wanted_slope, clipped = slow(loss_name, logprob, ratio, mean, advantage)
            weight, corrected = slow_correction(correction_name, values, row, place)
            wanted, wanted_slope = weight * wanted, weight * wanted_slope
            if kl_name != "none":
                value, added, pull = slow_kl(kl_name, logprob, values.base_CT[row, place].item())
                wanted, wanted_slope = wanted + added, wanted_slope + pull
                assert facts["kl"][row, place].item() == pytest.approx(value, rel=1e-9, abs=1e-12)
            assert found[row, place].item() == pytest.approx(wanted, rel=1e-6, abs=1e-12)
            assert slopes[row, place].item() == pytest.approx(wanted_slope, rel=1e-6, abs=1e-12)
            assert facts["clipped"][row, place].item() == float(clipped)
            assert facts["corrected"][row, place].item() == float(corrected)


def test_the_random_tokens_meet_every_branch():
    """Or the comparison above would show less than it seems to."""
    values = random_tokens(21)
    for name in ("clip", "dual clip", "gspo"):
        clipped_CT = Loss(LOSSES[name], token).per_token(values).facts["clipped"]
        for sign in (-1, 1):
            own_CT = clipped_CT[(values.mask_CT * values.advantages_C1 * sign) > 0]
            assert 0.0 < own_CT.mean().item() < 1.0
    dual_CT = (values.logprobs_CT - values.old_CT > math.log(2)) & (values.advantages_C1 < 0)
    assert dual_CT.any()
    for name in ("truncated", "sequence"):
        changed_CT = Loss(reinforce, token, CORRECTIONS[name]).per_token(values).facts["corrected"]
        assert 0.0 < changed_CT[values.mask_CT > 0].mean().item() < 1.0


def test_reinforce_is_minus_advantage_times_log_probability():
    logprobs = torch.tensor([[-1.0, -2.0], [-0.5, -4.0]], dtype=torch.float64)
    found = reinforce(tokens(logprobs, torch.zeros_like(logprobs), column(2.0, -1.0)))
    assert found.tolist() == [[2.0, 4.0], [-0.5, -4.0]]


@pytest.mark.parametrize("dual", [None, 1.5, 3.0])
@pytest.mark.parametrize(("low", "high"), [(0.2, 0.28), (0.5, 0.1), (0.1, 3.0)])
def test_clip_equals_its_formula_at_ratios_far_and_near(low, high, dual):
    for ratio, advantage in product((0.01, 0.5, 0.85, 1.0, 1.15, 2.0, 9.0), (-2.0, -0.3, 0.0, 0.7)):
        found = clip(tokens(at_ratio(ratio), OLD, column(advantage)), low=low, high=high, dual=dual)
        bounded = 1 - low if ratio < 1 - low else 1 + high if ratio > 1 + high else ratio
        wanted = max(-ratio * advantage, -bounded * advantage)
        wanted = min(wanted, -dual * advantage) if dual is not None and advantage < 0 else wanted
        assert found.item() == pytest.approx(wanted, rel=1e-12)


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
    assert slope(found, logprob).item() == pytest.approx(gradient, rel=1e-12)


@pytest.mark.parametrize(
    ("ratios", "advantage", "loss", "gradient"),
    [
        ((2.0, 0.5), 1.5, -1.5, -1.5),  # the mean ratio is 1, however far the tokens are from it
        ((2.0, 2.0), 1.0, -1.0004, 0.0),
        ((4.0, 1.0), 1.0, -1.0004, 0.0),  # sqrt(4 * 1) = 2
        ((4.0, 1.0), -1.0, 2.0, 2.0),
        ((0.25, 1.0), -1.0, 0.9997, 0.0),  # sqrt(1/4 * 1) = 1/2
        ((0.25, 1.0), 3.0, -1.5, -1.5),
        ((1.0003, 1.0003), 1.0, -1.0003, -1.0003),
        ((1.0005, 1.0005), 1.0, -1.0004, 0.0),
        ((0.9998, 0.9998), -1.0, 0.9998, 0.9998),
        ((0.9996, 0.9996), -1.0, 0.9997, 0.0),
    ],
)
def test_gspo_gives_the_numbers_worked_out_by_hand(ratios, advantage, loss, gradient):
    logprobs = table([math.log(ratio) - 1.0 for ratio in ratios]).requires_grad_()
    found = gspo(tokens(logprobs, table([-1.0, -1.0]), column(advantage)))
    assert found.tolist() == [pytest.approx([loss, loss], rel=1e-12)]
    assert slope(found, logprobs).tolist() == [pytest.approx([gradient, gradient], rel=1e-12)]


def slow_gspo(logprobs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, lengths: tuple[int, ...]):
    """The sum over calls of the clipped loss on the ratio of the whole call, as the paper first writes it."""
    total = torch.zeros((), dtype=torch.float64)
    for row, length in enumerate(lengths):
        ratio = torch.exp(sum(logprobs[row, place] - old[row, place] for place in range(length)) / length)
        advantage = advantages[row, 0].item()
        stuck = (advantage > 0 and ratio.item() > 1.2) or (advantage < 0 and ratio.item() < 0.9)
        total = total - (ratio.detach().clamp(0.9, 1.2) if stuck else ratio) * advantage
    return total


def test_the_mean_of_gspo_over_the_tokens_of_a_call_has_the_value_and_gradient_of_the_sequence_loss():
    values = random_tokens(21)
    lengths_C1 = column(*LENGTHS)
    found = (LOSSES["gspo"](values) * values.mask_CT / lengths_C1).sum()
    wanted = slow_gspo(values.logprobs_CT, values.old_CT, values.advantages_C1, LENGTHS)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12)
    torch.testing.assert_close(slope(found, values.logprobs_CT), slope(wanted, values.logprobs_CT))
    assert gradcheck(lambda one: slow_gspo(one, values.old_CT, values.advantages_C1, LENGTHS), (values.logprobs_CT,))


@pytest.mark.parametrize(
    ("ratio", "advantage", "ratio_max", "gradient"),
    [
        (1.0, 2.0, 5.0, -2.0),
        (2.0, 1.5, 5.0, -3.0),
        (0.1, 1.0, 5.0, -0.1),
        (9.0, 1.5, 5.0, -7.5),
        (9.0, -1.5, 5.0, 7.5),
        (9.0, 1.0, 1.5, -1.5),
        (9.0, 0.0, 5.0, 0.0),
    ],
)
def test_cispo_gives_the_numbers_worked_out_by_hand(ratio, advantage, ratio_max, gradient):
    logprob = at_ratio(ratio)
    found = cispo(tokens(logprob, OLD, column(advantage)), ratio_max=ratio_max)
    assert found.item() == pytest.approx(gradient * (math.log(ratio) - 1.0), rel=1e-12)
    assert slope(found, logprob).item() == pytest.approx(gradient, rel=1e-12)


LOG3 = math.log(3)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.0, 2.0, -4.0, -2.0),  # sigmoid(0) = 1/2, its slope 1/4
        (1.0, -2.1, 4.0, 2.1),  # 1/2 * 4 / 1.05 * 2.1
        (1.0 + LOG3, 1.0, -3.0, -0.75 * (1 + LOG3)),  # sigmoid(log 3) = 3/4, its slope 3/16
        (1.0 + LOG3 / 1.05, -1.05, 3.0, 0.7875 * (1 + LOG3 / 1.05)),
        (1.0 - LOG3 / 2, 1.0, -4 / (1 + math.sqrt(3)), -4 * math.sqrt(3) / (1 + math.sqrt(3)) ** 2 * (1 - LOG3 / 2)),
        (2.0, 0.0, 0.0, 0.0),
    ],
)
def test_sapo_gives_the_numbers_worked_out_by_hand(ratio, advantage, loss, gradient):
    logprob = at_ratio(ratio)
    found = sapo(tokens(logprob, OLD, column(advantage)))
    assert found.item() == pytest.approx(loss, rel=1e-6)
    assert slope(found, logprob).item() == pytest.approx(gradient, rel=1e-6)


def test_the_gates_of_sapo_are_options_by_sign():
    both = tokens(table([LOG3, LOG3]).T, column(0.0, 0.0), column(1.0, -1.0))  # the ratio is 3
    found = sapo(both, positive=LOG3 / 2, negative=LOG3)  # sigmoid of log 3 and of 2 log 3
    assert found[:, 0].tolist() == pytest.approx([-0.75 * 8 / LOG3, 0.9 * 4 / LOG3], rel=1e-6)


@pytest.mark.parametrize("token_loss", LOSSES.values(), ids=LOSSES)
def test_on_policy_every_gradient_is_that_of_reinforce(token_loss):
    now = on_policy(random_tokens(4))
    one, other = slope(token_loss(now), now.logprobs_CT), slope(reinforce(now), now.logprobs_CT)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("token_loss", [reinforce, clip, partial(clip, low=0.1, high=0.6, dual=2.0), sapo])
def test_gradients_of_the_token_losses_are_numerically_right(token_loss):
    generator = torch.Generator().manual_seed(0)
    old = -torch.rand(6, 5, generator=generator, dtype=torch.float64) - 0.5
    logprobs = (old + torch.randn(6, 5, generator=generator, dtype=torch.float64)).requires_grad_()
    advantages = torch.randn(6, 1, generator=generator, dtype=torch.float64)
    assert gradcheck(lambda value: token_loss(tokens(value, old, advantages)), (logprobs,))


@pytest.mark.parametrize("token_loss", LOSSES.values(), ids=LOSSES)
def test_gradients_flow_through_the_log_probabilities_alone(token_loss):
    values = random_tokens(0)
    others = [values.old_CT, values.sampled_CT, values.base_CT, values.advantages_C1]
    assert not any(other.requires_grad for other in others)
    assert token_loss(values).requires_grad
    assert not token_loss(values._replace(logprobs_CT=values.logprobs_CT.detach())).requires_grad


@pytest.mark.parametrize("distance", [-90.0, 90.0])
@pytest.mark.parametrize("token_loss", LOSSES.values(), ids=LOSSES)
def test_a_ratio_that_no_float32_holds_gives_finite_losses_and_gradients(token_loss, distance):
    old = torch.full((2, 3), -100.0)
    logprobs = (old + distance).requires_grad_()
    found = token_loss(tokens(logprobs, old, torch.tensor([[1.0], [-1.0]])))
    assert torch.isfinite(found).all()
    assert torch.isfinite(slope(found, logprobs)).all()


HAND = Tokens(
    logprobs_CT=table([math.log(1.5) - 1, -1.0], [math.log(0.5) - 1, math.log(2.0) - 1]).requires_grad_(),
    old_CT=table([-1.0, -1.0], [-1.0, -1.0]),
    sampled_CT=table([-1.0, -1 - math.log(3)], [math.log(2) - 1, -1 - math.log(1.5)]),
    base_CT=table([math.log(1.5) - 2, 0.0], [math.log(0.5) - 3, math.log(2.0) - 1]),
    mask_CT=table([1.0, 1.0], [1.0, 1.0]),
    advantages_C1=column(1.0, -1.0),
)
"""Ratios 1.5, 1 and 1/2, 2; sampler ratios 1, 3 and 1/2, 1.5; differences to the base 1, -1 and 2, 0."""


def test_a_whole_loss_and_its_facts_by_hand():
    loss = Loss(clip, token, truncated, partial(k2, weight=0.1))
    found, facts = loss.per_token(HAND)
    # clip: -1.28, -1 and 0.8, 2; weights 1, 2 and 0.5, 1.5; k2: 0.5, 0.5 and 2, 0
    assert found.tolist() == [pytest.approx([-1.28 + 0.05, -2 + 0.05]), pytest.approx([0.4 + 0.2, 3.0])]
    assert facts["clipped"].tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert facts["corrected"].tolist() == [[0.0, 1.0], [0.0, 0.0]]
    assert facts["kl"].tolist() == [pytest.approx([0.5, 0.5]), pytest.approx([2.0, 0.0], abs=1e-12)]
    assert not any(fact.requires_grad for fact in facts.values())


def test_a_masked_call_keeps_only_its_kl():
    loss = Loss(reinforce, token, partial(sequence, low=0.8, high=1.5), partial(k1, weight=0.5))
    found, facts = loss.per_token(HAND)  # geometric means sqrt(3) and sqrt(3/4)
    assert facts["corrected"].tolist() == [[1.0, 1.0], [0.0, 0.0]]
    first, second = math.log(1.5) - 1, -1.0
    assert found[0].tolist() == pytest.approx([0.5 * first, -0.5 * second])
    third, fourth = math.log(0.5) - 1, math.log(2.0) - 1
    assert found[1].tolist() == pytest.approx([third + third, fourth])
    assert facts["kl"].tolist() == [pytest.approx([1.0, -1.0]), pytest.approx([2.0, 0.0], abs=1e-12)]


@pytest.mark.parametrize(
    ("token_loss", "clipped"),
    [
        (reinforce, [[0, 0], [0, 0]]),
        (clip, [[1, 0], [1, 0]]),
        (partial(clip, dual=1.75), [[1, 0], [1, 1]]),
        (gspo, [[1, 1], [0, 0]]),  # of the calls sqrt(1.5) and 1
        (cispo, [[0, 0], [0, 0]]),  # every token keeps its gradient: that is its point
        (sapo, [[0, 0], [0, 0]]),
    ],
)
def test_clipped_are_the_tokens_whose_advantage_has_no_hold_on_them(token_loss, clipped):
    assert Loss(token_loss, token).per_token(HAND).facts["clipped"].tolist() == clipped


def test_a_token_without_advantage_is_not_clipped():
    nothing = HAND._replace(advantages_C1=column(0.0, 0.0))
    for token_loss in LOSSES.values():
        assert not Loss(token_loss, token).per_token(nothing).facts["clipped"].any()


def test_finding_what_is_clipped_leaves_the_gradient_as_it_was():
    values = random_tokens(0)
    found, _ = Loss(clip, token).per_token(values)
    assert torch.equal(slope(found, values.logprobs_CT), slope(clip(values), values.logprobs_CT))


def test_without_a_kl_there_is_no_kl_among_the_facts():
    assert set(Loss(clip, token).per_token(HAND).facts) == {"clipped", "corrected"}


@pytest.mark.parametrize("loss", WHOLE.values(), ids=WHOLE)
def test_padding_changes_no_loss_and_no_fact(loss):
    values = random_tokens(1)
    found, facts = loss.per_token(values)
    wide, wide_facts = loss.per_token(rows_of(values, list(range(CALLS)), width=9))
    torch.testing.assert_close(wide[:, :5], found, rtol=1e-14, atol=1e-14)
    for name, fact in facts.items():
        torch.testing.assert_close(wide_facts[name][:, :5], fact, rtol=1e-14, atol=1e-14)
    for row, length in enumerate(LENGTHS):
        one, _ = loss.per_token(rows_of(values, [row], width=length))
        torch.testing.assert_close(one[0], found[row, :length], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("loss", WHOLE.values(), ids=WHOLE)
def test_the_order_of_calls_changes_no_loss(loss):
    values, order = random_tokens(1), torch.randperm(CALLS, generator=torch.Generator().manual_seed(0)).tolist()
    found, facts = loss.per_token(values)
    moved, moved_facts = loss.per_token(rows_of(values, order))
    torch.testing.assert_close(moved, found[order], rtol=1e-14, atol=1e-14)
    for name, fact in facts.items():
        torch.testing.assert_close(moved_facts[name], fact[order], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("aggregation", AGGREGATIONS.values(), ids=AGGREGATIONS)
@pytest.mark.parametrize("name", [f"{loss}, truncated, k3" for loss in LOSSES])
def test_parts_of_an_update_sum_to_the_whole(name, aggregation):
    values, weights = random_tokens(2), column(*aggregation(samples()))
    found = (WHOLE[name].per_token(values).loss_CT * values.mask_CT * weights).sum()
    parts = torch.zeros((), dtype=torch.float64)
    for rows in ([0, 2, 4, 6, 8, 10], [1, 3], [5, 7, 9, 11]):  # a role in one piece, the other in micro-batches
        own = rows_of(values, rows, width=max(LENGTHS[row] for row in rows))
        parts = parts + (WHOLE[name].per_token(own).loss_CT * own.mask_CT * weights[rows]).sum()
    assert parts.item() == pytest.approx(found.item(), rel=1e-12)
    torch.testing.assert_close(
        slope(parts, values.logprobs_CT), slope(found, values.logprobs_CT), rtol=1e-12, atol=1e-14
    )


def test_a_loss_is_the_weighted_sum_that_its_definition_says():
    logprobs = torch.tensor([[-1.0, -2.0, 0.0], [-3.0, -4.0, -5.0]], dtype=torch.float64)
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    values = reinforce(tokens(logprobs, logprobs, column(1.0, -2.0))) * mask
    update = [samples()[4], samples()[0]]  # of two and three tokens
    by_token, by_call = ((values * column(*rule(update))).sum().item() for rule in (token, call))
    assert by_token == pytest.approx((1 + 2 - 6 - 8 - 10) / 5)
    assert by_call == pytest.approx(((1 + 2) / 2 - (6 + 8 + 10) / 3) / 2)
