import math
from collections.abc import Mapping

import pytest
import torch
from facts import make_call, make_episode, make_group, make_step

from counterpoint.diagnostics.base import Step
from counterpoint.diagnostics.distance import Distance, k3, spaced
from counterpoint.diagnostics.persistence import Persistence
from counterpoint.diagnostics.role_gradients import RoleGradients, policy_numbers, role_gradients, slot_numbers
from counterpoint.learners.base import Contribution, Source, cosine
from counterpoint.learners.gradient import FlatGradient


def part(*values: float, weight: float = 0.5) -> Contribution:
    return Contribution(gradient=FlatGradient(torch.tensor(values)), weight=weight, loss=0.0)


def step(contributions: Mapping[Source, Contribution]) -> Step:
    return make_step(contributions=contributions)


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


@pytest.mark.parametrize("left", [0.0, 1e-9, -3e-7, 8e-6])
def test_roles_that_cancel_leave_no_direction_to_be_aligned_with(left):
    numbers = policy_numbers({"writer": part(1.0, 1.0), "critic": part(-1.0, -1.0 + left)})
    assert numbers["norm"] == 0.0
    assert not [name for name in numbers if name.endswith("/alignment")]
    assert numbers["critic+writer/cosine"] == pytest.approx(-1.0)
    assert numbers["effective_roles"] == pytest.approx(2.0, rel=1e-5)
    assert numbers["writer/share"] == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1.0, 1e9])
def test_what_is_left_of_a_conflict_counts_however_small_it_is_in_itself(scale):
    numbers = policy_numbers({"writer": part(scale, 0.0), "critic": part(-scale, 1e-4 * scale)})
    assert numbers["norm"] == pytest.approx(1e-4 * scale, rel=1e-5)
    assert numbers["critic/alignment"] == pytest.approx(1e-4, rel=1e-3)


def test_a_role_whose_gradient_is_zero_leaves_everything_to_the_other():
    numbers = policy_numbers({"writer": part(3.0, 4.0), "critic": part(0.0, 0.0)})
    assert (numbers["dominance"], numbers["effective_roles"]) == (1.0, 1.0)
    assert (numbers["writer/share"], numbers["critic/share"]) == (1.0, 0.0)
    assert numbers["writer/alignment"] == pytest.approx(1.0)
    assert (numbers["critic/norm"], numbers["critic/per_call_norm"]) == (0.0, 0.0)
    assert {"critic/alignment", "critic+writer/cosine"}.isdisjoint(numbers), "there is no angle with nothing"


def test_a_policy_of_which_nothing_is_left_has_no_numbers():
    nothing = {Source("p", "writer"): part(0.0), Source("p", "critic"): part(0.0)}
    assert policy_numbers({source.role: one for source, one in nothing.items()}) == {}
    assert set(role_gradients(step(nothing))) == {"loss/p/writer/value", "loss/p/critic/value"}


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


def slots(*rows):
    return [FlatGradient(torch.tensor(row)) for row in rows]


def test_slots_that_push_alike_amplify_and_slots_apart_do_not():
    alike = slot_numbers(slots([3.0, 4.0], [6.0, 8.0]))
    # By chance: 2 sqrt(5^2 + 10^2) / (5 + 10).
    by_chance = 2 * math.sqrt(125) / 15
    assert alike == pytest.approx({"coherence": 1.0, "amplification": 2.0, "amplification_by_chance": by_chance})
    opposed = slot_numbers(slots([1.0, 0.0], [-1.0 + 1e-7, 0.0]))
    assert (opposed["coherence"], opposed["amplification"]) == (0.0, 0.0)
    # Two at a right angle: |(3, 4)| / (3 + 4), which is what chance gives.
    square = slot_numbers(slots([3.0, 0.0], [0.0, 4.0]))
    assert square["coherence"] == pytest.approx(5 / 7)
    assert square["amplification"] == pytest.approx(square["amplification_by_chance"]) == pytest.approx(10 / 7)


def test_one_slot_or_none_that_pushes_has_no_coherence():
    assert slot_numbers(slots([1.0, 2.0])) == {}
    assert slot_numbers(slots([0.0, 0.0], [0.0, 0.0])) == {}


def test_many_slots_of_independent_noise_amplify_by_the_root_of_their_number():
    torch.manual_seed(0)
    found = slot_numbers([FlatGradient(torch.randn(200_000)) for _ in range(9)])
    assert found["amplification"] == pytest.approx(3.0, rel=0.01)
    assert found["amplification_by_chance"] == pytest.approx(3.0, rel=0.01)


def test_slots_kept_apart_are_told_of_under_their_role():
    voter = part(3.0, 4.0)._replace(slots=dict(enumerate(slots([3.0, 0.0], [0.0, 4.0]))))
    numbers = role_gradients(step({Source("all", "voter"): voter, Source("all", "judge"): part(1.0, 0.0)}))
    assert numbers["gradient/all/voter/amplification"] == pytest.approx(10 / 7)
    assert "gradient/all/judge/amplification" not in numbers


def test_slots_are_kept_apart_when_it_is_their_turn():
    assert [index for index in range(1, 8) if RoleGradients(every=3).slots_apart(index)] == [3, 6]
    assert not any(RoleGradients(every=0).slots_apart(index) for index in range(100))


