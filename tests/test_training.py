import json
import math
from collections import defaultdict
from functools import cache
from statistics import fmean

import polars as pl
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch_build import CHOIR, SOLO, fresh_model, new_learner, session_folder, start, tiny_folder, trained
from transformers import AutoModelForCausalLM

from counterpoint.episode import calls_of, read_episodes
from counterpoint.policy import routing
from counterpoint.recipe import config_from, load_config
from counterpoint.run import Run
from counterpoint.testing.reference import plain_logprobs

ROLES = ("soprano", "alto", "conductor")
TABLE = {"soprano": "voices", "alto": "voices", "conductor": "stick"}
POLICIES = {"shared": {"shared"}, "isolated": set(ROLES), "table": {"voices", "stick"}}


@cache
def finished(sharing: str) -> Run:
    """A run of the choir, made once a session."""
    path = session_folder() / f"trained-{sharing}"
    wanted = TABLE if sharing == "table" else sharing
    return trained(start(path, {"policies": {"sharing": wanted}, "run": {"steps": 4}}))


@pytest.fixture(params=["shared", "isolated", "table"])
def run(request):
    return finished(request.param)


def sharing_of(run: Run) -> str:
    return run.path.name.rpartition("-")[2]


def test_a_run_directory_holds_what_is_documented(run):
    assert {path.name for path in run.path.iterdir()} == {
        "config.toml",
        "run.json",
        "run.lock",
        "metrics.jsonl",
        "evaluations.jsonl",
        "episodes",
        "samples",
        "evaluations",
        "checkpoints",
        "summary.json",
    }
    for folder in ("episodes", "samples"):
        assert sorted(path.name for path in (run.path / folder).iterdir()) == [
            f"00000{n}.parquet" for n in (1, 2, 3, 4)
        ]
    evaluated = {split: run.evaluations().filter(split=split)["step"].to_list() for split in ("validation", "test")}
    assert {split: run.steps_with_episodes(split) for split in evaluated} == evaluated
    assert run.checkpoints() == [0, 2, 4]
    assert load_config(run.path / "config.toml") == run.config
    assert run.facts["routing"] == routing(run.config.policies.sharing, dict.fromkeys(ROLES, 1)).policy_of


def test_a_checkpoint_holds_an_adapter_and_an_optimizer_a_policy(run):
    for step in run.checkpoints():
        folder = run.checkpoint_path(step)
        names = {path.name for path in folder.iterdir()}
        assert names == POLICIES[sharing_of(run)] | {"state.json", "interventions", "algorithm", "diagnostics"}
        for policy in POLICIES[sharing_of(run)]:
            files = {path.name for path in (folder / policy).iterdir()}
            assert {"adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors"} <= files
        state = json.loads((folder / "state.json").read_text())
        assert (state["step"], state["stopped"]) == (step, None)


def test_metrics_have_a_line_a_step_and_are_finite(run):
    rows = run.metric_rows()
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert all(math.isfinite(value) for value in row.values())
        assert {"episode/score", "episode/errors", "time/step", "role/soprano/reward"} <= set(row)
        for policy in POLICIES[sharing_of(run)]:
            assert row[f"policy/{policy}/trained"] in (0.0, 1.0)
            assert row[f"policy/{policy}/mismatch"] < 1e-4
    trained_at_least_once = {name.split("/")[1] for row in rows for name in row if name.endswith("/gradient_norm")}
    assert trained_at_least_once == POLICIES[sharing_of(run)]


def test_episodes_and_samples_tell_the_same_story(run):
    for step in (1, 4):
        groups = read_episodes(run.path / "episodes" / f"{step:06d}.parquet")
        assert [len(group.episodes) for group in groups] == [4, 4, 4]
        calls = calls_of(groups)
        assert len(calls) == 12 * 4
        assert {(call.key.role, call.policy) for _, call in calls} == set(
            routing(run.config.policies.sharing, dict.fromkeys(ROLES, 1)).policy_of.items()
        )
        samples = pl.read_parquet(run.path / "samples" / f"{step:06d}.parquet")
        keys = ["task", "rollout", "role", "slot", "turn"]
        assert samples.select(keys).rows() == [(one.task, one.rollout, *call.key) for one, call in calls]
        assert samples["reward"].to_list() == [episode.score.reward for episode, _ in calls]


