import math
from collections.abc import Mapping

import pytest
import torch

from counterpoint.diagnostics.base import Step
from counterpoint.diagnostics.role_gradients import cosine, policy_numbers, role_gradients
from counterpoint.learners._gradient import FlatGradient
from counterpoint.learners.base import Contribution, Source


def part(*values: float, weight: float = 0.5) -> Contribution:
    return Contribution(gradient=FlatGradient(torch.tensor(values)), weight=weight, loss=0.0)


def step(contributions: Mapping[Source, Contribution]) -> Step:
    return Step(index=1, groups=[], samples=[], contributions=contributions)


def test_two_orthogonal_roles_give_the_numbers_worked_out_by_hand():
    numbers = policy_numbers({"writer": part(3.0, 0.0, weight=0.25), "critic": part(0.0, 4.0, weight=0.75)})
    one, other = 3 / 7, 4 / 7
    assert numbers == pytest.approx(
        {
            "norm": 5.0,
            "dominance": other,
            "effective_roles": one**-one * other**-other,
            "writer/norm": 3.0,
            "writer/share": one,
            "writer/alignment": 0.6,
            "writer/per_call_norm": 12.0,
            "critic/norm": 4.0,
            "critic/share": other,
            "critic/alignment": 0.8,
            "critic/per_call_norm": 16 / 3,
            "critic+writer/cosine": 0.0,
        },
        abs=1e-7,
    )


def test_opposed_roles_are_in_full_conflict_and_the_stronger_decides():
    numbers = policy_numbers({"writer": part(2.0, 0.0), "critic": part(-1.0, 0.0)})
    assert numbers["norm"] == 1.0
    assert numbers["critic+writer/cosine"] == -1.0
    assert (numbers["writer/alignment"], numbers["critic/alignment"]) == (1.0, -1.0)
    assert numbers["writer/share"] == pytest.approx(2 / 3)


def test_roles_that_cancel_leave_no_direction_to_be_aligned_with():
    numbers = policy_numbers({"writer": part(1.0, 1.0), "critic": part(-1.0, -1.0)})
    assert (numbers["norm"], numbers["writer/alignment"], numbers["critic/alignment"]) == (0.0, 0.0, 0.0)
    assert numbers["critic+writer/cosine"] == pytest.approx(-1.0)
    assert numbers["effective_roles"] == pytest.approx(2.0)


def test_a_role_whose_gradient_is_zero_leaves_everything_to_the_other():
    numbers = policy_numbers({"writer": part(3.0, 4.0), "critic": part(0.0, 0.0)})
    assert (numbers["dominance"], numbers["effective_roles"]) == (1.0, 1.0)
    assert (numbers["writer/share"], numbers["critic/share"]) == (1.0, 0.0)
    assert (numbers["writer/alignment"], numbers["critic/alignment"]) == (pytest.approx(1.0), 0.0)
    assert (numbers["critic/norm"], numbers["critic/per_call_norm"], numbers["critic+writer/cosine"]) == (0.0, 0.0, 0.0)


def test_when_nothing_pulls_every_number_is_finite():
    numbers = policy_numbers({"writer": part(0.0), "critic": part(0.0)})
    assert all(math.isfinite(value) for value in numbers.values())
    assert numbers["norm"] == numbers["dominance"] == 0.0


def test_equal_roles_count_as_many_and_every_pair_has_a_cosine():
    roles = {name: part(*(1.0 if place == index else 0.0 for place in range(4))) for index, name in enumerate("abcd")}
    numbers = policy_numbers(roles)
    assert numbers["effective_roles"] == pytest.approx(4.0)
    assert numbers["dominance"] == pytest.approx(0.25)
    assert numbers["a/alignment"] == pytest.approx(0.5)
    pairs = {name for name in numbers if name.endswith("/cosine")}
    assert pairs == {f"{pair}/cosine" for pair in ("a+b", "a+c", "a+d", "b+c", "b+d", "c+d")}


def test_names_do_not_depend_on_which_role_came_first():
    parts = {"writer": part(1.0, 2.0), "critic": part(3.0, -1.0), "judge": part(0.5, 0.5)}
    backwards = dict(reversed(parts.items()))
    assert policy_numbers(parts) == pytest.approx(policy_numbers(backwards))


def test_a_cosine_does_not_depend_on_lengths():
    one, other = FlatGradient(torch.tensor([1.0, 2.0, -1.0])), FlatGradient(torch.tensor([0.5, 0.1, 3.0]))
    expected = (0.5 + 0.2 - 3.0) / math.sqrt(6.0 * (0.25 + 0.01 + 9.0))
    assert cosine(one, other) == pytest.approx(expected, rel=1e-6)
    assert cosine(one.scaled(1e-3), other.scaled(40.0)) == pytest.approx(expected, rel=1e-5)


def test_a_shared_policy_has_its_roles_numbers_under_its_name():
    shared = {Source("shared", "writer"): part(3.0, 0.0), Source("shared", "critic"): part(0.0, 4.0)}
    numbers = role_gradients(step(shared))
    assert numbers["gradient/shared/norm"] == pytest.approx(5.0)
    assert numbers["gradient/shared/writer/share"] == pytest.approx(3 / 7)
    assert numbers["gradient/shared/critic+writer/cosine"] == 0.0
    assert numbers["role/writer/gradient_share"] == pytest.approx(3 / 7)


def test_an_isolated_role_is_its_policy_and_roles_can_still_be_compared():
    isolated = {Source("left", "writer"): part(3.0, 0.0, weight=1.0), Source("right", "critic"): part(1.0, weight=1.0)}
    numbers = role_gradients(step(isolated))
    for policy, role in (("left", "writer"), ("right", "critic")):
        assert numbers[f"gradient/{policy}/effective_roles"] == pytest.approx(1.0)
        assert numbers[f"gradient/{policy}/{role}/share"] == pytest.approx(1.0)
        assert numbers[f"gradient/{policy}/{role}/alignment"] == pytest.approx(1.0)
    assert numbers["role/writer/gradient_share"] == pytest.approx(0.75)
    assert not any("cosine" in name for name in numbers)


def test_a_step_without_contributions_has_no_numbers():
    assert role_gradients(step({})) == {}
