"""Any role to any policy: shared, apart, a policy a slot, frozen, on another base, trained in turns, warm-started."""

import asyncio
import json
from asyncio import gather

import polars as pl
import pytest
from facts import make_limits, make_stage, make_task
from safetensors.torch import load_file
from torch_build import CHOIR, fresh_model, other_folder, start, tiny_folder, trained

from counterpoint.algorithms.aggregation import token
from counterpoint.algorithms.loss import Loss, clip, reinforce
from counterpoint.base_model import load_base_model
from counterpoint.config import UpdateConfig
from counterpoint.episode import calls_of, read_episodes
from counterpoint.errors import ConfigError, LearnerError, WorkflowError
from counterpoint.learners.peft import Peft
from counterpoint.plan.plan import plan
from counterpoint.play import Stage, rollout
from counterpoint.policy import routing, settings_of
from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.runtimes import open_runtime
from counterpoint.task import Problem
from counterpoint.tasks import load_tasks
from counterpoint.testing.reference import plain_logprobs
from counterpoint.testing.tiny import tiny_calls, tiny_config, tiny_samples
from counterpoint.training import train
from counterpoint.workflows import load_workflow
from counterpoint.workflows.base import Role, workflow

FROZEN = {"policy": {"conductor": {"trainable": False}}}


def digests(run: Run, step: int) -> dict[str, str]:
    return dict(run.checkpoint_state(step)["digests"])


def samples(run: Run, step: int) -> pl.DataFrame:
    return pl.read_parquet(run.path / "samples" / f"{step:06d}.parquet")


