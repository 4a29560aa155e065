"""From episodes to samples: the algorithm that a recipe names, what it remembers, and what it refuses."""

import json
import math
import re
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch
from facts import make_call, make_episode, make_group

from counterpoint.algorithms import (
    ADVANTAGES,
    AGGREGATIONS,
    CORRECTIONS,
    CREDITS,
    KLS,
    LOSSES,
    OVER_CALLS,
    OVER_EPISODES,
    OVERLONG,
)
from counterpoint.algorithms.base import Sample, in_loss
from counterpoint.algorithms.build import build_algorithm, build_batches, build_loss
from counterpoint.algorithms.loss import Tokens
from counterpoint.config import AlgorithmConfig
from counterpoint.episode import Answer, Proposal, Unreadable, Verdict
from counterpoint.errors import ConfigError
from counterpoint.plan.plan import plan
from counterpoint.recipe import config_from, load_config

ROLES = ("generator", "critic", "planner", "judge")
TRAINED = frozenset({"generator", "critic", "planner"})
FAMILIES = {
    "credit": CREDITS,
    "advantage": ADVANTAGES,
    "loss": LOSSES,
    "aggregation": AGGREGATIONS,
    "correction": CORRECTIONS,
    "kl": KLS,
    "overlong": OVERLONG,
}
REQUIRED = {
    "help_hurt": {"solo": "generator", "roles": ["critic"]},
    "added": {"roles": ["critic"]},
    "grouped": {"by": ["task", "role"]},
    "k1": {"weight": 0.1},
    "k2": {"weight": 0.1},
    "k3": {"weight": 0.1},
    "soft": {"buffer": 2},
}
"""The options that have no default."""


def recipe(rollout=None, **table):
    return config_from({"algorithm": table, "rollout": {"max_tokens": 10, **(rollout or {})}})


def algorithm(*, trained=TRAINED, rollout=None, **table):
    return build_algorithm(recipe(rollout, **table), ROLES, trained)


def build(config):
    return build_algorithm(config, ROLES, TRAINED), build_loss(config), build_batches(config)


def named(name, **options):
    return {"name": name, **REQUIRED.get(name, {}), **options}


def numbers(samples):
    return [sample.advantage for sample in samples]


def keys(samples):
    return [(sample.task, sample.rollout, *sample.call.key) for sample in samples]


def team(rollout, reward, *scores, task="t", plan=None, judged=True):
    """A plan that the generators follow; a critic on the first of them; and a judge, which no recipe here trains."""
    drafts = [make_call(slot=slot, claim=Answer("2"), score=score) for slot, score in enumerate(scores)]
    plan = make_call(
        "planner",
        claim=Proposal(tuple(draft.key for draft in drafts)),
        score=sum(scores) / len(scores),
        completion_ids=plan or (20, rollout),
    )
    critic = make_call("critic", claim=Verdict(drafts[0].key, True), score=scores[0])
    first, last = (
        make_call("judge", turn=turn, claim=Verdict(drafts[0].key, False), score=1.0 - scores[0]) for turn in range(2)
    )
    calls = (first, plan, *drafts, critic, last) if judged else (plan, *drafts, critic)
    return make_episode(*calls, reward=reward, rollout=rollout, task=task)


def groups(judged=True):
    one = make_group(team(0, 1.0, 1.0, 0.0, judged=judged), team(1, 0.0, 0.0, 1.0, judged=judged))
    other = make_group(
        team(0, 0.0, 0.0, 0.0, 0.0, task="u", judged=judged),
        team(1, 1.0, 1.0, task="u", judged=judged),
        team(2, 1.0, 1.0, 0.5, task="u", judged=judged),
    )
    alone = [make_episode(make_call(), reward=reward, rollout=index) for index, reward in enumerate((0.0, 1.0, 1.0))]
    return [replace(group, solos=tuple(alone[: len(group.episodes)])) for group in (one, other)]


def sample(role="generator", rollout=0, *, length=2):
    call = make_call(role, completion_ids=(5,) * length)
    return Sample(task="t", rollout=rollout, call=call, reward=0.0, advantage=1.0, signal=True)