def test_advantages_are_those_of_grpo_over_the_recorded_rewards(run):
    for step in (1, 4):
        samples = pl.read_parquet(run.path / "samples" / f"{step:06d}.parquet")
        for _, group in samples.group_by("task"):
            rewards = group.group_by("rollout").agg(pl.col("reward").first())["reward"]
            spread = rewards.std()
            expected = [(reward - rewards.mean()) / (spread + 1e-6) if spread else 0.0 for reward in group["reward"]]
            assert group["advantage"].to_list() == pytest.approx(expected)
            assert set(group["signal"]) == {bool(spread)}


def test_versions_count_the_steps_in_which_a_policy_was_trained(run):
    steps = defaultdict(int)
    for row in run.metric_rows():
        groups = read_episodes(run.path / "episodes" / f"{row['step']:06d}.parquet")
        for _, call in calls_of(groups):
            assert call.version == steps[call.policy]
        for policy in POLICIES[sharing_of(run)]:
            steps[policy] += int(row[f"policy/{policy}/trained"])
    assert max(steps.values()) >= 3


def test_evaluations_are_of_both_splits_at_the_same_steps(run):
    rows = run.evaluation_rows()
    assert [(row["step"], row["split"]) for row in rows] == [
        (step, split) for step in (0, 2, 4) for split in ("validation", "test")
    ]
    for row in rows:
        assert len(row["outcomes"]) == {"validation": 3, "test": 4}[row["split"]]
        assert row["accuracy"] == pytest.approx(fmean(fmean(values) for values in row["outcomes"].values()))
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["base"]["value"] == pytest.approx(rows[1]["accuracy"])


def test_every_run_starts_from_the_same_evaluation_of_the_base():
    first = [
        [(row["split"], row["outcomes"]) for row in finished(sharing).evaluation_rows()[:2]] for sharing in POLICIES
    ]
    assert first[0] == first[1] == first[2]


def test_role_gradients_are_reported_under_every_sharing():
    shared = [row for row in finished("shared").metric_rows() if row["policy/shared/trained"]]
    for row in shared:
        shares = [row[f"gradient/shared/{role}/share"] for role in ROLES]
        assert math.fsum(shares) == pytest.approx(1.0)
        assert row["gradient/shared/dominance"] == pytest.approx(max(shares))
        assert -1.0001 <= row["gradient/shared/alto+soprano/cosine"] <= 1.0001
        assert row["gradient/shared/norm"] == pytest.approx(row["policy/shared/gradient_norm"], rel=1e-5)
    table = [row for row in finished("table").metric_rows() if row["policy/voices/trained"]]
    assert all("gradient/voices/alto+soprano/cosine" in row for row in table)
    assert all("gradient/stick/conductor/alignment" in row for row in table if row["policy/stick/trained"])
    isolated = finished("isolated").metric_rows()
    assert not any(name.endswith("/cosine") for row in isolated for name in row)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_a_checkpointed_adapter_loads_with_plain_peft_and_says_the_same(run):
    learner = new_learner(
        routing(run.config.policies.sharing, dict.fromkeys(ROLES, 1)),
        {"policies": {"sharing": run.config.policies.sharing}},
    )
    learner.load(run.checkpoint_path(4))
    calls = [call for _, call in calls_of(read_episodes(run.path / "episodes" / "000004.parquet"))]
    for policy in POLICIES[sharing_of(run)]:
        mine = [call for call in calls if call.policy == policy][:6]
        base = AutoModelForCausalLM.from_pretrained(tiny_folder(), dtype=torch.float32)
        plain = PeftModel.from_pretrained(base, run.checkpoint_path(4) / policy).eval()
        as_base = plain_logprobs(fresh_model(), mine)
        with torch.no_grad():
            theirs = plain_logprobs(plain, mine)
        for ours, loaded, base_says in zip(learner.logprobs(mine), theirs, as_base, strict=True):
            assert ours == pytest.approx(loaded.tolist(), abs=2e-5)
            assert ours != pytest.approx(base_says.tolist(), abs=1e-3)