def calls(run: Run, step: int):
    return [call for _, call in calls_of(read_episodes(run.path / "episodes" / f"{step:06d}.parquet"))]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The choir, isolated, nothing special about any policy."""
    return trained(start(tmp_path_factory.mktemp("plain") / "run", {"run": {"save_every": 1}}))


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """The same with a conductor that is not trained."""
    return trained(start(tmp_path_factory.mktemp("frozen") / "run", {**FROZEN, "run": {"save_every": 1}}))


def test_a_frozen_policy_speaks_and_never_moves(frozen):
    assert {digests(frozen, step)["conductor"] for step in (0, 1, 2, 3)} == {digests(frozen, 0)["conductor"]}
    assert digests(frozen, 3)["soprano"] != digests(frozen, 0)["soprano"]
    assert sum(call.policy == "conductor" for call in calls(frozen, 1)) == 12
    assert set(samples(frozen, 1)["role"]) == {"soprano", "alto"}
    assert frozen.metric_rows()[0]["policy/conductor/trained"] == 0.0
    assert not any(name.startswith("gradient/conductor") for row in frozen.metric_rows() for name in row)


def test_freezing_a_role_changes_nothing_for_the_others_in_the_first_step(plain, frozen):
    for policy in ("soprano", "alto"):
        assert digests(frozen, 1)[policy] == digests(plain, 1)[policy]
    mine = samples(plain, 1).filter(pl.col("role") != "conductor")
    assert samples(frozen, 1).equals(mine)


def test_a_run_in_which_nothing_would_be_trained_is_refused():
    table = {**CHOIR, "policies": {"trainable": False}}
    with pytest.raises(ConfigError, match="every policy is frozen, nothing would be trained: soprano, alto, conductor"):
        plan(tiny_config(tiny_folder(), table))


def test_settings_of_a_policy_that_does_not_exist_are_refused():
    table = {**CHOIR, "policy": {"sopran": {"rank": 2}}}
    with pytest.raises(ConfigError, match=r"policy: unknown policy 'sopran'; did you mean 'soprano'\?"):
        plan(tiny_config(tiny_folder(), table))


def test_a_frozen_sample_is_refused_by_the_learner(frozen):
    routes = routing("isolated", {"soprano": 1, "conductor": 1})
    learner = Peft(fresh_model(), routes.policies, tiny_config(tiny_folder(), FROZEN))
    made = tiny_samples(tiny_calls(load_base_model(frozen.config.model).chat, routes))
    with pytest.raises(LearnerError, match="policy 'conductor' is frozen"):
        learner.backward(made, Loss(reinforce, token))


def test_slots_have_a_policy_each(tmp_path):
    run = trained(start(tmp_path / "run", {"policies": {"sharing": "slots"}, "run": {"steps": 2}}))
    assert run.facts["routing"] == {
        "soprano": ["soprano-0", "soprano-1"],
        "alto": "alto",
        "conductor": "conductor",
    }
    spoke = {(call.key.role, call.key.slot, call.policy) for call in calls(run, 1)}
    assert spoke == {
        ("soprano", 0, "soprano-0"),
        ("soprano", 1, "soprano-1"),
        ("alto", 0, "alto"),
        ("conductor", 0, "conductor"),
    }
    assert len(set(digests(run, 2).values())) == 4
    assert "policy/soprano-1/trained" in run.metric_rows()[0]


def test_slots_can_be_given_policies_in_a_table(tmp_path):
    table = {"soprano": ["high", "low"], "alto": "low", "conductor": "high"}
    run = trained(start(tmp_path / "run", {"policies": {"sharing": table}, "run": {"steps": 1}}))
    spoke = {(call.key.role, call.key.slot, call.policy) for call in calls(run, 1)}
    assert {("soprano", 0, "high"), ("soprano", 1, "low"), ("alto", 0, "low"), ("conductor", 0, "high")} == spoke
    assert {"gradient/high/soprano/norm", "gradient/low/soprano/norm"} <= set(run.metric_rows()[0])


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (["a"], "policies.sharing.soprano names 1 policies, but the role has 2 slots"),
        (["a", "b", "c"], "policies.sharing.soprano names 3 policies, but the role has 2 slots"),
        (["a", "b/c"], "policy 'b/c' is not a valid name"),
    ],
)
def test_a_table_must_fit_the_slots(named, message):
    with pytest.raises(ConfigError, match=message):
        routing({"soprano": named, "alto": "a"}, {"soprano": 2, "alto": 1})


def test_a_slot_that_the_cast_does_not_have_fails_its_episode():
    @workflow
    async def crowd(problem: Problem, *, voice: Role) -> str | None:
        await gather(voice(problem.text), voice(problem.text))
        return "2"

    stage, _ = make_stage(crowd, lambda policy, prompt: "hm", {"voice": ("one",)})
    with pytest.raises(WorkflowError, match="role 'voice' was called in slot 1, but only slots 0 to 0 have a policy"):
        asyncio.run(rollout(stage, [make_task()], make_limits(), size=1, seed="s"))


def test_policies_can_have_bases_of_their_own(tmp_path):
    table = {"policy": {"conductor": {"model": {"path": str(other_folder())}, "rank": 2}}}
    run = trained(start(tmp_path / "run", {**table, "run": {"steps": 2}}))
    assert all(row[f"policy/{name}/mismatch"] < 1e-4 for row in run.metric_rows() for name in ("soprano", "conductor"))
    mine, other = (load_base_model(run.config.policy_settings(name).model) for name in ("soprano", "conductor"))
    for name, base in (("soprano", mine), ("conductor", other)):
        spoken = [call for call in calls(run, 1) if call.policy == name and call.version == 0]
        for call, expected in zip(spoken, plain_logprobs(base.model, spoken), strict=True):
            assert call.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
    adapter = json.loads((run.checkpoint_path(2) / "conductor" / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["base_model_name_or_path"]) == (2, str(other_folder()))


def test_a_run_with_two_bases_resumes_to_the_same_numbers(tmp_path):
    table = {"policy": {"conductor": {"model": {"path": str(other_folder())}}}, "run": {"save_every": 1}}
    whole = trained(start(tmp_path / "whole", table))
    cut = start(tmp_path / "cut", {**table, "run": {"save_every": 1}})

    def watch(step, numbers):
        if step == 2 and "time/step" in numbers:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        trained(cut, watch=watch)
    with Run.open(cut.path) as again:
        asyncio.run(train(again))
        assert again.checkpoint_state(3)["digests"] == whole.checkpoint_state(3)["digests"]


def test_a_policy_is_trained_in_its_own_steps_alone(tmp_path):
    table = {
        "policy": {
            "soprano": {"update": {"period": 2}},
            "alto": {"update": {"period": 4, "start": 2, "steps": 2}, "warmup": 2},
        },
        "run": {"steps": 4, "save_every": 1},
    }
    run = trained(start(tmp_path / "run", table))
    moved = {
        policy: [step for step in (1, 2, 3, 4) if digests(run, step)[policy] != digests(run, step - 1)[policy]]
        for policy in ("soprano", "alto")
    }
    assert moved == {"soprano": [1, 3], "alto": [3, 4]}
    rates = {row["step"]: row.get("policy/alto/learning_rate") for row in run.metric_rows()}
    assert rates == {1: None, 2: None, 3: pytest.approx(0.005), 4: pytest.approx(0.01)}, "its warm-up is its own"
    assert {row["policy/alto/trained"] for row in run.metric_rows() if row["step"] < 3} == {0.0}
    for row in run.metric_rows():
        kept = samples(run, row["step"]).filter("in_loss")
        for policy in moved:
            assert len(kept.filter(pl.col("role") == policy)) == row[f"policy/{policy}/in_loss"]
            assert (row[f"role/{policy}/in_loss"] > 0.0) is (row["step"] in moved[policy]), "what interventions see too"


def test_the_clock_of_a_policy_counts_its_own_steps():
    turns = UpdateConfig(period=20, start=10, steps=10)
    assert [step for step in range(1, 41) if turns.due(step)] == [*range(11, 21), *range(31, 41)]
    assert [turns.clock(step) for step in (1, 10, 11, 20, 25, 31, 40)] == [0, 0, 1, 10, 10, 11, 20]
    assert UpdateConfig().clock(7) == 7
    with pytest.raises(ConfigError, match="steps = 3 is more than the period of 2"):
        config_from({"policies": {"update": {"period": 2, "steps": 3}}})


@pytest.mark.parametrize("period", range(1, 7))
def test_the_clock_counts_the_steps_that_are_due(period):
    for before in range(2 * period + 2):
        for steps in range(1, period + 1):
            turns = UpdateConfig(period=period, start=before, steps=steps)
            due = [turns.due(step) for step in range(1, 30)]
            assert [turns.clock(step) for step in range(30)] == [sum(due[:step]) for step in range(30)]


def test_the_clock_of_a_long_run_is_read_at_once(monkeypatch):
    asked, due = [], UpdateConfig.due
    monkeypatch.setattr(UpdateConfig, "due", lambda turns, step: asked.append(step) or due(turns, step))
    assert UpdateConfig(period=20, start=10, steps=10).clock(10**6 + 15) == 5 * 10**5 + 5
    assert len(asked) <= 20


def test_a_policy_can_start_from_an_adapter(tmp_path, plain):
    folder = plain.checkpoint_path(3) / "alto"
    table = {"policy": {"soprano": {"adapter": str(folder)}}, "run": {"steps": 1, "save_every": 1}}
    run = trained(start(tmp_path / "run", table))
    assert digests(run, 0)["soprano"] == digests(plain, 3)["alto"]
    assert digests(run, 0)["alto"] != digests(plain, 3)["alto"]
    assert digests(run, 1)["soprano"] != digests(run, 0)["soprano"]


@pytest.mark.parametrize(("adapter", "message"), [("nowhere", "has no adapter"), ("other rank", "another rank")])
def test_an_adapter_that_does_not_fit_is_refused(tmp_path, plain, adapter, message):
    folder = plain.checkpoint_path(3) / "alto" if adapter == "other rank" else tmp_path / "nowhere"
    table = {"policy": {"soprano": {"adapter": str(folder), "rank": 8}}, "run": {"steps": 1}}
    with pytest.raises(LearnerError, match=message):
        trained(start(tmp_path / "run", table))


def test_copies_of_a_policy_behave_alike(tmp_path, plain):
    """Two policies that start from one adapter and learn from the same samples are one policy."""
    folder = str(plain.checkpoint_path(3) / "alto")
    table = {"policy": {"one": {"adapter": folder}, "two": {"adapter": folder}}}
    chat = load_base_model(plain.config.model).chat
    apart = routing({"writer": "one", "critic": "two"}, {"writer": 1, "critic": 1})
    learner = Peft(fresh_model(), apart.policies, tiny_config(tiny_folder(), table))
    writers = tiny_samples(tiny_calls(chat, routing({"writer": "one"}, {"writer": 1})))
    critics = tiny_samples(tiny_calls(chat, routing({"writer": "two"}, {"writer": 1})))
    for step in (1, 2):
        learner.step(learner.backward([*writers, *critics], Loss(clip, token)), step=step)
        assert learner.digests()["one"] == learner.digests()["two"]


def test_under_any_sharing_the_first_step_sees_the_same_prompts_and_replies(tmp_path, plain):
    shared = trained(start(tmp_path / "run", {"policies": {"sharing": "shared"}, "run": {"steps": 1}}))
    one, other = calls(plain, 1), calls(shared, 1)
    assert [(call.key, call.prompt_ids, call.completion_ids) for call in one] == [
        (call.key, call.prompt_ids, call.completion_ids) for call in other
    ]


def test_a_checkpointed_run_can_be_evaluated_with_its_routes(plain):
    config = plain.config
    workflow, tasks = load_workflow(config.workflow), load_tasks(config.task)
    routes = routing(config.policies.sharing, workflow.slots)
    assert set(settings_of(routes, config)) == {"soprano", "alto", "conductor"}

    async def played():
        async with open_runtime(config, routes) as runtime:
            plain.load_checkpoint(3, {"learner": runtime.learner})
            await runtime.sampler.load(runtime.learner.adapters())
            stage = Stage(workflow=workflow, routing=routes, sampler=runtime.sampler, chats=runtime.chats)
            return await rollout(stage, tasks.test[:2], make_limits(max_tokens=8), size=1, seed="s")

    assert {call.version for _, call in calls_of(asyncio.run(played()))} == {3}


def test_checkpoints_hold_a_folder_a_policy(plain):
    found = {path.name for path in plain.checkpoint_path(3).iterdir()}
    assert found == {"soprano", "alto", "conductor", "interventions", "algorithm", "diagnostics", "state.json"}
    assert load_file(plain.checkpoint_path(3) / "alto" / "adapter_model.safetensors")