def token(ratio, advantage, *, sampler=1.0, base=0.0):
    """One token: its ratio, the ratio of learner to sampler, its difference to the base."""
    old = torch.tensor([[-1.0]], dtype=torch.float64)
    logprobs = (old + math.log(ratio)).requires_grad_()
    return Tokens(
        logprobs_CT=logprobs,
        old_CT=old,
        sampled_CT=old - math.log(sampler),
        base_CT=logprobs.detach() - base,
        mask_CT=torch.ones_like(old),
        advantages_C1=torch.tensor([[advantage]], dtype=torch.float64),
    )


# Samples


def test_without_a_word_the_recipe_says_grpo_on_the_outcome():
    root = 1 / math.sqrt(2)
    samples = algorithm().samples(groups())
    assert numbers(samples)[:8] == pytest.approx([root] * 4 + [-root] * 4, rel=1e-5)
    third = math.sqrt(1 / 3)  # of (0, 1, 1): the mean is 2/3
    assert numbers(samples)[8:] == pytest.approx([-2 / 3 / third] * 5 + [1 / 3 / third] * 7, rel=1e-5)


def test_a_recipe_names_credit_and_advantage_and_their_options():
    found = algorithm(credit="own", advantage={"name": "grouped", "by": ["task"], "scale": "none"}).samples(groups())
    # on task t plan, drafts and critic were worth 1/2, 1, 0, 1 and 1/2, 0, 1, 0
    assert numbers(found)[:8] == [0.0, 0.5, -0.5, 0.5, 0.0, -0.5, 0.5, -0.5]
    assert [one.reward for one in found][:4] == [0.5, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("name", [*OVER_EPISODES, *OVER_CALLS])
def test_there_is_a_sample_for_every_credited_call_of_a_trained_policy_in_the_order_of_play(name):
    samples = algorithm(advantage=named(name)).samples(groups())
    assert keys(samples) == [
        (episode.task, episode.rollout, *call.key)
        for group in groups()
        for episode in group.episodes
        for call in episode.calls
        if call.policy != "judge"
    ]


def test_calls_that_get_no_credit_make_no_sample():
    drafts = [make_call(slot=slot, claim=Answer("2"), score=score) for slot, score in enumerate((1.0, None, 0.0))]
    group = make_group(make_episode(*drafts, make_call("critic")))
    samples = algorithm(credit="own", advantage="role").samples([group])
    assert [one.call.key.slot for one in samples] == [0, 2]


@pytest.mark.parametrize(
    ("name", "credit"), [*product(OVER_EPISODES, ["outcome"]), *product(OVER_CALLS, CREDITS)], ids="-".join
)
def test_what_a_frozen_role_said_changes_no_sample_of_the_others(name, credit):
    table = {"advantage": named(name), "credit": named(credit)}
    with_judge, without = (algorithm(**table).samples(groups(judged)) for judged in (True, False))
    assert with_judge == without
    assert any(one.advantage for one in without)


def test_a_role_that_is_trained_does_change_what_is_compared():
    """Or the test above would not show anything."""
    table = {"credit": "own", "advantage": {"name": "grouped", "by": ["task"]}}
    everybody = algorithm(trained={*TRAINED, "judge"}, **table).samples(groups())
    assert numbers([one for one in everybody if one.call.policy != "judge"]) != pytest.approx(
        numbers(algorithm(**table).samples(groups()))
    )


@pytest.mark.parametrize(
    ("plans", "wanted"),
    [(((7,), (8,)), [0.5, -0.5, -0.25, 0.25]), (((7,), (7,)), [0.375, -0.625, -0.125, 0.375])],
)
def test_a_frozen_planner_makes_no_sample_and_still_says_who_followed_what(plans, wanted):
    group = make_group(team(0, 1.0, 1.0, 0.0, plan=plans[0]), team(1, 1.0, 0.5, 1.0, plan=plans[1]))
    found = algorithm(trained={"generator"}, credit="own", advantage="hierarchical").samples([group])
    assert numbers(found) == wanted


def test_an_unknown_policy_trains_nobody():
    assert algorithm(trained={"somebody"}).samples(groups()) == []


@pytest.mark.parametrize("workflow", ["voting", "tie_break", "evaluator_optimizer"])
def test_hierarchical_needs_a_workflow_in_which_a_role_proposes(workflow):
    config = load_config("voting_arithmetic", [f"workflow={workflow}", "algorithm.advantage=hierarchical"])
    with pytest.raises(ConfigError, match=r"'hierarchical' needs a role that proposes what others follow"):
        plan(config)


# Signal


LUCK = [
    make_group(make_episode(make_call()), make_episode(make_call(), reward=0.0, rollout=1)),
    make_group(make_episode(make_call(), task="easy"), make_episode(make_call(), task="easy", rollout=1)),
    make_group(make_episode(make_call(), task="alone"), make_episode(make_call(), task="alone", error="it broke")),
]


@pytest.mark.parametrize(("what", "kept"), [("drop", 2), ("keep", 5)])
def test_samples_without_signal_are_dropped_from_the_loss_or_kept(what, kept):
    samples = algorithm(without_signal=what).samples(LUCK)
    assert [one.signal for one in samples] == [True, True, False, False, False]
    assert numbers(samples)[2:] == [0.0, 0.0, 0.0]
    assert in_loss(samples) == samples[:kept]


def test_tasks_without_signal_are_those_none_of_whose_calls_has_any():
    assert algorithm().without_signal(LUCK) == {"easy", "alone"}
    assert algorithm().without_signal(LUCK[:1]) == set()
    assert algorithm(without_signal="keep").without_signal(LUCK) == {"easy", "alone"}


def test_a_task_on_which_some_role_has_signal_has_signal():
    drafts = [make_call(slot=slot, claim=Answer("2"), score=float(slot)) for slot in range(2)]
    group = make_group(make_episode(*drafts, make_call("critic")))
    assert algorithm(credit="own", advantage="role").without_signal([group]) == set()
    assert algorithm(credit="own", advantage="role_slot").without_signal([group]) == {"t"}
    assert algorithm(trained={"critic"}, credit="own", advantage="role").without_signal([group]) == {"t"}


def test_a_task_all_of_whose_episodes_failed_has_no_signal():
    failed = make_group(make_episode(make_call(), error="it broke"), make_episode(make_call(), error="it broke"))
    assert algorithm().samples([failed]) == []
    assert algorithm().without_signal([failed]) == {"t"}


# Replies that are too long


def lengths(*replies):
    return [
        make_group(
            *(
                make_episode(
                    make_call(completion_ids=(5,) * length, finish=finish), reward=reward, rollout=index, task="t"
                )
                for index, (length, finish, reward) in enumerate(replies)
            )
        )
    ]


CUT = lengths((10, "length", 0.0), (4, "stop", 1.0), (9, "stop", 1.0), (10, "stop", 1.0))


def test_a_masked_reply_stays_in_its_group_and_leaves_the_loss():
    kept, masked = (algorithm(overlong=name).samples(CUT) for name in ("keep", "mask"))
    assert numbers(masked) == numbers(kept) == pytest.approx([-1.5, 0.5, 0.5, 0.5], rel=1e-5)  # deviation 1/2
    assert [one.in_loss for one in kept] == [True] * 4
    assert [one.in_loss for one in masked] == [False, True, True, True]
    assert all(one.signal for one in masked)


def test_a_masked_reply_is_out_of_the_loss_even_where_groups_without_signal_stay():
    samples = algorithm(overlong="mask", without_signal="keep").samples(lengths((10, "length", 0.0)))
    assert [(one.signal, one.in_loss) for one in samples] == [(False, False)]


def test_a_soft_penalty_is_taken_off_before_calls_are_compared():
    rule = algorithm(
        overlong={"name": "soft", "buffer": 4, "penalty": 0.5}, advantage={**named("grouped"), "scale": "none"}
    )
    samples = rule.samples(CUT)
    # 10 tokens cost 1/2, 9 cost 3/8: the rewards are -1/2, 1, 5/8, 1/2, their mean 13/32
    assert [one.reward for one in samples] == [-0.5, 1.0, 0.625, 0.5]
    assert numbers(samples) == pytest.approx([-29 / 32, 19 / 32, 7 / 32, 3 / 32])
    assert all(one.in_loss for one in samples)


def test_the_limit_of_a_soft_penalty_is_that_of_the_recipe():
    table = {"overlong": named("soft", buffer=4), "advantage": "role"}
    for limit, wanted in ((10, 0.0), (14, 1.0), (12, 0.5)):
        samples = algorithm(rollout={"max_tokens": limit}, **table).samples(lengths((10, "stop", 1.0)))
        assert samples[0].reward == wanted


# What is remembered


def one_call(reward, role="generator"):
    return [make_group(make_episode(make_call(role), reward=reward))]


def test_baselines_move_from_step_to_step():
    rule = algorithm(advantage="rae")
    assert numbers(rule.samples(one_call(1.0))) == [1.0]
    assert rule.baselines == pytest.approx({"generator": 0.05})
    assert numbers(rule.samples(one_call(0.0))) == pytest.approx([-0.05])
    assert rule.baselines == pytest.approx({"generator": 0.0475})


def test_a_frozen_role_moves_no_baseline():
    rule = algorithm(advantage="rae", trained={"generator"})
    rule.samples(groups())
    assert set(rule.baselines) == {"generator"}


def test_two_algorithms_share_no_baselines():
    one, other = algorithm(advantage="rae"), algorithm(advantage="rae")
    one.samples(one_call(1.0))
    assert other.baselines == {}


def test_what_was_saved_is_what_is_loaded_and_used(tmp_path):
    rule, again = algorithm(advantage="rae"), algorithm(advantage="rae")
    rule.samples(groups())
    rule.save(tmp_path)
    again.samples(one_call(1.0, role="critic"))
    again.load(tmp_path)
    assert again.baselines == rule.baselines
    assert set(rule.baselines) == TRAINED
    assert again.samples(groups()) == rule.samples(groups())
    assert again.baselines == rule.baselines


def test_loading_forgets_what_was_learnt_since(tmp_path):
    rule = algorithm(advantage={"name": "rae", "decay": 0.5})
    rule.samples(one_call(1.0))
    rule.save(tmp_path)
    rule.samples(one_call(0.0, role="critic"))
    rule.samples(one_call(0.0))
    rule.load(tmp_path)
    assert rule.baselines == {"generator": 0.5}
    assert numbers(rule.samples(one_call(1.0))) == [0.5]


def test_what_is_saved_is_json_and_empty_for_a_rule_that_remembers_nothing(tmp_path):
    rule = algorithm()
    rule.samples(groups())
    rule.save(tmp_path)
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text()) == {}
    rule.load(tmp_path)
    assert rule.baselines == {}


