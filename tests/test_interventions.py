"""Each intervention's exact effect on gradients or samples made by hand; and that weight 0 is its absence."""

import math
from dataclasses import replace

import pytest
import torch
from facts import make_credit_sample
from torch_build import fresh_model, tiny_base, tiny_folder

from counterpoint.algorithms.base import in_loss
from counterpoint.algorithms.build import build_loss
from counterpoint.errors import ConfigError, MemberError, RunError
from counterpoint.interventions import INTERVENTIONS
from counterpoint.interventions.base import Intervention, Interventions, Stop, Update
from counterpoint.interventions.build import build_interventions
from counterpoint.learners.base import Contribution, Source, coherence
from counterpoint.learners.gradient import FlatGradient
from counterpoint.learners.peft import Peft
from counterpoint.options import Spec
from counterpoint.policy import Routing
from counterpoint.recipe import config_from
from counterpoint.testing.tiny import tiny_calls, tiny_config, tiny_samples

ROLES = ("voter", "judge")
VOTER, JUDGE = Source("all", "voter"), Source("all", "judge")
ALONE = Source("own", "voter")


def built(name, **options):
    return building([{"name": name, **options}])


def building(table, roles=ROLES, **sections):
    return build_interventions(config_from({"interventions": table, **sections}), roles)


def part(*values, weight=0.5, slots=()):
    gradients = {slot: FlatGradient(torch.tensor(row)) for slot, row in enumerate(slots)}
    return Contribution(gradient=FlatGradient(torch.tensor(values)), weight=weight, loss=0.0, slots=gradients)


def update(**parts):
    """Of a shared policy, by role."""
    return Update({Source("all", role): one for role, one in parts.items()})


def values(changed):
    return {source.role: one.gradient.flat.tolist() for source, one in changed.contributions.items()}


def sample(reward=1.0, role="voter", logprobs=(-0.5,), **fields):
    made = make_credit_sample(reward, role)
    call = replace(
        made.call, logprobs=logprobs, completion_ids=(5,) * len(logprobs), policy=fields.pop("policy", "all")
    )
    return replace(made, call=call, **fields)


def test_every_intervention_says_what_it_is():
    for name, member in INTERVENTIONS.shipped().items():
        assert member.name == name
        assert len(member.__doc__.splitlines()) > 1


def test_an_unknown_intervention_option_or_role_is_refused():
    with pytest.raises(ConfigError, match="unknown intervention 'balanse'; did you mean 'balance'"):
        built("balanse")
    with pytest.raises(ConfigError, match=r"unknown key in \[interventions.balance\] 'wait'"):
        built("balance", wait=1.0)
    for spec in (
        Spec(name="role_rates", rates={"votre": 0.5}),
        Spec(name="anchor_roles", weights={"votre": 0.5}),
        Spec(name="phases", frozen=["votre"]),
        Spec(name="length_penalty", weights={"votre": 0.5}),
        Spec(name="phases", roles={"votre": {"period": 2}}),
        Spec(name="balance", shares={"votre": 1.0}),
    ):
        with pytest.raises(
            ConfigError, match=f"unknown role in interventions.{spec.name} 'votre'; did you mean 'voter'"
        ):
            building([spec.model_dump()])


NOTHING = [
    ("anchor_roles", {"weights": {"voter": 0.0}}),
    ("damp_coherence", {"weight": 0.0}),
    ("balance", {"weight": 0.0}),
    ("project_conflicts", {"weight": 0.0}),
    ("limit_amplification", {"weight": 0.0}),
    ("equal_calls", {"weight": 0.0}),
    ("phases", {}),
    ("role_rates", {"rates": {"voter": 1.0}}),
    ("entropy_floor", {"weight": 0.0}),
    ("length_penalty", {"weights": {"voter": 0.0}}),
]


