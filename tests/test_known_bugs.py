"""Bugs that other code of this field was found to have, each with the case that shows it. Here none of them happens."""

import asyncio
from dataclasses import replace

import polars as pl
import pytest
from facts import make_credit, make_limits, make_stage, make_task
from torch_build import fresh_model, start, tiny_base, tiny_folder, trained

from counterpoint.algorithms.advantage import grpo, role, role_slot, role_turn
from counterpoint.algorithms.aggregation import token
from counterpoint.algorithms.credit import outcome, own
from counterpoint.algorithms.loss import Loss, reinforce
from counterpoint.episode import Unreadable
from counterpoint.evaluation import count
from counterpoint.learners.peft import Peft
from counterpoint.play import rollout
from counterpoint.policy import Routing
from counterpoint.testing.tiny import tiny_calls, tiny_config, tiny_samples
from counterpoint.workflows import WORKFLOWS


def play(name, script, tasks, *, options=None, **limits):
    stage, sampler = make_stage(WORKFLOWS.find(name).with_options(options or {}), script)
    limits = make_limits(**{"max_tokens": 600, "max_prompt_tokens": 10**6, **limits})
    return asyncio.run(rollout(stage, tasks, limits, size=1, seed="s")), sampler


def numbered(answer: str, id: str):
    """A task whose problem says what the scripted generator will answer."""
    return make_task(f"Say {answer}.", key="2", id=id)


def says(prompt: str) -> str:
    return prompt.split("Say ")[1].split(".")[0]


def test_an_episode_that_overflows_after_a_right_verdict_is_no_success():
    """There, such an episode was scored by the sum of what its roles had earned so far, and counted as right."""

    def script(policy, prompt):
        if policy == "generator":
            return says(prompt)
        return r"\boxed{correct}" if says(prompt) == "2" else r"\boxed{incorrect}" + "!" * 500

    groups, _ = play(
        "evaluator_optimizer", script, [numbered("3", "bad"), numbered("2", "good")], max_prompt_tokens=600
    )
    bad, good = (group.episodes[0] for group in groups)
    assert (bad.error_kind, bad.score.reward, bad.success) == ("overflow", None, 0.0)
    assert [(call.key.role, call.score) for call in bad.calls] == [("generator", 0.0), ("evaluator", 1.0)]
    assert {credit.task for credit in outcome(groups)} == {"good"}, "without an outcome there is no credit for it"
    assert [credit.reward for credit in own(groups[:1])] == [0.0, 1.0], "what was said and judged stays a fact"
    assert good.success == 1.0
    assert count(groups, "test").accuracy == 0.5


def test_a_refinement_is_not_compared_with_first_drafts_where_turns_are_told_apart():
    """There, groups were keyed by task and name, and held initial answers and refinements of any number."""
    credits = [make_credit(1.0, turn=0, rollout=0), make_credit(0.0, turn=0, rollout=1)]
    refined = [make_credit(1.0, turn=1, rollout=0), make_credit(1.0, turn=1, rollout=1)]
    apart = role_turn([*credits, *refined])
    assert [sample.signal for sample in apart] == [True, True, False, False]
    mixed = role([*credits, *refined])
    assert all(sample.signal for sample in mixed)


def test_parallel_voters_are_one_group_or_a_group_each_by_choice_and_not_by_task():
    """There, voting on math told voters apart and voting on code did not."""
    credits = [make_credit(float(slot == 0), slot=slot, rollout=rollout) for rollout in (0, 1) for slot in (0, 1, 2)]
    assert not any(sample.signal for sample in role_slot(credits))
    assert all(sample.signal for sample in role(credits))


def test_a_long_episode_does_not_weigh_more_in_its_groups_mean():
    """There, calls were counted, so episodes that refined again and again pulled the baseline down."""
    failing = [make_credit(0.0, turn=turn, rollout=0) for turn in range(5)]
    samples = grpo([*failing, make_credit(1.0, rollout=1)])
    assert samples[-1].advantage == pytest.approx(-samples[0].advantage)


def test_a_group_of_one_gives_no_advantage():
    """There, it kept its raw reward."""
    for rule in (grpo, role, role_slot, role_turn):
        (sample,) = rule([make_credit(1.0)])
        assert (sample.advantage, sample.in_loss) == (0.0, False)


def test_silence_is_not_safer_than_a_wrong_answer():
    """There, a wrong answer cost a point and no answer cost nothing."""
    groups, _ = play("single", lambda policy, prompt: "", [make_task(key="2")])
    (call,) = groups[0].episodes[0].calls
    assert isinstance(call.claim, Unreadable)
    assert [credit.reward for credit in own(groups)] == [0.0]