def test_saved_baselines_lose_no_digit(tmp_path):
    rule = algorithm(advantage="rae")
    rule.baselines.update(generator=1 / 3, critic=0.1 + 0.2)
    rule.save(tmp_path)
    rule.baselines.clear()
    rule.load(tmp_path)
    assert rule.baselines == {"generator": 1 / 3, "critic": 0.1 + 0.2}


# Building


def test_every_member_of_a_family_can_be_named_by_a_recipe_and_its_documentation_names_it():
    for family, members in FAMILIES.items():
        described = AlgorithmConfig.model_fields[family].description
        for name in members:
            assert re.search(rf"\b{name}\b", described), f"{family} = {name}"
    for name, credit in product(OVER_CALLS, CREDITS):
        algorithm(advantage=named(name), credit=named(credit))
    for name in OVER_EPISODES:
        algorithm(advantage=name)
    for name in OVERLONG:
        algorithm(advantage="role", overlong=named(name))
    for family in ("loss", "aggregation", "correction", "kl"):
        for name in FAMILIES[family]:
            build_loss(recipe(**{family: named(name)}))


def test_only_help_hurt_lets_a_role_play_alone():
    assert algorithm(credit=named("help_hurt"), advantage="role").solo == "generator"
    assert algorithm(credit="own", advantage="role").solo is None