@pytest.mark.parametrize(("name", "options"), NOTHING)
def test_without_weight_nothing_is_changed_to_the_bit(name, options):
    member = built(name, **options)
    torch.manual_seed(0)
    rows = torch.randn(2, 5).tolist()
    given = Update({VOTER: part(*rows[0], slots=rows), JUDGE: part(*rows[1]), ALONE: part(*rows[0])})
    samples = [sample(), sample(), sample(role="judge", reward=0.0)]
    for step in (1, 2, 3):
        changed = member.update(given, step)
        assert dict(changed.rates) == {}
        assert all(changed.contributions[source] is given.contributions[source] for source in given.contributions)
        assert list(member.samples(samples, step)) == samples
        assert member.slots_apart(step) is False
    loss = build_loss(config_from({}))
    assert member.loss(loss) == loss


def trained(specs, sharing=None, steps=3):
    """Digests and moves of a tiny learner after some steps with interventions."""
    routing = sharing or Routing({"writer": "both", "critic": "both"})
    learner = Peft(fresh_model(), routing.policies, tiny_config(tiny_folder()))
    interventions = building([spec.model_dump() for spec in specs], ("writer", "critic"))
    loss = interventions.loss(build_loss(config_from({})))
    chat = tiny_base().chat
    moves = []
    for step in range(1, steps + 1):
        samples = interventions.samples(tiny_samples(tiny_calls(chat, routing, seed=step), seed=step), step)
        found = learner.backward(in_loss(samples), loss, slots_apart=interventions.slots_apart(step))
        moves.append(learner.step(*interventions.update(Update(found), step), step=step))
    return learner.digests(), moves


def test_without_weight_the_weights_are_those_without_it():
    tables = {
        "length_penalty": {"weights": {"writer": 0.0}},
        "anchor_roles": {"weights": {"writer": 0.0}},
        "role_rates": {"rates": {"writer": 1.0}},
    }
    specs = [Spec(name=name, **tables.get(name, options)) for name, options in NOTHING]
    assert trained(specs)[0] == trained([])[0]


@pytest.mark.parametrize(
    "spec",
    [
        Spec(name="anchor_roles", weights={"writer": 0.5}),
        Spec(name="balance", shares={"writer": 1.0, "critic": 9.0}),
        Spec(name="damp_coherence", weight=0.9, memory=0.0),
        Spec(name="limit_amplification"),
        Spec(name="phases", frozen=["critic"]),
        Spec(name="role_rates", rates={"writer": 0.25}),
    ],
    ids=lambda spec: spec.name,
)
@pytest.mark.parametrize("policies", [("both", "both"), ("left", "right")], ids=["shared", "isolated"])
def test_with_weight_the_weights_differ_in_either_sharing(spec, policies):
    sharing = Routing(dict(zip(("writer", "critic"), policies, strict=True)))
    same = spec.name == "balance" and policies == ("left", "right")  # a policy of one role has nothing to balance
    assert (trained([spec], sharing)[0] == trained([], sharing)[0]) is same


def test_balance_by_mass_gives_every_role_its_share_and_keeps_the_mass():
    given = update(voter=part(30.0, 40.0), judge=part(0.0, 2.0))  # norms 50 and 2
    assert values(built("balance").update(given, 1)) == {
        "voter": pytest.approx([15.6, 20.8]),  # 26 each
        "judge": pytest.approx([0.0, 26.0]),
    }
    uneven = built("balance", shares={"voter": 1.0, "judge": 3.0}).update(given, 1)
    assert values(uneven) == {"voter": pytest.approx([7.8, 10.4]), "judge": pytest.approx([0.0, 39.0])}
    half = built("balance", weight=0.5).update(given, 1)
    assert values(half)["judge"] == pytest.approx([0.0, 2.0 * math.sqrt(13.0)])


def test_balance_by_calls_undoes_the_part_that_a_role_has_in_the_loss():
    given = update(voter=part(3.0, weight=0.75), judge=part(1.0, weight=0.25))
    assert values(built("balance", by="calls").update(given, 1)) == {
        "voter": pytest.approx([2.0]),  # 3 x (1/2) / (3/4)
        "judge": pytest.approx([2.0]),
    }


def test_balance_leaves_a_policy_of_one_role_and_a_role_without_gradient_alone():
    given = Update({ALONE: part(3.0), VOTER: part(5.0), JUDGE: part(0.0)})
    changed = built("balance").update(given, 1)
    assert changed.contributions[ALONE] is given.contributions[ALONE]
    assert changed.contributions[JUDGE] is given.contributions[JUDGE]
    assert changed.contributions[VOTER].gradient.flat.tolist() == [5.0]


