"""A model a role: a small solver and a larger judge of another kind, which need not even have the same tokens."""

import json
from functools import cache

import pytest
from facts import same_text
from torch_build import session_folder, tiny_folder, trained

from counterpoint.base_model import load_chat
from counterpoint.episode import calls_of, read_episodes
from counterpoint.options import Spec
from counterpoint.plan.plan import plan
from counterpoint.run import Run
from counterpoint.task import Problem, Task
from counterpoint.tasks import TASKS
from counterpoint.tasks.base import Splits
from counterpoint.testing.tiny import tiny_config
from counterpoint.testing.tiny_qwen3 import tiny_qwen3_folder

ROLES = {"generator": "solver", "evaluator": "judge"}


@cache
def larger():
    """Larger than the tiny model, of Qwen3's kind: other tokens, another template, other stop tokens."""
    return tiny_qwen3_folder(session_folder() / "larger", seed=2, width=64, layers=3)


def luck() -> Splits:
    """An answer is a reply's sum of characters, even or odd: any model is right now and then."""

    def task(number: int) -> Task:
        problem = Problem(
            id=f"luck-{number}",
            text=f"Say something even, number {number}.",
            answer_format="Any text will do.",
            extract=lambda reply: str(sum(map(ord, reply)) % 2),
        )
        return Task(problem=problem, key="0", judge=same_text)

    return Splits(train=tuple(map(task, range(8))), validation=(task(8),), test=(task(9), task(10)))


@pytest.fixture(autouse=True)
def _task_of_its_own(monkeypatch):
    monkeypatch.setitem(TASKS.members, "luck", f"{__name__}:luck")


def config_of(transcripts="private", **judge):
    model = {"path": str(larger()), "thinking": judge.pop("thinking", "off")}
    return tiny_config(
        tiny_folder(),
        {
            "task": {"name": "luck"},
            "workflow": {"name": "evaluator_optimizer", "rounds": 2, "transcripts": transcripts},
            "policies": {"sharing": ROLES, "rank": 4},
            "policy": {"judge": {"model": model, **judge}},
            "run": {"steps": 2, "save_every": 1},
        },
    ).model_copy(update={"task": Spec(name="luck")})


def digests(run, step):
    return run.checkpoint_state(step)["digests"]


def played(run):
    return [call for _, call in calls_of(read_episodes(run.path / "episodes" / "000001.parquet"))]


@pytest.mark.parametrize("transcripts", ["private", "joint"])
def test_a_small_solver_is_trained_under_a_larger_judge_that_is_frozen(tmp_path, transcripts):
    config = config_of(transcripts, trainable=False)
    sizes = plan(config).sizes
    assert sizes["judge"].parameters > 2 * sizes["solver"].parameters
    run = trained(Run.create(tmp_path / "run", config, {}))
    assert digests(run, 2)["judge"] == digests(run, 0)["judge"]
    assert digests(run, 2)["solver"] != digests(run, 0)["solver"]
    rows = run.metric_rows()
    assert all(row[f"policy/{name}/mismatch"] < 1e-4 for row in rows for name in ("solver", "judge"))
    assert [row["policy/judge/trained"] for row in rows] == [0.0, 0.0]
    assert any(row["policy/solver/trained"] for row in rows)


@pytest.mark.parametrize("transcripts", ["private", "joint"])
def test_each_role_reads_and_writes_with_the_tokens_of_its_own_model(tmp_path, transcripts):
    config = config_of(transcripts, trainable=False)
    calls = played(trained(Run.create(tmp_path / "run", config, {})))
    assert {(call.key.role, call.policy) for call in calls} == set(ROLES.items())
    for name in ROLES.values():
        chat = load_chat(config.policy_settings(name).model)
        for call in (call for call in calls if call.policy == name):
            asked = chat.tokenizer.apply_chat_template(
                list(call.messages), tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
            prompt = chat.tokenizer.decode(list(call.prompt_ids), skip_special_tokens=False)
            assert prompt.replace("\N{REPLACEMENT CHARACTER}", "") == asked.replace("\N{REPLACEMENT CHARACTER}", "")
            assert chat.parted(chat.text(call.completion_ids)) == (call.reasoning, call.text)


def test_roles_are_trained_each_on_a_base_of_its_own(tmp_path):
    run = trained(Run.create(tmp_path / "run", config_of(rank=2, learning_rate=0.02), {}))
    assert all(digests(run, 2)[name] != digests(run, 0)[name] for name in ROLES.values())
    rows = run.metric_rows()
    for name, folder, rank, rate in (("solver", tiny_folder(), 4, 0.01), ("judge", larger(), 2, 0.02)):
        assert all(row[f"policy/{name}/mismatch"] < 1e-4 for row in rows)
        assert {row[f"policy/{name}/learning_rate"] for row in rows if row[f"policy/{name}/trained"]} == {rate}
        adapter = json.loads((run.checkpoint_path(2) / name / "adapter_config.json").read_text())
        assert (adapter["base_model_name_or_path"], adapter["r"]) == (str(folder), rank)


def test_a_judge_can_think_where_the_solver_does_not(tmp_path):
    run = trained(Run.create(tmp_path / "run", config_of(trainable=False, thinking="on"), {}))
    calls = played(run)
    judge = load_chat(run.config.policy_settings("judge").model)
    assert dict(judge.template_options) == {"enable_thinking": True}
    assert any(call.reasoning for call in calls if call.policy == "judge")
    assert all("</think>" not in message["content"] for call in calls for message in call.messages)