def test_a_recipe_sets_the_options_of_help_hurt():
    table = {"credit": named("help_hurt", roles=["critic", "planner"], weight=0.25), "advantage": "role"}
    rewards = {one.call.key: one.reward for one in algorithm(**table).samples(groups()[:1]) if one.rollout == 0}
    assert {key.role: reward for key, reward in rewards.items()} == {"planner": 1.25, "generator": 1.0, "critic": 1.25}


def test_the_default_loss_is_clip_over_tokens_with_nothing_corrected_and_nothing_held():
    loss = build_loss(recipe())
    assert (loss.kl, loss.old_logprobs) == (None, "learner")
    assert loss.aggregation([sample(length=1), sample(length=3)]) == [1 / 4, 1 / 4]
    found, facts = loss.per_token(token(2.0, 1.0, sampler=50.0, base=1.0))
    assert found.item() == pytest.approx(-1.28)
    assert set(facts) == {"clipped", "corrected"}


@pytest.mark.parametrize(
    ("spec", "ratio", "advantage", "wanted"),
    [
        ("reinforce", 2.0, 1.0, 1 - math.log(2)),
        ({"name": "clip", "low": 0.1, "high": 0.5, "dual": 2}, 9.0, 1.0, -1.5),
        ({"name": "clip", "low": 0.1, "high": 0.5, "dual": 2}, 0.5, -1.0, 0.9),
        ({"name": "clip", "low": 0.1, "high": 0.5, "dual": 2}, 9.0, -1.0, 2.0),
        ({"low": 0.1}, 0.5, -1.0, 0.9),
        ({"name": "gspo", "low": 0.1, "high": 0.5}, 9.0, 1.0, -1.5),
        ({"name": "gspo", "low": 0.1, "high": 0.5}, 0.5, -1.0, 0.9),
        ("gspo", 9.0, 1.0, -1.0004),
        ({"name": "cispo", "ratio_max": 1.5}, 9.0, 1.0, -1.5 * (math.log(9) - 1)),
        ({"name": "sapo", "positive": math.log(3)}, 2.0, 1.0, -3 / math.log(3)),
        ({"name": "sapo", "negative": math.log(3)}, 2.0, -1.0, 3 / math.log(3)),
    ],
)
def test_a_recipe_sets_the_options_of_its_loss(spec, ratio, advantage, wanted):
    loss = build_loss(recipe(loss=spec))
    assert loss.token_loss(token(ratio, advantage)).item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        ({"aggregation": "token"}, [1 / 8] * 4),
        ({"aggregation": "call"}, [1 / 4, 1 / 12, 1 / 8, 1 / 8]),
        ({"aggregation": "constant"}, [1 / 40] * 4),
        ({"role_weights": "balance"}, [1 / 12, 1 / 12, 1 / 12, 1 / 4]),
        ({"aggregation": "call", "role_weights": "balance"}, [1 / 6, 1 / 18, 1 / 12, 1 / 4]),
        ({"aggregation": "constant", "role_weights": "balance"}, [1 / 60, 1 / 60, 1 / 60, 1 / 20]),
        ({"aggregation": "call", "calls_per_update": 8}, [1 / 8, 1 / 24, 1 / 16, 1 / 16]),
        (
            {"aggregation": "call", "role_weights": "balance", "calls_per_update": 5},
            [4 / 30, 4 / 90, 4 / 60, 4 / 20],
        ),
    ],
)
def test_a_recipe_sets_what_a_loss_is_a_mean_over(table, wanted):
    update = [sample(length=1), sample(length=3), sample(length=2), sample("critic", length=2)]
    assert build_loss(recipe(**table)).aggregation(update) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("spec", "sampler", "weight", "corrected"),
    [
        ("truncated", 1.5, 1.5, 0.0),
        ("truncated", 5.0, 2.0, 1.0),
        ({"name": "truncated", "cap": 3.0}, 5.0, 3.0, 1.0),
        ("sequence", 1.5, 1.0, 0.0),
        ("sequence", 5.0, 0.0, 1.0),
        ({"name": "sequence", "low": 0.9}, 0.8, 0.0, 1.0),
        ({"name": "sequence", "high": 6}, 5.0, 1.0, 0.0),
    ],
)
def test_a_recipe_sets_what_is_done_about_the_sampler(spec, sampler, weight, corrected):
    found, facts = build_loss(recipe(correction=spec)).per_token(token(1.0, 1.0, sampler=sampler))
    assert found.item() == pytest.approx(-weight)
    assert facts["corrected"].item() == corrected