def test_shares_must_name_every_role_of_a_policy():
    with pytest.raises(ConfigError, match="shares says nothing of role 'judge'"):
        built("balance", shares={"voter": 1.0})


def test_conflicting_roles_are_projected_by_hand():
    given = update(voter=part(1.0, 0.0), judge=part(-1.0, 1.0))  # inner product -1
    changed = values(built("project_conflicts").update(given, 1))
    assert changed["voter"] == pytest.approx([0.5, 0.5])  # (1, 0) + 1/2 (-1, 1)
    assert changed["judge"] == pytest.approx([0.0, 1.0])  # (-1, 1) + 1 (1, 0)
    half = values(built("project_conflicts", weight=0.5).update(given, 1))
    assert half["voter"] == pytest.approx([0.75, 0.25])


def test_roles_that_agree_or_have_other_policies_are_not_projected():
    agreeing = update(voter=part(1.0, 0.0), judge=part(1.0, 1.0))
    assert values(built("project_conflicts").update(agreeing, 1)) == values(agreeing)
    apart = Update({VOTER: part(1.0), ALONE: part(-1.0)})
    assert built("project_conflicts").update(apart, 1).contributions[VOTER].gradient.flat.tolist() == [1.0]


def test_after_projection_no_two_roles_conflict():
    torch.manual_seed(0)
    for _ in range(50):
        given = update(voter=part(*torch.randn(6).tolist()), judge=part(*torch.randn(6).tolist()))
        changed = built("project_conflicts").update(given, 1).contributions
        for source, other in ((VOTER, JUDGE), (JUDGE, VOTER)):
            assert changed[source].gradient.dot(given.contributions[other].gradient) >= -1e-5


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_a_gradient_that_is_projected_away_is_zero_and_not_what_rounding_leaves(scale):
    torch.manual_seed(0)
    row = scale * torch.randn(1000)
    given = update(voter=part(*row.tolist()), judge=part(*(-3.0 * row).tolist()))
    changed = built("project_conflicts").update(given, 1)
    assert [one.gradient.norm() for one in changed.contributions.values()] == [0.0, 0.0]
    # Balanced afterwards, rounding would have been made as large as a gradient.
    balanced = built("balance").update(changed, 1)
    assert [one.gradient.norm() for one in balanced.contributions.values()] == [0.0, 0.0]


def test_damping_remembers_nothing_of_an_update_in_which_the_role_had_no_gradient():
    found = []
    for rows in ([(1.0, 0.0), (1.0, 1.0)], [(0.0, 0.0), (1.0, 0.0), (0.0, 0.0), (1.0, 1.0)]):
        member = built("damp_coherence", weight=0.5)
        for step, row in enumerate(rows, start=1):
            last = member.update(Update({ALONE: part(*row)}), step)
        found.append(last.rates["own"])
    assert found[0] == found[1] == pytest.approx(1 - 0.5 * math.sqrt(0.5))


def test_steps_are_multiplied_so_that_plain_descent_sees_exactly_the_factors():
    given = Update({VOTER: part(3.0, 4.0), JUDGE: part(0.0, 10.0)})
    changed = given.with_steps_times({VOTER: 0.5})
    # |g| = 5 and 10: f = (0.5 x 5 + 10) / 15.
    assert changed.rates == {"all": pytest.approx(12.5 / 15)}
    for source, factor in ((VOTER, 0.5), (JUDGE, 1.0)):
        stepped = changed.rates["all"] * changed.contributions[source].gradient.flat
        assert stepped.tolist() == pytest.approx((factor * given.contributions[source].gradient.flat).tolist())


def test_a_policy_of_one_role_goes_less_far_and_its_gradient_stays():
    given = Update({ALONE: part(3.0, 4.0)}, {"own": 0.5})
    changed = given.with_steps_times({ALONE: 0.1})
    assert changed.rates == {"own": pytest.approx(0.05)}
    assert changed.contributions[ALONE] is given.contributions[ALONE]


