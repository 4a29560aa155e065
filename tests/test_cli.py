"""The command line, as a user types it."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from command_line import command_line

from counterpoint.cli.arguments import keys, recipe_names

SMALL = [
    "task.train=64",
    "task.validation=4",
    "task.test=6",
    "rollout.tasks_per_step=2",
    "rollout.group_size=2",
    "rollout.max_tokens=32",
    "run.steps=2",
    "run.threads=1",
    "run.save_every=1",
    "evaluation.every=1",
]


def counterpoint(*arguments, folder):
    done = command_line(*arguments, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def in_a_process(*arguments, folder, code=0):
    command = [sys.executable, "-m", "counterpoint", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def refused():
    """A function that gives the one line with which the command line refuses, asked in a folder."""

    def ask(*arguments, folder):
        done = command_line(*arguments, folder=folder)
        text = done.stderr.strip()
        assert done.returncode == 2, text
        assert text.startswith("error: "), text
        assert "\n" not in text, text
        return text.removeprefix("error: ")

    return ask


def test_an_error_is_one_line_and_status_two_in_a_process_of_its_own(tmp_path):
    printed = in_a_process("train", "voting_arithmetic", "rollout.group_sise=4", folder=tmp_path, code=2)
    assert printed.startswith("error: unknown key in [rollout] 'group_sise'; did you mean 'group_size'? allowed: ")
    assert len(printed.splitlines()) == 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished run in it, and what training it printed."""
    folder = tmp_path_factory.mktemp("cli")
    printed = in_a_process("train", "voting_arithmetic", *SMALL, "--out", "one", folder=folder)
    return folder, printed


def test_train_prints_steps_evaluations_and_a_summary(finished):
    _, printed = finished
    assert "eval at 0: test" in printed
    assert "step 1/2 | team" in printed
    assert "generator" in printed
    assert "(gradient" not in printed  # with one policy per role, gradient norms do not compare roles
    assert "left" in printed
    for word in (
        "base",
        "peak",
        "terminal",
        "gain",
        "drop",
        "team",
        "aggregator",
        "run: one",
        "signs of failure: none of ",
        "not looked for, too little was recorded: ",
    ):
        assert word in printed


def test_train_says_from_the_first_evaluation_on_what_does_not_work_and_what_to_try(tmp_path):
    cut = ["rollout.max_tokens=6", "task.validation=8", "task.test=8", "run.steps=1"]
    printed = command_line("train", "voting_arithmetic", *SMALL, *cut, "--out", "run", folder=tmp_path).stdout
    first, hint, *_ = (line for line in printed.splitlines() if "cut-off" in line)
    assert first.startswith("eval at 0: ")
    assert "WARNING: cut-off replies (generator" in first
    assert "unreadable replies (generator" in first
    assert "constant reward" in first
    assert hint.startswith("  cut-off replies, to try: Raise rollout.max_tokens")
    end = printed[printed.index("signs of failure: ") :]
    assert end.startswith("signs of failure: cut-off replies (generator")
    assert "role/generator/truncated 1.00 in step 1, threshold 0.25" in end
    assert "to try: Raise rollout.max_tokens" in end
    assert "not looked for, too little was recorded: " in end


def test_train_leaves_a_whole_run_directory(finished):
    folder, _ = finished
    run = folder / "one"
    for name in ("config.toml", "run.json", "metrics.jsonl", "evaluations.jsonl", "summary.json"):
        assert (run / name).is_file()
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary["gain"]) == {"value", "low", "high", "n"}
    facts = json.loads((run / "run.json").read_text())
    assert set(facts["tasks"]) == {"train", "validation", "test"}
    assert facts["versions"]["torch"]