@pytest.mark.parametrize(("name", "added"), [("k1", -0.1), ("k2", 0.05), ("k3", 0.1 * math.exp(-1))])
def test_a_recipe_sets_what_holds_to_the_base(name, added):
    found, facts = build_loss(recipe(kl=named(name))).per_token(token(1.0, 1.0, base=1.0))  # l = -1, d = 1
    assert found.item() == pytest.approx(-1.0 + added)
    assert set(facts) == {"clipped", "corrected", "kl"}


@pytest.mark.parametrize("whose", ["learner", "sampler"])
def test_a_recipe_says_whose_the_old_log_probabilities_are(whose):
    assert build_loss(recipe(old_logprobs=whose)).old_logprobs == whose


def test_a_recipe_says_how_a_step_is_split():
    samples = [sample(rollout=index) for index in range(6)] + [sample("critic", index) for index in range(2)]
    sizes = partial(map, len)
    assert list(sizes(build_batches(recipe())(samples, "0/1"))) == [8]
    assert list(sizes(build_batches(recipe(updates=2))(samples, "0/1"))) == [4, 4]
    assert list(sizes(build_batches(recipe(calls_per_update=2))(samples, "0/1"))) == [4, 2, 2]


# What is refused


@pytest.mark.parametrize("family", FAMILIES)
def test_a_name_that_no_member_has_is_refused_with_the_names_that_exist(family):
    config = recipe(**{family: "nobody"})
    wanted = ", ".join(sorted(FAMILIES[family]))
    with pytest.raises(ConfigError, match=re.escape(f"unknown {family} 'nobody'; ") + f".*allowed: {wanted}"):
        build(config)