def test_one_role_alone_trains_too(tmp_path):
    run = trained(start(tmp_path / "run", {**SOLO, "policies": {"sharing": "shared"}}))
    assert run.checkpoints() == [0, 2, 3]
    assert any(row["policy/shared/trained"] for row in run.metric_rows())
    assert {name for row in run.metric_rows() for name in row if name.endswith("/share")} == {
        "gradient/shared/soprano/share"
    }


def test_the_shipped_workflows_train_a_model_that_is_never_right_and_leave_it_as_it_was(tmp_path):
    for workflow in ("single", "voting"):
        table = {"workflow": {"name": workflow}, "run": {"steps": 2}}
        run = trained(start(tmp_path / workflow, table))
        first, last = (run.checkpoint_state(step)["digests"] for step in (0, 2))
        assert first == last
        for row in run.metric_rows():
            assert {value for name, value in row.items() if name.endswith("/trained")} == {0.0}
            assert row["role/generator/without_signal"] == 1.0
            assert row["role/generator/unreadable"] == 1.0


def test_the_same_recipe_gives_the_same_numbers(tmp_path):
    again = trained(start(tmp_path / "run", {"policies": {"sharing": "isolated"}, "run": {"steps": 4}}))
    numbers = [
        [{name: value for name, value in row.items() if not name.startswith("time/")} for row in run.metric_rows()]
        for run in (again, finished("isolated"))
    ]
    assert numbers[0] == numbers[1]
    for policy in ROLES:
        tensors = [
            load_file(run.checkpoint_path(4) / policy / "adapter_model.safetensors")
            for run in (again, finished("isolated"))
        ]
        assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def test_without_proof_calls_a_run_still_says_who_was_trained(tmp_path):
    run = trained(start(tmp_path / "run", {"run": {"steps": 1, "proof_calls": 0}}))
    (row,) = run.metric_rows()
    assert {f"policy/{role}/trained" for role in ROLES} <= set(row)
    assert not any(name.endswith("/mismatch") for name in row)


def test_who_watches_is_told_what_is_written_down(tmp_path):
    told = []
    run = trained(
        start(tmp_path / "run", {"run": {"steps": 2}}), watch=lambda step, numbers: told.append((step, numbers))
    )
    assert [step for step, _ in told] == [0, 1, 2, 2]
    assert [{"step": step, **numbers} for step, numbers in told[1:3]] == run.metric_rows()
    assert told[0][1]["eval/test/accuracy"] == run.evaluation_rows()[1]["accuracy"]


def test_no_two_calls_of_a_run_share_their_luck(tmp_path):
    run = trained(start(tmp_path / "run", {"task": {"train": 3}, "run": {"steps": 2}}))
    steps = [read_episodes(run.path / "episodes" / f"00000{step}.parquet") for step in (1, 2)]
    assert {group.task for group in steps[0]} == {group.task for group in steps[1]}
    seeds = [call.seed for groups in steps for _, call in calls_of(groups)]
    assert len(set(seeds)) == len(seeds)


def test_every_number_of_a_run_depends_on_its_seed(tmp_path):
    other = trained(start(tmp_path / "run", {"policies": {"sharing": "isolated"}, "run": {"steps": 1, "seed": 1}}))
    groups = [read_episodes(run.path / "episodes" / "000001.parquet") for run in (other, finished("isolated"))]
    assert [group.task for group in groups[0]] != [group.task for group in groups[1]]
    texts = [{call.text for _, call in calls_of(one)} for one in groups]
    assert len(texts[0] & texts[1]) < len(texts[0]) / 4


def test_a_recipe_can_be_written_out_and_read_again():
    config = finished("table").config
    assert config_from(config.model_dump()) == config
    assert CHOIR["workflow"]["name"] == config.workflow.name