def test_a_profile_is_written_and_printed_only_when_asked_for(finished, tmp_path):
    folder, plain = finished
    assert "where the time went" not in plain
    assert not (folder / "one" / "profile.jsonl").exists()
    printed = counterpoint("train", "voting_arithmetic", *SMALL, "--out", "two", "--profile", folder=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "two" / "profile.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2]
    for row in rows[1:]:
        assert {"act/sampling", "act/judging", "judge", "publish", "keep/checkpoint"} <= set(row)
    table = printed[printed.index("where the time went") :]
    for word in ("act", "sampling", "judging", "evaluation", "checkpoint", "all else", "2 steps"):
        assert word in table


def test_resume_of_a_finished_run_changes_no_number(finished):
    folder, _ = finished
    shutil.copytree(folder / "one", folder / "again")
    before = (folder / "again" / "metrics.jsonl").read_text()
    counterpoint("resume", "again", folder=folder)
    assert (folder / "again" / "metrics.jsonl").read_text() == before


def test_show_prints_an_episode_call_by_call(finished):
    folder, _ = finished
    printed = counterpoint("show", "one", "--limit", "1", folder=folder)
    for word in (
        "problem        What is",
        "right answer   ",
        "generator, slot 2, turn 0",
        "aggregator, slot 0, turn 0",
        "Which solution is right",
    ):
        assert word in printed
    assert "-> answers" in printed or "-> unreadable" in printed
    assert "advantage" in printed or "no signal" in printed


def test_evaluate_measures_a_run_and_a_base_model(finished):
    folder, _ = finished
    printed = counterpoint("evaluate", "one", "--step", "1", "--out", "found.json", folder=folder)
    assert "accuracy on 6 test tasks" in printed
    assert json.loads((folder / "found.json").read_text())["split"] == "test"
    base = counterpoint("evaluate", "micro-medium", "workflow.name=single", "task.test=8", folder=folder)
    assert "generator" in base


def test_a_dry_run_shows_the_plan_and_leaves_nothing(tmp_path):
    printed = counterpoint("train", "voting_arithmetic", "policies.sharing=shared", "--dry-run", folder=tmp_path)
    assert "16 tasks x 8 rollouts x 4 calls = 512 calls, 1 update per policy" in printed
    assert "generator -> shared, aggregator -> shared" in printed
    assert 'sharing = "shared"' in printed
    assert list(tmp_path.iterdir()) == []


def test_doctor_says_what_it_checked(tmp_path):
    done = command_line("doctor", folder=tmp_path)
    assert done.returncode in (0, 1)  # a busy machine is a problem that doctor reports
    assert "micro-medium: 855,040 parameters, loads" in done.stdout
    assert "micro-small: 273,080 parameters, loads" in done.stdout
    assert "voting_arithmetic" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["voting_arithmetic", "algorithm.advantge=grpo"], "did you mean 'advantage'?"),
        (["voting_arithmetic", "workflow.name=votting"], "unknown workflow 'votting'; did you mean 'voting'?"),
        (["voting_arithmetic", "model.path=/no/such/model"], "model.path = '/no/such/model': there is no such folder"),
        (["voting_arithmetic", "workflow.votes=0"], "workflow.voting.votes = 0: input should be greater than or equal"),
        (["voting_arithmetic", "policies.rank=0"], "policies.rank = 0: input should be greater than or equal to 1"),
        (["voting_arithmetic", "task={name='questions', path='none.jsonl'}"], "task.path = 'none.jsonl': there is no"),
        (["voting_arithmatic"], "unknown recipe 'voting_arithmatic'; did you mean 'voting_arithmetic'?"),
        (
            ["voting_arithmetic", "rollout.tasks_per_step=5000"],
            "rollout.tasks_per_step = 5000: the training split has only",
        ),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line_and_leaves_nothing(refused, tmp_path, arguments, message):
    assert message in refused("train", *arguments, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_task_file_is_refused(refused, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    message = refused("train", "voting_arithmetic", "task={name='questions', path='empty.jsonl'}", folder=tmp_path)
    assert message == f"task.path = '{tmp_path / 'empty.jsonl'}' is empty: there are no questions in it"


def test_a_role_that_is_never_called_is_a_sign_of_failure_and_no_error(tmp_path):
    (tmp_path / "my_flow.py").write_text(
        "from counterpoint.task import Problem\n"
        "from counterpoint.workflows.base import Role, workflow\n\n\n"
        "@workflow\n"
        "async def lonely(problem: Problem, *, solver: Role, critic: Role) -> str | None:\n"
        "    return (await solver(problem.text)).answers('1')\n"
    )
    arguments = ["voting_arithmetic", *SMALL, "workflow=my_flow:lonely", "--out", "lonely"]
    printed = counterpoint("train", *arguments, folder=tmp_path)
    (signs,) = (line for line in printed.splitlines() if line.startswith("signs of failure: "))
    assert "silent role (critic)" in signs
    planned = counterpoint("train", *arguments, "--dry-run", folder=tmp_path)
    assert "without critic, which the scripted replies of the plan did not lead to" in planned


def test_a_run_directory_in_use_is_refused(refused, finished):
    folder, _ = finished
    assert "already holds a run: resume it with `counterpoint resume one`" in refused(
        "train", "voting_arithmetic", "--out", "one", folder=folder
    )
    assert "is not a run directory" in refused("resume", "nowhere", folder=folder)
    assert "has no checkpoint of step 7; there are: 0, 1, 2" in refused("evaluate", "one", "--step", "7", folder=folder)


def test_a_workflow_of_ones_own_trains_as_the_page_says(tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "extending.md").read_text()
    code = page[page.index("# my_opinion.py") :]
    (tmp_path / "my_opinion.py").write_text(code[: code.index("```")])
    printed = counterpoint(
        "train", "voting_arithmetic", *SMALL, "workflow=my_opinion:second_opinion", "--out", "own", folder=tmp_path
    )
    assert "checker" in printed


def test_the_recipes_are_listed_with_what_they_train(tmp_path):
    printed = command_line("recipes", folder=tmp_path).stdout
    assert "voting_arithmetic  voting, arithmetic, micro-medium\n    Three generators" in printed
    assert "evaluator_optimizer_smollm2_gym  primed_evaluator_optimizer, gym, SmolLM2" in printed
    (tmp_path / "recipes" / "mine").mkdir(parents=True)
    (tmp_path / "recipes" / "mine" / "run.toml").write_text("rum = 1\n")
    assert "mine  cannot be read: unknown key 'rum'" in command_line("recipes", folder=tmp_path).stdout


def test_runs_are_listed_and_the_version_is_told(finished):
    folder, _ = finished
    assert "finished" in command_line("runs", ".", folder=folder).stdout
    assert command_line("--version").stdout.strip() == f"counterpoint {version('counterpoint')}"


def test_names_of_recipes_and_keys_are_completed():
    assert "voting_arithmetic" in recipe_names("voting_a")
    assert keys("run.se") == ["run.seed="]
    assert "algorithm.loss=" in keys("algorithm.")