BAD_OPTIONS = [
    ({"advantage": "gpro"}, r"unknown advantage 'gpro'; did you mean 'grpo'\?"),
    ({"credit": "outcomes"}, r"unknown credit 'outcomes'; did you mean 'outcome'\?"),
    ({"advantage": {"name": "grpo", "by": ["task"]}}, r"algorithm\.advantage = 'grpo' takes no options; by given"),
    ({"advantage": {"name": "rae", "decai": 0.9}}, r"\[algorithm\.advantage\] 'decai'; did you mean 'decay'\?"),
    ({"advantage": {"name": "rae", "baselines": {}}}, r"unknown key in \[algorithm\.advantage\] 'baselines'"),
    ({"advantage": {"name": "rae", "decay": 1.0}}, r"algorithm\.advantage\.decay = 1\.0: .*less than 1"),
    ({"advantage": {"name": "rae", "decay": -0.1}}, r"algorithm\.advantage\.decay = -0\.1: .*greater than or equal"),
    ({"credit": {"name": "own", "weight": 1}}, r"algorithm\.credit = 'own' takes no options; weight given"),
    ({"credit": {"name": "mix", "own": -1.0}}, r"algorithm\.credit\.own = -1\.0: .*greater than or equal to 0"),
    ({"credit": {"name": "mix", "tem": 1.0}}, r"unknown key in \[algorithm\.credit\] 'tem'; did you mean 'team'\?"),
    ({"credit": {"name": "help_hurt", "roles": ["critic"]}}, r"algorithm\.credit\.solo is required"),
    ({"credit": {"name": "help_hurt", "solo": "generator"}}, r"algorithm\.credit\.roles is required"),
    ({"credit": named("help_hurt", roles=[])}, r"algorithm\.credit\.roles = \[\]: .*at least 1"),
    ({"credit": named("help_hurt", weight=0)}, r"algorithm\.credit\.weight = 0: .*greater than 0"),
    ({"credit": named("help_hurt", solo="generatr")}, r"algorithm\.credit: unknown role 'generatr'; .*'generator'\?"),
    ({"credit": named("help_hurt", roles=["critic", "cook"])}, r"algorithm\.credit: unknown role 'cook'; .*allowed: c"),
    ({"credit": named("added", roles=["cook"])}, r"algorithm\.credit: unknown role 'cook'; .*allowed: c"),
    ({"advantage": "grouped"}, r"algorithm\.advantage\.by is required"),
    ({"advantage": {"name": "grouped", "by": []}}, r"algorithm\.advantage\.by = \[\]: .*at least 1"),
    ({"advantage": {"name": "grouped", "by": ["rol"]}}, r"'rol': input should be 'task', 'role', 'slot'.*'proposal'"),
    ({"advantage": {"name": "grouped", "by": ["task"], "scal": "std"}}, r"'scal'; did you mean 'scale'\?"),
    ({"advantage": named("grouped", baseline="median")}, r"baseline = 'median': input should be 'mean' or 'others'"),
    ({"overlong": {"name": "mask", "buffer": 2}}, r"algorithm\.overlong = 'mask' takes no options; buffer given"),
    ({"overlong": {"name": "soft"}}, r"algorithm\.overlong\.buffer is required"),
    ({"overlong": {"name": "soft", "buffer": 0}}, r"algorithm\.overlong\.buffer = 0: .*greater than or equal to 1"),
    ({"overlong": named("soft", penalty=0)}, r"algorithm\.overlong\.penalty = 0: .*greater than 0"),
    ({"overlong": named("soft", max_tokens=9)}, r"unknown key in \[algorithm\.overlong\] 'max_tokens'"),
]