def test_role_rates_are_exact_under_adam_for_a_policy_of_one_role():
    sharing = Routing({"writer": "left", "critic": "right"})
    (_, plain), (_, scaled) = trained([], sharing), trained([Spec(name="role_rates", rates={"writer": 0.25})], sharing)
    assert scaled[0]["left"].learning_rate == pytest.approx(0.25 * plain[0]["left"].learning_rate)
    assert scaled[0]["left"].change == pytest.approx(0.25 * plain[0]["left"].change, rel=1e-3)
    assert scaled[0]["right"] == plain[0]["right"]


ALIKE = part(6.0, 8.0, slots=[(3.0, 4.0), (3.0, 4.0)])
"""Two slots that push alike: sqrt(2) times what independent ones come to."""


def rate(intervention, one, step=1):
    """The factor of the learning rate of a policy of one role."""
    return intervention.update(Update({ALONE: one}), step).rates["own"]


def test_amplification_beyond_chance_is_divided_out():
    assert rate(built("limit_amplification"), ALIKE) == pytest.approx(1 / math.sqrt(2))
    assert rate(built("limit_amplification", most=1.25), ALIKE) == pytest.approx(1.25 / math.sqrt(2))
    assert rate(built("limit_amplification", weight=0.5), ALIKE) == pytest.approx(2**-0.25)


@pytest.mark.parametrize("lengths", [(1.0, 1.0), (1.0, 1.0, 1.0), (5.0, 0.1), (1.0, 2.0, 3.0, 4.0), (1.0,) * 8])
def test_independent_calls_are_left_alone_however_many_and_however_long(lengths):
    rows = [tuple(length if place == slot else 0.0 for place in range(8)) for slot, length in enumerate(lengths)]
    assert rate(built("limit_amplification"), part(*map(sum, zip(*rows, strict=True)), slots=rows)) == pytest.approx(
        1.0
    )


def test_slots_of_noise_are_hardly_slowed_and_a_common_direction_is():
    torch.manual_seed(0)
    noise = torch.randn(8, 20_000)
    for common, expected in ((0.0, 1.0), (1.0, math.sqrt(9 / 2))):
        rows = noise + common * torch.randn(20_000)  # e^2 = (n + n^2 c^2) / (n (1 + c^2)), n = 8
        found = rate(built("limit_amplification"), part(0.0, slots=rows.tolist()))
        assert 1.0 / found == pytest.approx(expected, rel=0.02)


def test_amplification_below_chance_is_not_raised_and_one_slot_is_not_touched():
    assert rate(built("limit_amplification"), part(0.0, slots=[(1.0,), (-1.0,)])) == 1.0
    assert rate(built("limit_amplification"), part(0.0, slots=[(1.0,), (-1.0 + 1e-8,)])) == 1.0
    assert built("limit_amplification").update(Update({ALONE: part(0.0, slots=[(0.0,), (0.0,)])}), 1).rates == {}
    member = built("limit_amplification")
    member.update(Update({ALONE: ALIKE}), 1)
    assert rate(member, part(1.0, slots=[(1.0,)]), 2) == 1.0


def test_amplification_is_kept_between_measurements_and_saved(tmp_path):
    member = built("limit_amplification", every=3)
    assert [step for step in range(1, 8) if member.slots_apart(step)] == [3, 6]
    member.update(Update({ALONE: ALIKE}), 3)
    loaded = built("limit_amplification", every=3)
    member.save(tmp_path)
    loaded.load(tmp_path)
    for one in (member, loaded):
        assert rate(one, part(1.0), 4) == pytest.approx(1 / math.sqrt(2))


def test_slots_that_are_apart_for_a_diagnostic_are_not_measured():
    member = built("limit_amplification", every=3)
    assert member.update(Update({ALONE: ALIKE}), 2).rates == {}
    member.update(Update({ALONE: part(1.0, slots=[(1.0, 0.0), (0.0, 1.0)])}), 3)
    assert rate(member, ALIKE, 5) == pytest.approx(1.0)


def test_a_checkpoint_whose_amplification_meant_something_else_is_refused(tmp_path):
    (tmp_path / "0-limit_amplification").mkdir()
    (tmp_path / "0-limit_amplification" / "amplification.json").write_text('[["own", "voter", 2.0]]')
    with pytest.raises(RunError, match="whose limit_amplification divided by another number"):
        built("limit_amplification").load(tmp_path)