def persistences(rows, memory=0.9):
    diagnostic = Persistence(memory=memory)
    found = [diagnostic.look(step({Source("p", "r"): part(*row)})) for row in rows]
    return [numbers.get("gradient/p/r/persistence") for numbers in found]


def test_persistence_is_the_cosine_with_the_average_of_what_was_before():
    first, second, third = persistences([(1.0, 0.0), (0.0, 2.0), (1.0, 1.0)], memory=0.75)
    assert first is None
    assert second == 0.0
    # 0.75 (1, 0) + 0.25 (0, 2) = (0.75, 0.5).
    assert third == pytest.approx(1.25 / (math.sqrt(2) * math.hypot(0.75, 0.5)))


def test_a_role_that_drifts_persists_and_noise_does_not():
    torch.manual_seed(0)
    drift = torch.ones(1000)
    drifting = persistences([(drift + torch.randn(1000)).tolist() for _ in range(20)])
    noise = persistences([torch.randn(1000).tolist() for _ in range(20)])
    assert min(drifting[5:]) > 0.5
    assert max(map(abs, noise[1:])) < 0.15


def test_a_step_without_a_gradient_is_no_observation_of_persistence():
    assert persistences([(0.0, 0.0), (1.0, 0.0), (0.0, 0.0), (1.0, 1.0)]) == [
        None,
        None,
        None,
        pytest.approx(math.sqrt(0.5)),
    ]


def test_a_memory_that_cancels_has_no_direction():
    back = persistences([(1.0, 2.0), (-1.0, -2.0), (0.3, -0.1), (1.0, 0.0)], memory=0.5)
    # m is zero after the second step, so that the third has nothing to be compared with.
    assert back == [None, pytest.approx(-1.0), None, pytest.approx(0.3 / math.hypot(0.3, 0.1))]


def test_what_persistence_remembers_is_saved_exactly(tmp_path):
    torch.manual_seed(0)
    steps = [step({Source("p", "r"): part(*torch.randn(50).tolist())}) for _ in range(6)]
    unbroken, saved, loaded = Persistence(), Persistence(), Persistence()
    expected = [unbroken.look(one) for one in steps]
    for one in steps[:3]:
        saved.look(one)
    saved.save(tmp_path)
    loaded.load(tmp_path)
    assert [loaded.look(one) for one in steps[3:]] == expected[3:]


def test_persistence_before_its_first_step_can_be_saved(tmp_path):
    Persistence().save(tmp_path)
    loaded = Persistence()
    loaded.load(tmp_path)
    assert loaded.look(step({Source("p", "r"): part(1.0)})) == {}


def test_distance_is_the_k3_estimate_by_hand():
    calls = [make_call(completion_ids=(1, 2), logprobs=(-1.0, -2.0)), make_call(completion_ids=(3,), logprobs=(-0.5,))]
    base = [[-1.0, -1.0], [-1.5]]
    expected = (0.0 + (math.e - 1.0 - 1.0) + (math.exp(-1.0) + 1.0 - 1.0)) / 3
    assert k3(calls, base) == pytest.approx(expected)
    assert k3(calls, [call.logprobs for call in calls]) == 0.0


def test_distance_is_never_negative_and_near_the_true_divergence():
    torch.manual_seed(0)
    mine, base = torch.tensor([0.5, 0.3, 0.2]).log(), torch.tensor([0.4, 0.35, 0.25]).log()
    drawn = torch.multinomial(mine.exp(), 20_000, replacement=True)
    call = make_call(completion_ids=tuple(drawn.tolist()), logprobs=tuple(mine[drawn].tolist()))
    found = k3([call], [base[drawn].tolist()])
    assert found == pytest.approx(float((mine.exp() * (mine - base)).sum()), rel=0.05)


def test_distance_asks_for_a_few_calls_of_each_role_when_it_is_due():
    asked = []

    def base_logprobs(calls):
        asked.append([call.seed for call in calls])
        return [[value - 1.0 for value in call.logprobs] for call in calls]

    voters = [make_call("voter", slot, seed=slot) for slot in range(6)]
    groups = [make_group(make_episode(*voters, make_call("judge", seed=99)))]
    diagnostic = Distance(calls=3, every=2)
    assert diagnostic.look(make_step(index=1, groups=groups, base_logprobs=base_logprobs)) == {}
    numbers = diagnostic.look(make_step(index=2, groups=groups, base_logprobs=base_logprobs))
    assert asked == [[0, 2, 4], [99]]
    assert numbers == pytest.approx(dict.fromkeys(("role/voter/distance", "role/judge/distance"), math.exp(-1.0)))


def test_calls_without_ids_have_no_distance():
    groups = [make_group(make_episode(make_call(completion_ids=(), logprobs=())))]
    assert Distance(every=1).look(make_step(groups=groups)) == {}


def test_calls_are_spaced_over_the_step():
    calls = [make_call(slot=slot) for slot in range(10)]
    assert [call.key.slot for call in spaced(calls, 4)] == [0, 2, 5, 7]
    assert spaced(calls, 10) == spaced(calls, 99) == calls