@pytest.mark.parametrize(("table", "message"), BAD_OPTIONS)
def test_a_wrong_option_of_an_algorithm_is_named(table, message):
    with pytest.raises(ConfigError, match=message):
        algorithm(**table)


BAD_LOSSES = [
    ({"loss": "ppo"}, r"unknown loss 'ppo'; "),
    ({"loss": {"name": "reinforce", "low": 0.1}}, r"algorithm\.loss = 'reinforce' takes no options; low given"),
    ({"loss": {"name": "clip", "low": 1.5}}, r"algorithm\.loss\.low = 1\.5: .*less than 1"),
    ({"loss": {"name": "clip", "high": 0.0}}, r"algorithm\.loss\.high = 0\.0: .*greater than 0"),
    ({"loss": {"name": "clip", "dual": 0.5}}, r"algorithm\.loss\.dual = 0\.5: .*greater than 1"),
    (
        {"loss": {"name": "clip", "width": 0.5}},
        r"unknown key in \[algorithm\.loss\] 'width'; .*allowed: dual, high",
    ),
    ({"loss": {"name": "gspo", "low": 0.0}}, r"algorithm\.loss\.low = 0\.0: .*greater than 0"),
    ({"loss": {"name": "gspo", "dual": 3.0}}, r"unknown key in \[algorithm\.loss\] 'dual'"),
    ({"loss": {"name": "cispo", "ratio_max": 0}}, r"algorithm\.loss\.ratio_max = 0: .*greater than 0"),
    ({"loss": {"name": "sapo", "negative": 0}}, r"algorithm\.loss\.negative = 0: .*greater than 0"),
    ({"aggregation": {"name": "token", "by": 1}}, r"algorithm\.aggregation = 'token' takes no options; by given"),
    ({"aggregation": {"name": "constant", "max_tokens": 9}}, r"'constant' takes no options; max_tokens given"),
    ({"correction": {"name": "none", "cap": 2.0}}, r"algorithm\.correction = 'none' takes no options; cap given"),
    ({"correction": {"name": "truncated", "cap": 0.5}}, r"algorithm\.correction\.cap = 0\.5: .*greater than or equal"),
    ({"correction": {"name": "sequence", "low": 1.5}}, r"algorithm\.correction\.low = 1\.5: .*less than or equal to 1"),
    ({"correction": {"name": "sequence", "high": 0.5}}, r"algorithm\.correction\.high = 0\.5: .*greater than or equal"),
    ({"kl": {"name": "none", "weight": 0.1}}, r"algorithm\.kl = 'none' takes no options; weight given"),
    *(({"kl": name}, r"algorithm\.kl\.weight is required") for name in ("k1", "k2", "k3")),
    ({"kl": {"name": "k3", "weight": -0.1}}, r"algorithm\.kl\.weight = -0\.1: .*greater than or equal to 0"),
]


@pytest.mark.parametrize(("table", "message"), BAD_LOSSES)
def test_a_wrong_option_of_a_loss_is_named(table, message):
    with pytest.raises(ConfigError, match=message):
        build_loss(recipe(**table))


@pytest.mark.parametrize("name", OVER_EPISODES)
@pytest.mark.parametrize("credit", ["own", "mix", "help_hurt"])
def test_rewards_of_ones_own_cannot_be_compared_over_episodes(name, credit):
    wanted = ", ".join(OVER_CALLS)
    with pytest.raises(
        ConfigError,
        match=rf"algorithm\.advantage = '{name}' compares episodes, but algorithm\.credit = '{credit}' gives the calls"
        rf" of an episode rewards of their own; allowed with it: {wanted}",
    ):
        algorithm(credit=named(credit), advantage=name)


@pytest.mark.parametrize("name", OVER_EPISODES)
def test_a_penalty_on_length_cannot_be_compared_over_episodes(name):
    wanted = ", ".join(OVER_CALLS)
    with pytest.raises(
        ConfigError,
        match=rf"algorithm\.advantage = '{name}' compares episodes, but algorithm\.overlong = 'soft' takes from the"
        rf" calls of an episode according to their own length; allowed with it: {wanted}",
    ):
        algorithm(advantage=name, overlong=named("soft"))