def test_coherence_by_hand():
    assert coherence([FlatGradient(torch.tensor(row)) for row in ((3.0, 0.0), (0.0, 4.0))]) == pytest.approx(5 / 7)
    assert coherence([FlatGradient(torch.zeros(2))] * 2) == 0.0


@pytest.mark.parametrize("of", ["gradient", "step"])
def test_a_role_that_keeps_its_direction_is_damped(of):
    member = built("damp_coherence", weight=0.4, memory=0.5, of=of)
    first = member.update(Update({ALONE: part(1.0, 0.0)}), 1)
    second = member.update(Update({ALONE: part(3.0, 0.0)}), 2)  # cosine 1 with what was before: factor 0.6
    sideways = member.update(Update({ALONE: part(0.0, 1.0)}), 3)  # cosine 0
    back = member.update(Update({ALONE: part(-1.0, -1.0)}), 4)  # against it: not damped
    factors = [
        one.rates.get("own", 1.0) * float(one.contributions[ALONE].gradient.norm()) / norm
        for one, norm in ((first, 1.0), (second, 3.0), (sideways, 1.0), (back, math.sqrt(2.0)))
    ]
    assert factors == pytest.approx([1.0, 0.6, 1.0, 1.0])
    assert (second.rates.get("own", 1.0) == 1.0) is (of == "gradient")


def test_what_damping_remembers_is_the_damped_direction_and_is_saved(tmp_path):
    member, loaded = (built("damp_coherence", weight=0.5, memory=0.5, of="gradient") for _ in range(2))
    for step, row in enumerate([(1.0, 0.0), (1.0, 0.0), (1.0, 1.0)], start=1):
        member.update(Update({ALONE: part(*row)}), step)
    # m = (1, 0); then 1/2 (1, 0) + 1/2 (1/2, 0) = (3/4, 0); then cos = 1/sqrt 2, damped by f = 1 - 1/(2 sqrt 2).
    damped = 1.0 - 0.5 / math.sqrt(2.0)
    mean = (0.5 * damped + 0.375, 0.5 * damped)
    cos = (mean[0] - mean[1]) / (math.sqrt(2.0) * math.hypot(*mean))
    member.save(tmp_path)
    loaded.load(tmp_path)
    for one in (member, loaded):
        changed = one.update(Update({ALONE: part(1.0, -1.0)}), 4)
        assert changed.contributions[ALONE].gradient.flat.tolist() == pytest.approx([1 - 0.5 * cos, -(1 - 0.5 * cos)])


@pytest.mark.parametrize("policies", [("all", "all"), ("voter", "judge")], ids=["shared", "isolated"])
def test_equal_calls_keeps_as_many_of_each_role(policies):
    samples = [sample(policy=policies[0])] * 6 + [sample(role="judge", policy=policies[1])] * 2
    kept = in_loss(built("equal_calls").samples(samples, 1))
    assert [one.call.key.role for one in kept] == ["voter"] * 2 + ["judge"] * 2
    assert len(in_loss(built("equal_calls", weight=0.5).samples(samples, 1))) == 4 + 2
    assert built("equal_calls").samples([], 1) == []


def test_equal_calls_counts_only_what_is_in_the_loss_and_draws_anew_each_step():
    samples = [sample(reward=float(place)) for place in range(20)] + [sample(role="judge"), sample(role="judge")]
    samples[-1] = replace(samples[-1], in_loss=False)
    member = built("equal_calls")
    chosen = [tuple(one.reward for one in in_loss(member.samples(samples, step))[:-1]) for step in (1, 2, 3, 4, 1)]
    assert all(len(one) == 1 for one in chosen)
    assert chosen[0] == chosen[4]
    assert len(set(chosen)) > 1


def test_phases_leave_roles_out_in_their_turn():
    member = built("phases", roles={"voter": {"period": 4, "steps": 2}}, frozen=["judge"])
    trains = [
        [one.call.key.role for one in in_loss(member.samples([sample(), sample(role="judge")], step))]
        for step in range(1, 6)
    ]
    assert trains == [["voter"], ["voter"], [], [], ["voter"]]


