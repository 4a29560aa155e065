"""Controls: recipes and sources by hand, and a trained run compared with each of them."""

import json
from pathlib import Path

import pytest
from command_line import command_line
from conftest import micro_run

from counterpoint import controls, evaluate
from counterpoint.analysis.tries import BEFORE, SORTING
from counterpoint.controlled import Ask, Control, Evaluations, affordable, check_ask, evaluations_of
from counterpoint.errors import ConfigError
from counterpoint.evaluation import Evaluation
from counterpoint.event_loop import run_to_end
from counterpoint.policy import routing
from counterpoint.recipe import config_from
from counterpoint.workflows import load_workflow

AT = Path("checkpoint")


def recipe(sharing="isolated", workflow="voting", **tables):
    return config_from({"workflow": workflow, "policies": {"sharing": sharing}, **tables})


def test_two_roles_exchange_their_policies():
    table = {"aggregator": {"alpha": 8.0}}
    changed, sources = controls.swapped(recipe(policy=table), AT, "generator", "aggregator")
    assert changed.policies.sharing == {"generator": "aggregator", "aggregator": "generator"}
    assert changed.policy_settings("aggregator").alpha == 8.0  # a policy keeps its settings, whoever speaks with it
    assert sources == {"generator": AT / "generator", "aggregator": AT / "aggregator"}


@pytest.mark.parametrize(
    ("sharing", "roles", "message"),
    [
        ("shared", ("generator", "aggregator"), "have the same policy 'shared': there is nothing to swap"),
        ("isolated", ("generator", "judge"), "unknown role 'judge'"),
        ("isolated", ("generator", ""), "unknown role ''"),
        ("slots", ("generator", "aggregator"), "role 'generator' has 3 policies, one per slot"),
    ],
)
def test_what_cannot_be_swapped_is_refused(sharing, roles, message):
    with pytest.raises(ConfigError, match=message):
        controls.swapped(recipe(sharing), AT, *roles)


@pytest.mark.parametrize("samples", [0, -1, "4", 1.0])
def test_a_number_of_tries_that_cannot_be_is_refused(samples):
    with pytest.raises(ConfigError, match=f"samples = {samples!r}: each task is played a whole number of times"):
        check_ask(Ask(samples=samples))


@pytest.mark.parametrize("sharing", ["isolated", "shared"])
def test_a_role_is_replaced_by_the_base(sharing):
    changed, sources = controls.ablated(recipe(sharing), AT, "aggregator")
    kept = {"isolated": "generator", "shared": "shared"}[sharing]
    assert changed.policies.sharing == {"generator": kept, "aggregator": "base-of-aggregator"}
    assert sources == {kept: AT / kept, "base-of-aggregator": None}


def test_the_base_that_takes_over_has_the_settings_of_the_policy_and_no_adapter():
    table = {"aggregator": {"rank": 4, "adapter": "somewhere"}, "generator": {"rank": 2}}
    changed, _ = controls.ablated(recipe(policy=table), AT, "aggregator")
    settings = {name: changed.policy_settings(name) for name in ("generator", "base-of-aggregator")}
    assert [settings[name].rank for name in settings] == [2, 4]
    assert settings["base-of-aggregator"].adapter == ""
    assert list(changed.policy) == ["base-of-aggregator", "generator"]


def test_a_role_with_a_policy_a_slot_is_replaced_in_all_of_them():
    changed, sources = controls.ablated(recipe("slots"), AT, "generator")
    assert changed.policies.sharing == {"generator": "base-of-generator", "aggregator": "aggregator"}
    assert set(sources) == {"base-of-generator", "aggregator"}


def test_an_endpoint_has_no_base():
    table = {"aggregator": {"endpoint": {"url": "http://localhost:1/v1", "model": "m"}}}
    with pytest.raises(ConfigError, match="role 'aggregator' has the policy of an endpoint"):
        controls.ablated(recipe(policy=table), AT, "aggregator")


def test_a_policy_answers_alone_once_or_by_majority():
    once, sources = controls.alone(recipe(), AT, "aggregator", 1)
    assert (once.workflow.name, once.policies.sharing) == ("single", {"generator": "aggregator"})
    assert sources == {"aggregator": AT / "aggregator"}
    several, _ = controls.alone(recipe("slots"), AT, "generator-0", 5)
    assert several.workflow.options == {"samples": 5}
    assert several.policies.sharing == {"generator": "generator-0"}