@pytest.mark.parametrize("name", OVER_EPISODES)
def test_one_episode_a_task_cannot_be_compared(name):
    with pytest.raises(
        ConfigError,
        match=rf"'{name}' compares episodes of a task, but rollout\.group_size = 1 plays one; play at least 2, or"
        " use: rae",
    ):
        algorithm(advantage=name, rollout={"group_size": 1})
    algorithm(advantage=name, rollout={"group_size": 2})
    algorithm(advantage="rae", rollout={"group_size": 1})


@pytest.mark.parametrize("name", ["role", "role_turn", "prompt", "hierarchical", {"name": "grouped", "by": ["task"]}])
def test_calls_of_one_episode_with_its_reward_cannot_be_compared(name):
    alone = {"rollout": {"group_size": 1}}
    with pytest.raises(ConfigError, match=r"group_size = 1 and algorithm\.credit = 'outcome' those that it compares"):
        algorithm(advantage=name, **alone)
    algorithm(advantage=name)
    algorithm(advantage=name, credit="own", **alone)
    algorithm(advantage=name, overlong={"name": "soft", "buffer": 2}, **alone)
    algorithm(advantage={"name": "grouped", "by": ["role"]}, **alone)
    helped = {"name": "help_hurt", "solo": "generator", "roles": ["critic"]}
    if isinstance(name, dict):
        algorithm(advantage=name, credit=helped, **alone)
    else:
        with pytest.raises(
            ConfigError, match=r"algorithm\.credit = 'help_hurt' those that it compares have equal rewards"
        ):
            algorithm(advantage=name, credit=helped, **alone)


def test_two_ways_to_split_a_step_are_refused():
    with pytest.raises(
        ConfigError,
        match=r"algorithm\.updates and algorithm\.calls_per_update both say how a step is split: set one",
    ):
        algorithm(updates=2, calls_per_update=8)


@pytest.mark.parametrize("split", [{"updates": 2}, {"calls_per_update": 8}])
def test_several_updates_need_a_loss_with_a_ratio(split):
    with pytest.raises(
        ConfigError,
        match=r"algorithm\.loss = 'reinforce' has no ratio .*takes one update per step; with several use: ",
    ) as refusal:
        algorithm(loss="reinforce", **split)
    allowed = str(refusal.value).rpartition(": ")[2].split(", ")
    assert sorted(allowed) == sorted(set(LOSSES) - {"reinforce"})
    for name in allowed:
        algorithm(loss=name, **split)
    algorithm(loss="reinforce")


@pytest.mark.parametrize("name", ["truncated", "sequence"])
def test_a_ratio_to_the_sampler_is_not_corrected_again(name):
    with pytest.raises(
        ConfigError,
        match=rf"algorithm\.correction = '{name}' corrects from .*old_logprobs = 'sampler' .*would count twice",
    ):
        algorithm(correction=name, old_logprobs="sampler")
    algorithm(correction=name)
    algorithm(old_logprobs="sampler")


def test_weights_of_tokens_do_not_go_with_a_ratio_of_calls():
    with pytest.raises(
        ConfigError,
        match=r"algorithm\.loss = 'gspo' weighs whole calls, algorithm\.correction = 'truncated' single tokens;"
        r" allowed with it: none, sequence",
    ):
        algorithm(loss="gspo", correction="truncated")
    algorithm(loss="gspo", correction="sequence")


def test_there_is_nothing_to_resample_where_every_call_has_signal():
    with pytest.raises(ConfigError, match=r"algorithm\.resample replaces tasks without signal, but with 'rae' every c"):
        algorithm(resample=1, advantage="rae")
    algorithm(resample=1)


def test_a_buffer_longer_than_a_reply_may_be_is_refused():
    with pytest.raises(ConfigError, match=r"algorithm\.overlong\.buffer is longer than rollout\.max_tokens = 10"):
        algorithm(advantage="role", overlong=named("soft", buffer=11))
    algorithm(advantage="role", overlong=named("soft", buffer=10))


def test_an_unreadable_claim_is_a_sample_like_any_other():
    unread = make_call(claim=Unreadable("no answer"), score=0.0)
    group = make_group(make_episode(unread), make_episode(make_call(claim=Answer("2"), score=1.0), rollout=1))
    assert [one.reward for one in algorithm(credit="own", advantage="role").samples([group])] == [0.0, 1.0]