def test_the_floor_is_about_calls_in_the_loss_and_pushes_nowhere_on_average():
    calls = [sample(logprobs=(-value,), in_loss=inside) for value, inside in ((0.0, False), (0.1, True), (0.3, True))]
    changed = built("entropy_floor", floor=0.5, weight=1.0).samples(calls, 1)
    assert [one.advantage for one in changed] == pytest.approx([0.0, -0.1, 0.1])


def test_the_entropy_floor_pays_for_surprise_by_hand():
    calls = [sample(logprobs=(-0.1, -0.3)), sample(logprobs=(0.0,)), sample(role="judge", logprobs=(-2.0,))]
    changed = built("entropy_floor", floor=0.5, weight=2.0).samples(calls, 1)
    # voter: h = 0.2 and 0, mean 0.1 < 0.5; judge: 2 is above the floor.
    assert [one.advantage for one in changed] == pytest.approx([0.2, -0.2, 0.0])
    assert list(built("entropy_floor", floor=0.1, weight=2.0).samples(calls, 1)) == calls


def test_the_floor_compares_no_policy_with_another_that_plays_the_same_role():
    low = [sample(logprobs=(-value,), policy="voter-0") for value in (0.0, 0.2)]
    high = [sample(logprobs=(-value,), policy="voter-1") for value in (0.6, 1.0)]
    changed = built("entropy_floor", floor=0.5, weight=1.0).samples([*low, *high], 1)
    assert [one.advantage for one in changed] == pytest.approx([-0.1, 0.1, 0.0, 0.0])


def long(tokens, role="voter", **fields):
    return sample(role=role, logprobs=(-0.1,) * tokens, **fields)


def test_longer_replies_than_at_the_start_pay_by_hand():
    penalty = built("length_penalty", weights={"voter": 2.0}, most=1.5, steps=2)
    first, second = [long(2), long(4), long(9, "judge")], [long(6), long(9, "judge")]
    assert list(penalty.samples(first, 1)) == first
    assert list(penalty.samples(second, 2)) == second  # the mean is (2 + 4 + 6) / 3 = 4, so 6 tokens are free
    later = [long(6, advantage=1.0), long(12, advantage=1.0), long(15), long(30, in_loss=False), long(90, "judge")]
    # e = 0, 1 and 1.5; their mean is 5/6. What is not in the loss and other roles pay nothing.
    expected = [1.0 + 2 * 5 / 6, 1.0 - 2 * 1 / 6, -2 * 4 / 6, 0.0, 0.0]
    assert [one.advantage for one in penalty.samples(later, 3)] == pytest.approx(expected)


def test_a_policy_of_long_replies_is_pushed_nowhere_by_another_that_plays_the_same_role():
    penalty = built("length_penalty", weights={"voter": 1.0}, most=1.0, steps=1)
    penalty.samples([long(2, policy="voter-0"), long(2, policy="voter-1")], 1)
    later = [long(2, policy="voter-0"), long(4, policy="voter-1"), long(8, policy="voter-1")]
    assert [one.advantage for one in penalty.samples(later, 2)] == pytest.approx([0.0, 1.0, -1.0])


def test_replies_no_longer_than_at_the_start_pay_nothing():
    penalty = built("length_penalty", weights={"voter": 2.0}, steps=1)
    penalty.samples([long(4), long(4)], 1)
    later = [long(1), long(6)]
    assert [one.advantage for one in penalty.samples(later, 2)] == [0.0, 0.0]


def test_a_role_that_was_not_called_at_the_start_pays_nothing():
    penalty = built("length_penalty", weights={"voter": 2.0}, steps=1)
    assert list(penalty.samples([long(4, "judge")], 1)) == [long(4, "judge")]
    assert [one.advantage for one in penalty.samples([long(40), long(4)], 2)] == [0.0, 0.0]


def test_the_length_at_the_start_is_saved_within_the_first_steps(tmp_path):
    whole, first = (built("length_penalty", weights={"voter": 1.0}, steps=2) for _ in range(2))
    for member in (whole, first):
        member.samples([long(2)], 1)
    first.save(tmp_path)
    resumed = built("length_penalty", weights={"voter": 1.0}, steps=2)
    resumed.load(tmp_path)
    for member in (whole, resumed):
        member.samples([long(6)], 2)
    later = [long(6), long(18)]
    assert list(resumed.samples(later, 3)) == list(whole.samples(later, 3))
    assert [one.advantage for one in resumed.samples(later, 3)] == pytest.approx([1.0, -1.0])