def test_an_aggregator_that_writes_no_index_chooses_nothing():
    """There, the first digit anywhere counted, and candidate 1 if there was none."""
    for reply in ("Solution 1 is wrong, it is \\boxed{39}", "gibberish", "\\boxed{2} no, \\boxed{3}", "2"):
        groups, _ = play(
            "voting", lambda policy, prompt, reply=reply: reply if policy == "aggregator" else "2", [make_task()]
        )
        episode = groups[0].episodes[0]
        assert episode.answer is None
        assert isinstance(episode.calls[-1].claim, Unreadable)


def test_learning_rates_follow_training_steps_and_not_updates_or_roles(tmp_path):
    """There, the scheduler stepped once a role, so isolated policies warmed up two or three times as fast."""
    rates = {}
    for sharing in ("shared", "isolated"):
        table = {
            "policies": {"sharing": sharing, "warmup": 3, "learning_rate": 0.01},
            "algorithm": {"updates": 2, "without_signal": "keep"},
        }
        run = trained(start(tmp_path / sharing, table))
        found = [[value for name, value in row.items() if name.endswith("learning_rate")] for row in run.metric_rows()]
        rates[sharing] = [set(values) for values in found]
    assert rates["shared"] == rates["isolated"] == [{0.01 / 3}, {0.02 / 3}, {0.01}]


@pytest.mark.parametrize("sharing", ["shared", "isolated"])
def test_with_the_studys_warm_up_they_do_and_begin_at_zero(tmp_path, sharing):
    """As a recipe of the study says: three isolated policies are warm in a third of the steps; the first moves none."""
    warmup = {"warmup": 6, "warmup_from_zero": True, "warmup_clock": "all"}
    table = {
        "policies": {"sharing": sharing, "learning_rate": 0.01, **warmup},
        "algorithm": {"updates": 2, "without_signal": "keep"},
    }
    run = trained(start(tmp_path / "run", table))
    rows = run.metric_rows()
    together = 1 if sharing == "shared" else 3
    for step, row in enumerate(rows, start=1):
        rates = [value for name, value in row.items() if name.endswith("learning_rate")]
        assert rates == pytest.approx([0.01 * min(1.0, together * (step - 1) / 6)] * together)
    assert [row[name] for row in rows[:1] for name in row if name.endswith(("/trained", "/change"))] == [0.0] * (
        2 * together
    )
    assert all(row[name] == 1.0 for row in rows[1:] for name in row if name.endswith("/trained"))


@pytest.mark.parametrize(
    "names",
    [
        ("gen", "generator", "generator_1"),
        ("a", "lora", "A"),
        ("worker_2", "worker2", "worker"),
        ("default", "base", "q"),
    ],
)
def test_no_policy_is_mistaken_for_another_by_its_name(names):
    """There, adapters were found by looking for the role's name inside parameter names, and digits were cut off."""
    routes = Routing({name: name for name in names})
    learner = Peft(fresh_model(), routes.policies, tiny_config(tiny_folder()))
    made = tiny_samples(tiny_calls(tiny_base().chat, routes))
    for step, name in enumerate(names, start=1):
        before = learner.digests()
        mine = [sample for sample in made if sample.call.policy == name]
        learner.step(learner.backward(mine, Loss(reinforce, token)), step=step)
        changed = {policy for policy, digest in learner.digests().items() if digest != before[policy]}
        assert changed == {name}


def test_no_sample_is_there_twice(tmp_path):
    """There, rows were duplicated to fill up batches, and trained on."""
    run = trained(start(tmp_path / "run", {"run": {"steps": 1}}))
    frame = pl.read_parquet(run.path / "samples" / "000001.parquet")
    assert frame.select("task", "rollout", "role", "slot", "turn").is_unique().all()
    assert frame.height == 3 * 4 * 4


def test_a_reply_is_never_longer_than_was_asked_for():
    """There, the limit was dropped on the way to the server, and the reply cut afterwards."""
    groups, sampler = play("voting", lambda policy, prompt: "2" * 50, [make_task()], max_tokens=7)
    assert {request.max_tokens for request in sampler.requests} == {7}
    assert all(len(call.completion_ids) == 7 for call in groups[0].episodes[0].calls)


def test_padding_has_no_part_in_a_gradient():
    """A short reply in the same micro-batch as a long one contributes what it does alone."""
    routes = Routing({"writer": "one"})
    learner = Peft(fresh_model(), routes.policies, tiny_config(tiny_folder()))
    made = tiny_samples(tiny_calls(tiny_base().chat, routes, longest=3))
    longer = tiny_samples(tiny_calls(tiny_base().chat, routes, count=1, seed=9, longest=60))
    silent = [replace(sample, advantage=0.0) for sample in longer]
    weights = Loss(reinforce, lambda samples: [1.0] * len(samples))
    (alone,) = learner.backward(made, weights).values()
    (beside,) = learner.backward([*made, *silent], weights).values()
    assert alone.gradient.plus(beside.gradient.scaled(-1.0)).norm() < 2e-6 * alone.gradient.norm()