def test_every_policy_of_a_role_is_one_to_be_alone_with():
    assert controls.policies_of(recipe()) == {"generator": ("generator",), "aggregator": ("aggregator",)}
    assert controls.policies_of(recipe("shared")) == {"generator": ("shared",), "aggregator": ("shared",)}
    assert controls.policies_of(recipe("slots"))["generator"] == ("generator-0", "generator-1", "generator-2")


def test_policies_go_to_the_roles_of_the_same_name():
    changed, sources = controls.transferred(recipe(), AT, recipe("shared", "evaluator_optimizer"))
    assert changed.workflow.name == "evaluator_optimizer"
    assert changed.policies.sharing == {"generator": "generator", "evaluator": "base-of-evaluator"}
    assert sources == {"generator": AT / "generator", "base-of-evaluator": None}


def test_without_a_role_in_common_nothing_can_be_transferred():
    with pytest.raises(ConfigError, match="no role in common: generator, aggregator here, orchestrator, worker"):
        controls.transferred(recipe(), AT, recipe(workflow="orchestrator_workers"))


def test_interventions_that_name_roles_do_not_keep_a_control_from_being_played():
    given = recipe(interventions=[{"name": "phases", "frozen": ["aggregator"]}])
    for changed in (controls.ablated(given, AT, "aggregator")[0], controls.alone(given, AT, "generator", 1)[0]):
        assert changed.interventions == []
        routing(changed.policies.sharing, load_workflow(changed.workflow).slots)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Isolated policies after two steps."""
    return micro_run(
        tmp_path_factory.mktemp("controls") / "run",
        policies={"sharing": "isolated", "learning_rate": 0.02},
        task={"name": "arithmetic", "train": 64, "validation": 4, "test": 24},
    )


def evaluated(trained, folder, *options):
    out = folder / "found.json"
    done = command_line("evaluate", trained.path, *options, "--out", out)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(out.read_text())


def test_a_run_as_it_is_has_the_numbers_of_its_last_evaluation(trained, tmp_path):
    _, found = evaluated(trained, tmp_path)
    last = [row for row in trained.evaluation_rows() if row["split"] == "test"][-1]
    assert found["outcomes"] == last["outcomes"]


def test_swapped_policies_play_otherwise_and_are_compared(trained, tmp_path):
    printed, found = evaluated(trained, tmp_path, "--swap", "generator,aggregator")
    assert list(found) == ["run", "with generator and aggregator swapped"]
    assert found["run"]["roles"] != found["with generator and aggregator swapped"]["roles"]
    assert "this run minus the one with generator and aggregator swapped: points, paired by task" in printed
    difference = found["with generator and aggregator swapped"]["difference"]
    assert list(difference["roles"]) == ["generator", "aggregator"]
    accuracy = [found[name]["accuracy"] for name in ("run", "with generator and aggregator swapped")]
    assert difference["value"] == pytest.approx(accuracy[0] - accuracy[1])


def test_at_the_base_every_control_is_the_run_itself(trained, tmp_path):
    for options in (("--swap", "generator,aggregator"), ("--ablate", "aggregator")):
        printed, found = evaluated(trained, tmp_path, "--step", "0", *options)
        one, other = found.values()
        assert one["outcomes"] == other["outcomes"]
        assert printed.count("+0.0 [-10.7, 10.7]") == 3  # the team and both roles


def test_with_the_base_as_one_role_the_other_speaks_as_before(trained, tmp_path):
    _, found = evaluated(trained, tmp_path, "--ablate", "aggregator")
    run, ablated = found.values()
    assert run["roles"]["generator"] == ablated["roles"]["generator"]
    assert run["numbers"]["role/aggregator/entropy"] != ablated["numbers"]["role/aggregator/entropy"]


def test_tasks_are_sorted_by_tries_of_the_base_that_are_not_its_numbers(trained, tmp_path):
    printed, found = evaluated(trained, tmp_path, "--step", "0", "--taught", "--tries", "5", "--samples", "2")
    assert list(found) == ["run", BEFORE, SORTING]
    run, base, sorting = found.values()
    assert run["outcomes"] == base["outcomes"]  # at the base, with the same random numbers
    assert run["right"]["team"] == {task: [sum(one == 1 for one in own), 2] for task, own in run["outcomes"].items()}
    assert all(len(own) == 5 for own in sorting["outcomes"].values())
    assert "answers" not in run
    assert sum(map(sum, sorting["outcomes"].values())) > 0
    assert any(sorting["outcomes"][task][:2] != own for task, own in base["outcomes"].items())
    assert "on tasks sorted by 5 other tries of the base" in printed
    assert "problems that the base sometimes solved in 5 tries" in printed


def test_a_base_that_was_played_elsewhere_is_not_played_again(trained, tmp_path):
    printed, found = evaluated(trained, tmp_path, "--taught", "--tries", "0", "--samples", "2")
    assert list(found) == ["run"]
    assert all(count == 2 for _, count in found["run"]["right"]["team"].values())
    assert "sorted by" not in printed


def test_what_training_taught_in_python(trained):
    found = evaluate(trained, samples=2, taught=4)
    assert [one.kind for one in found.lessons] == ["never", "sometimes", "always"]
    assert sum(one.problems for one in found.lessons) == 24
    assert {one.sorting for one in found.lessons} == {4}
    assert evaluate(trained).lessons == ()


def test_how_often_a_role_may_answer_follows_from_what_its_answers_cost():
    def spent(**roles):
        calls = {f"role/{role}/calls": calls for role, (calls, _) in roles.items()}
        tokens = {f"role/{role}/tokens": tokens for role, (_, tokens) in roles.items()}
        return Evaluation(split="test", outcomes={}, roles={}, numbers={**calls, **tokens})

    team = spent(generator=(3.0, 50.0), judge=(1.0, 8.0))
    assert affordable(team, spent(generator=(1.0, 52.0))) == 3
    assert affordable(team, spent(generator=(1.0, 200.0))) == 1


def test_every_role_plays_alone_once_and_as_often_as_the_tokens_allow(trained, tmp_path):
    _, found = evaluated(trained, tmp_path, "--solo")
    assert list(found)[:2] == ["run", "generator alone"]
    assert "aggregator alone" in found
    assert any(name.startswith("the majority of ") for name in found)


def test_a_role_that_plays_alone_keeps_its_name(trained, tmp_path):
    printed, found = evaluated(trained, tmp_path, "--solo")
    alone = found["aggregator alone"]
    assert list(alone["roles"]) == list(alone["answers"]["roles"]) == ["aggregator"]
    assert list(alone["difference"]["roles"]) == ["aggregator"]
    assert alone["numbers"]["role/aggregator/calls"] == 1.0
    assert not any("generator" in name for name in alone["numbers"])
    table = printed.split("aggregator alone\n")[1].split("any answer right")[0]
    assert "aggregator" in table
    assert "generator" not in table


def test_roles_with_one_policy_are_alone_in_the_same_way(tmp_path):
    shared = micro_run(tmp_path / "run", task={"name": "arithmetic", "train": 64, "validation": 4, "test": 6})
    found = Evaluations(rows=tuple(run_to_end(gathered(shared))))
    alone = {row.name: row.evaluation for row in found.rows if row.name.endswith(" alone")}
    assert list(alone) == ["generator alone", "aggregator alone"]
    assert alone["generator alone"].outcomes is alone["aggregator alone"].outcomes  # played once
    assert list(alone["aggregator alone"].roles) == ["aggregator"]
    frame = found.frame()
    differences = frame.filter(frame["evaluation"] != "run")["difference"]
    assert differences.null_count() == 0
    assert frame.filter(frame["evaluation"] == "run")["difference"].null_count() == 3


async def gathered(run):
    return [row async for row in evaluations_of(run, run.config, Ask(), Control(solo=True))]


def test_a_role_whose_answers_cost_nothing_is_not_asked_for_ever():
    nothing = Evaluation(split="test", outcomes={}, roles={}, numbers={})
    assert affordable(nothing, nothing) == 1


def test_policies_play_another_runs_workflow(trained, refining_run, tmp_path):
    _, found = evaluated(trained, tmp_path, "--transfer", str(refining_run.path))
    assert list(found) == ["run", "with the base in every role"]
    assert set(found["run"]["roles"]) == {"generator", "evaluator"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--swap", "generator,aggregator", "--solo"), "at most one control is allowed"),
        (("--ablate", "judge"), "unknown role 'judge'"),
        (("--step", "9", "--solo"), "no checkpoint of step 9; there are: 0, 2"),
        (("--solo", "--taught", "--tries", "0"), "at most one control is allowed"),
        (("--tries", "3"), "--tries goes with --taught"),
    ],
)
def test_a_control_that_cannot_be_is_refused_in_a_line(trained, options, message):
    done = command_line("evaluate", trained.path, *options)
    assert done.returncode == 2
    assert message in done.stderr