def test_an_anchor_holds_the_roles_it_names_and_no_other():
    loss = built("anchor_roles", weights={"judge": 0.1}, estimate="k2").loss(build_loss(config_from({})))
    assert loss.of("voter").kl is None
    d = torch.tensor([[0.4]])
    assert float(loss.of("judge").kl(d, torch.zeros(1, 1)).loss_CT) == pytest.approx(0.1 * 0.08)


def test_an_anchor_takes_the_place_of_the_recipes():
    known = build_loss(config_from({"algorithm": {"kl": {"name": "k2", "weight": 1.0}}}))
    loss = built("anchor_roles", weights={"judge": 0.5}, estimate="k2").loss(known)
    d, base = torch.tensor([[2.0]]), torch.zeros(1, 1)
    assert [float(loss.of(role).kl(d, base).loss_CT) for role in ROLES] == [2.0, 1.0]


def test_the_run_ends_at_a_cliff_warning_and_rolls_back_if_asked():
    assert built("stop_at_cliff").stop({"warning/cliff": 0.0}) is None
    assert built("stop_at_cliff").stop({}) is None
    assert built("stop_at_cliff").stop({"warning/cliff": 1.0}) == Stop("validation accuracy fell off its peak", True)
    assert built("stop_at_cliff", roll_back=False).stop({"warning/cliff": 1.0}).roll_back is False


def test_what_could_never_roll_back_is_refused():
    rare = {"run": {"save_every": 10}, "evaluation": {"every": 5}}
    with pytest.raises(ConfigError, match=r"run\.save_every = 10 must divide evaluation\.every = 5"):
        building([{"name": "stop_at_cliff"}], **rare)
    building([{"name": "stop_at_cliff", "roll_back": False}], **rare)


def test_freezing_every_role_is_refused():
    with pytest.raises(ConfigError, match="frozen names every role"):
        built("phases", frozen=["voter", "judge"])


def test_a_checkpoint_of_a_run_without_it_is_refused(tmp_path):
    with pytest.raises(RunError, match="saved by a run without intervention 0, 'damp_coherence'"):
        built("damp_coherence").load(tmp_path)


def test_several_act_one_after_the_other():
    both = building([{"name": "role_rates", "rates": {"voter": 0.5}}] * 2)
    assert both.update(Update({ALONE: part(1.0)}), 1).rates == {"own": 0.25}
    assert Interventions([]).stop({"warning/cliff": 1.0}) is None


class Broken(Intervention):
    """Raises at every seam."""

    name = "broken"

    def samples(self, samples, step):
        return samples[99]

    def stop(self, numbers):
        return numbers["no such number"]


def test_an_error_in_an_intervention_of_ones_own_says_whose_it_is_and_where():
    both = Interventions([Broken()])
    with pytest.raises(MemberError, match=r"intervention 'broken' raised IndexError: .*test_interventions.py:\d+\)"):
        both.samples([], 1)
    with pytest.raises(MemberError, match="intervention 'broken' raised KeyError: 'no such number'"):
        both.stop({})


@pytest.mark.parametrize(
    ("method", "found", "must"),
    [
        ("samples", None, "a NoneType; it must return a list of samples"),
        ("loss", None, "a NoneType; it must return a Loss"),
        ("update", None, "a NoneType; it must return a counterpoint.Update"),
        ("stop", True, "a bool; it must return a counterpoint.Stop or None"),
        ("stop", "solved", "a str; it must return a counterpoint.Stop or None"),
    ],
)
def test_what_an_intervention_of_ones_own_returns_is_checked(method, found, must):
    member = type("Mine", (Intervention,), {"name": "mine", method: lambda self, *given: found})()
    given = {"samples": ([], 1), "loss": (None,), "update": (Update({}), 1), "stop": ({},)}[method]
    with pytest.raises(MemberError, match=f"^intervention 'mine': {method} returned {must}$"):
        getattr(Interventions([member]), method)(*given)
