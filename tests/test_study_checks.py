"""What is checked and estimated before the first run of a study starts."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from counterpoint.cli.out import Terminal
from counterpoint.cli.study_plan import cell_lines, planned
from counterpoint.config import Config
from counterpoint.errors import AbsentDataError, AbsentModelError, ConfigError, ModelError, TaskError
from counterpoint.experiments import check as checks
from counterpoint.experiments import cost as costs
from counterpoint.experiments.cells import Measure
from counterpoint.experiments.check import Checked, check, evaluations_in
from counterpoint.experiments.cost import cost_of, gigabytes, hours
from counterpoint.experiments.study import load_study, study_of_arms
from counterpoint.locate import locate
from counterpoint.plan.cells import Known, planned_cells
from counterpoint.plan.remembering import Remembering
from counterpoint.recipe import load_config
from counterpoint.tasks import load_tasks

TINY = (
    "model.path=micro-small",
    "run.threads=1",
    "run.steps=10",
    "evaluation.every=2",
    "run.save_every=2",
    "task.validation=32",
    "task.test=32",
    "task.train=64",
    "rollout.tasks_per_step=2",
    "rollout.group_size=2",
    "rollout.max_tokens=16",
)
SHARINGS = {"shared": ["policies.sharing=shared"], "isolated": ["policies.sharing=isolated"]}


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    """The planner runs here, not in a process of its own, which would import the engine anew."""
    monkeypatch.setattr(
        checks, "_planned", lambda cells: json.loads(json.dumps(planned_cells(map(asked, cells), KNOWN)))
    )


KNOWN = Known()
"""What the cells of one test have in common with those of another."""


def asked(cell):
    return {"name": cell.name, "recipe": cell.recipe, "overrides": list(cell.overrides)}


def two(*overrides, arms=SHARINGS, seeds=(0, 1)):
    return study_of_arms("two", "voting_arithmetic", [*TINY, *overrides], arms, seeds)


@cache
def checked():
    return check(two())


def refused(study):
    with pytest.raises(ConfigError) as found:
        check(study)
    return str(found.value)


def test_cells_are_planned_once_for_all_seeds(monkeypatch):
    seen = []
    plan = checks._planned
    monkeypatch.setattr(checks, "_planned", lambda cells: seen.extend(cells) or plan(cells))
    found = check(two(seeds=(0, 1, 2)))
    assert [cell.name for cell in seen] == ["shared-s0", "isolated-s0"]
    assert set(found.plans) == {"shared", "isolated"}
    plan = found.plans["shared"]
    assert (plan.steps, plan.evaluations, plan.calls, plan.calls_per_step, plan.evaluated) == (10, 6, 4, 16, 64)
    assert plan.memory > 2**20
    assert plan.step_seconds > 0
    assert found.plans["isolated"].disk > plan.disk  # one adapter more
    assert plan.test_tasks == found.plans["isolated"].test_tasks
    assert (found.warnings, found.missing) == ((), ())


def test_every_cell_that_cannot_run_is_listed_with_its_reason():
    arms = {
        "good": ["policies.rank=8"],
        "typo": ["policies.rnk=8"],
        "model": ["model.path=micro-tiny"],
        "batch": ["rollout.tasks_per_step=65"],
        "workflow": ["workflow=votes"],
    }
    message = refused(two(arms=arms))
    assert message.startswith("4 of 5 cells cannot be run:\n")
    lines = message.splitlines()[1:]
    assert [line.strip().partition(":")[0] for line in lines] == ["typo", "model", "batch", "workflow"]
    assert "did you mean 'rank'?" in message
    assert "did you mean 'micro-small'" in message or "there is no such model" in message


def test_an_error_is_found_in_exactly_the_cells_that_have_it_although_cells_share_what_is_equal():
    rates = {f"{name}-{rate}": [*own, f"policies.learning_rate={rate}e-3"] for rate in (1, 2) for name, own in {
        "good": [],
        "algorithm": ["algorithm.advantage=hierarchical"],
        "prompt": ["rollout.max_prompt_tokens=8"],
        "batch": ["rollout.tasks_per_step=65"],
    }.items()}  # fmt: skip
    plans = planned_cells([asked(cell) for cell in two(arms=rates, seeds=[0]).cells])
    wrong = {name: plan["error"] for name, plan in plans.items() if "error" in plan}
    assert {name.partition("-")[0] for name in wrong} == {"algorithm", "prompt", "batch"}
    assert len(wrong) == 6
    for kind in ("algorithm", "prompt", "batch"):
        (alone,) = [cell for cell in two(arms=rates, seeds=[0]).cells if cell.name == f"{kind}-1-s0"]
        assert planned_cells([asked(alone)])[alone.name]["error"] == wrong[alone.name]
        assert wrong[f"{kind}-2-s0"] == wrong[alone.name]


def test_cells_that_differ_in_anything_that_a_plan_tells_do_not_share_it():
    arms = {
        "plain": [],
        "longer": ["rollout.max_tokens=24"],
        "rank": ["policies.rank=32"],
        "votes": ["workflow.votes=2"],
        "packed": ["learner.max_tokens_per_micro_batch=64"],
        "data": ["task.test=40"],
    }
    plans = planned_cells([asked(cell) for cell in two(arms=arms, seeds=[0]).cells])
    told = {name.removesuffix("-s0"): plan for name, plan in plans.items()}
    for cell in two(arms=arms, seeds=[0]).cells:
        (alone,) = planned_cells([asked(cell)], Known(found=only_engines())).values()
        assert without_times(alone) == without_times(plans[cell.name])
    assert told["longer"]["memory"] > told["plain"]["memory"] > told["packed"]["memory"]
    assert told["rank"]["memory"] > told["plain"]["memory"]
    assert told["votes"]["calls"] == 3
    assert told["data"]["test_tasks"] != told["plain"]["test_tasks"]


def only_engines():
    """What takes long to find and depends on a model alone."""
    return {key: value for key, value in KNOWN.found.items() if key[0] in ("size", "footprint", "rate", "chat")}


def without_times(plan):
    return {key: value for key, value in plan.items() if not key.endswith("_seconds")}


RECIPE = """
[workflow]
name = "voting"
[task]
name = "mine:sums"
[model]
path = "micro-small"
[run]
threads = 1
steps = 10
[evaluation]
every = 2
[rollout]
tasks_per_step = 2
group_size = 2
max_tokens = 16
"""
OWN = "def sums():\n    return [(f'{i}+{j}=? in SOMETHING', str(i + j)) for i in range(12) for j in range(12)]\n"


def study_of_folders(folder, monkeypatch, module):
    for name, own in module.items():
        (folder / name).mkdir()
        (folder / name / "run.toml").write_text(RECIPE, encoding="utf-8")
        if own:
            (folder / name / "mine.py").write_text(own, encoding="utf-8")
    text = 'recipe = "a"\nseeds = [0]\n[axes.recipe.a]\n[axes.recipe.b]\nrecipe = "b"\n'
    (folder / "folders.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)
    return load_study("folders.toml")


def test_each_recipe_has_the_modules_of_its_own_folder(tmp_path, monkeypatch):
    own = {"a": OWN, "b": OWN.replace("SOMETHING", "another thing")}
    found = check(study_of_folders(tmp_path, monkeypatch, own))
    assert found.plans["a"].test_tasks != found.plans["b"].test_tasks


def test_a_module_that_lies_beside_another_recipe_only_is_missed(tmp_path, monkeypatch):
    message = refused(study_of_folders(tmp_path, monkeypatch, {"a": OWN, "b": ""}))
    assert message.startswith("b: 'mine:sums': module 'mine' cannot be imported")


def test_a_tokenizer_that_remembers_gives_what_the_tokenizer_gives():
    asked = []

    class Letters:
        def apply_chat_template(self, conversation, **options):
            return f"{conversation} {options}"

        def encode(self, text, *, add_special_tokens):
            asked.append(text)
            return [ord(letter) for letter in text] + [0] * add_special_tokens

        def decode(self, ids, *, skip_special_tokens):
            asked.append(ids)
            return "".join(map(chr, ids)) + "!" * skip_special_tokens

    one = Remembering(Letters())
    first = one.encode("ab", add_special_tokens=False)
    first.append(7)  # a caller may change what it got
    assert one.encode("ab", add_special_tokens=False) == [97, 98]
    assert one.encode("ab", add_special_tokens=True) == [97, 98, 0]
    assert [one.decode([97], skip_special_tokens=skip) for skip in (True, False, True)] == ["a!", "a", "a!"]
    assert one.apply_chat_template(["x"], tokenize=False) == "['x'] {'tokenize': False}"
    assert len(asked) == 4


def test_what_the_modules_of_the_user_and_their_programs_print_is_no_plan(tmp_path):
    (tmp_path / "loud.py").write_text(
        "import os\nos.system('echo from a program')\nprint('from the module')\nasync def nothing(): ...\n",
        encoding="utf-8",
    )
    cells = [{"name": "a", "recipe": "voting_arithmetic", "overrides": ["workflow=loud:nothing"]}]
    words = [sys.executable, "-m", "counterpoint.plan.cells"]
    done = subprocess.run(
        words, input=json.dumps({"cells": cells}), capture_output=True, text=True, cwd=tmp_path, encoding="utf-8",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
    )  # fmt: skip
    assert "nothing" in json.loads(done.stdout)["cells"]["a"]["error"]
    assert {"from a program", "from the module"} <= set(done.stderr.splitlines())


def test_one_reason_for_every_cell_is_one_line():
    arms = {"a": ["run.stps=3"], "b": ["run.stps=3", "policies.rank=8"]}
    assert refused(two(arms=arms)).startswith("every cell: unknown key in [run] 'stps'; did you mean 'steps'?")


def test_threads_that_a_run_may_choose_are_refused(tmp_path):
    path = tmp_path / "trial.toml"
    path.write_text(
        'recipe = "voting_arithmetic"\nseeds = [0]\n[axes.sharing.shared]\npolicies.sharing = "shared"\n'
        '[axes.sharing.isolated]\npolicies.sharing = "isolated"\n',
        encoding="utf-8",
    )
    assert "run.threads = 0 lets every run choose" in refused(load_study(path))
    assert "must be one for the whole study, which has 1, 2" in refused(
        two(arms={"a": ["run.threads=1"], "b": ["run.threads=2"]})
    )


def test_too_few_evaluations_are_refused_unless_the_study_allows_them():
    study = replace(two("run.steps=4"), least_evaluations=6)
    assert "make 3 evaluations, the base included" in refused(study)
    assert set(check(replace(study, least_evaluations=3)).plans) == {"shared", "isolated"}


@pytest.mark.parametrize(("steps", "every", "expected"), [(30, 5, 7), (30, 10, 4), (4, 10, 2), (7, 3, 4), (1, 1, 2)])
def test_evaluations_are_counted_as_a_run_makes_them(steps, every, expected):
    made = {0, steps, *range(every, steps + 1, every)}
    assert evaluations_in(steps, every) == expected == len(made)


def test_labels_that_change_nothing_are_refused():
    message = refused(two(arms={"a": ["policies.rank=16"], "b": ["policies.rank=16"]}))
    assert message == "b: its recipe is that of a: their labels change nothing"


def test_test_tasks_that_differ_along_the_comparison_are_a_warning():
    found = check(two(arms={"a": [], "b": ["task.test=33"]}))
    assert "the test tasks differ along sharing" in " ".join(found.warnings)


def test_a_peak_without_a_checkpoint_is_refused_if_a_control_needs_it():
    study = load_study("quick", seeds=[0], only=["voting-isolated-x1"])
    changed = [replace(cell, overrides=("run.save_every=2", *cell.overrides[:-1], "run.save_every=2", "run.seed=0"))
               for cell in study.cells]  # fmt: skip
    assert "run.save_every = 2 does not divide evaluation.every = 1" in refused(replace(study, cells=tuple(changed)))


def test_what_is_not_on_this_machine_is_told_once_and_refused_at_a_real_start(monkeypatch):
    monkeypatch.setattr("counterpoint.locate._hub_answers", lambda: False)
    arms = {"0.6b": ["preset=qwen3-0.6b"], "1.7b": ["preset=qwen3-1.7b"]}
    found = check(study_of_arms("big", "voting_mathematics", ["run.threads=1", "rollout.max_tokens=64"], arms, [0]))
    assert len(found.missing) == 4  # two models, one data set, one device
    assert "Qwen/Qwen3-0.6B" in found.missing[0]
    assert found.plans["0.6b"].calls == 4
    assert (found.plans["0.6b"].memory, found.plans["0.6b"].step_seconds) == (None, None)
    assert found.plans["0.6b"].test_tasks == ""
    with pytest.raises(ConfigError, match="cannot run on this machine"):
        found.refuse_if_missing()


def test_what_is_wrong_is_found_although_model_and_data_are_not_here(monkeypatch):
    monkeypatch.setattr("counterpoint.locate._hub_answers", lambda: False)
    arms = {"a": ["algorithm.advantage=roles"], "b": ["task.splits=3"], "c": ["workflow.votes=0"]}
    message = refused(study_of_arms("big", "voting_mathematics", ["run.threads=1", "rollout.max_tokens=64"], arms, [0]))
    assert "3 of 3 cells cannot be run" in message
    assert "did you mean 'role'?" in message


def test_what_is_absent_is_still_the_error_that_it_was(monkeypatch):
    monkeypatch.setattr("counterpoint.locate._hub_answers", lambda: False)
    with pytest.raises(ModelError) as found:
        locate(load_config("voting_mathematics").model)
    assert isinstance(found.value, AbsentModelError)
    config = Config.model_validate({"task": {"name": "questions", "path": "nowhere.jsonl"}})
    with pytest.raises(TaskError) as missing:
        load_tasks(config.task)
    assert isinstance(missing.value, AbsentDataError)


# Cost


def finished(folder, name, overrides, *, step, act):
    """A finished run of one cell, as far as its pace is read."""
    path = folder / name
    path.mkdir(parents=True)
    (path / "config.toml").write_text(load_config("voting_arithmetic", overrides).toml(), encoding="utf-8")
    rows = [{"step": number, "time/step": step, "time/act": act} for number in (1, 2, 3)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    outcomes = {str(number): [0.0] for number in range(32)}
    evaluated = [{"step": 0, "split": split, "outcomes": outcomes} for split in ("validation", "test")]
    (path / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in evaluated), encoding="utf-8")
    (path / "run.json").write_text("{}", encoding="utf-8")
    (path / "summary.json").write_text("{}", encoding="utf-8")


def test_without_finished_runs_the_time_is_a_floor_and_called_one(tmp_path):
    cost = cost_of(checked(), tmp_path / "runs")
    assert cost.runs == {"floor": 4}
    assert set(cost.by_run) == {"shared-s0", "isolated-s0", "shared-s1", "isolated-s1"}
    assert cost.lines()[0].startswith("time      at least ")
    assert "by a floor" in cost.lines()[0]


def test_the_pace_of_finished_runs_replaces_the_floor_and_finished_runs_cost_nothing(tmp_path):
    study = two(seeds=(0, 1, 2))
    finished(tmp_path, "shared-s0", study.cells[0].overrides, step=4.0, act=2.0)
    cost = cost_of(check(study), tmp_path)
    assert (cost.finished, cost.runs) == (1, {"measured": 5})  # under any sharing
    # 10 steps of 4 s, 6 evaluations of 64 episodes at 2 s for 4 episodes, and the start
    assert cost.by_run["shared-s1"] == pytest.approx(costs._START + 10 * 4.0 + 6 * 64 * 2.0 / 4)
    assert "shared-s0" not in cost.by_run


def test_a_torn_run_in_the_folder_does_not_stop_the_estimate(tmp_path):
    study = two()
    finished(tmp_path, "shared-s0", study.cells[0].overrides, step=4.0, act=2.0)
    (tmp_path / "shared-s0" / "config.toml").write_text("[run", encoding="utf-8")
    assert cost_of(checked(), tmp_path).finished == 0


def test_more_jobs_than_memory_allows_are_refused_with_the_number_that_fits(tmp_path, monkeypatch):
    one = cost_of(checked(), tmp_path).memory
    monkeypatch.setattr(costs, "available_memory", lambda: round(one * 3 / costs.FULL) + 1)
    assert cost_of(checked(), tmp_path, 3).problem() == ""
    with pytest.raises(ConfigError, match=r"4 runs at once need .* --jobs 3 would fit"):
        cost_of(checked(), tmp_path, 4).refuse_if_too_large()


def test_no_more_processes_are_counted_than_are_left_to_start(tmp_path, monkeypatch):
    study, one = two(), cost_of(checked(), tmp_path).memory
    monkeypatch.setattr(costs, "available_memory", lambda: round(one / costs.FULL) + 1)
    assert "with --jobs 4" in cost_of(checked(), tmp_path, 5).lines()[0]
    for place, cell in enumerate(study.cells):
        finished(tmp_path, cell.name, cell.overrides, step=4.0, act=2.0)
        cost = cost_of(checked(), tmp_path, 5)
        assert cost.jobs == max(1, 3 - place)
    assert cost.problem() == ""
    swap = Measure(name="swap", cell="shared-s0", needs=("shared-s0",), arguments=())
    waiting = replace(checked(), study=replace(study, measures=(swap, replace(swap, cell="isolated-s0"))))
    assert cost_of(waiting, tmp_path, 5).jobs == 2


def test_side_by_side_no_study_is_shorter_than_its_longest_run(tmp_path):
    cost = replace(cost_of(checked(), tmp_path, 4), by_run={"a": 4000.0, "b": 60.0}, seconds={"measured": 4060.0})
    assert ", 67 min with --jobs 4: " in cost.lines()[0]


def test_too_little_disk_is_refused(tmp_path):
    cost = replace(cost_of(checked(), tmp_path), free_disk=1000)
    with pytest.raises(ConfigError, match="on disk, and 0 MiB are free"):
        cost.refuse_if_too_large()


def test_quantities_are_written_as_people_say_them():
    assert [hours(seconds) for seconds in (0, 119, 600, 7200, 3600 * 80)] == [
        "0 s",
        "119 s",
        "10 min",
        "2.0 h",
        "3 days",
    ]
    assert [gigabytes(count) for count in (2**20, 3 * 2**29)] == ["1 MiB", "1.5 GiB"]


# What a dry run prints


def printed(capsys, study, folder, *, dry_run=True):
    found = planned(Terminal(), study, folder, 1, dry_run=dry_run)
    return capsys.readouterr().out, found


def test_a_dry_run_tells_cells_exclusions_controls_and_costs_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    study = load_study("quick", seeds=[0])
    text, times = printed(capsys, study, Path("runs/quick"))
    for expected in (
        "8 cells x 1 seed = 8 runs, compared along sharing; 4 runs of controls; 12 evaluations afterwards",
        "voting-isolated-x3",
        "single-evaluator-x1",
        "counted as 4: at least as many tokens",
        "swap: not for voting-shared-x1",
        "1 seed: an interval over seeds",
        "time      at least",
        "disk      about",
        "memory    about",
    ):
        assert expected in text
    assert set(times) == {cell.name for cell in study.cells}
    assert list(tmp_path.iterdir()) == []


def test_the_numbers_of_every_cell_are_whole_however_narrow_the_console():
    study = load_study("zeng2026_micro", seeds=[0])
    plan = SimpleNamespace(steps=200, evaluations=21, calls=4, calls_per_step=2048, memory=3 * 2**29)
    found = Checked(study=study, plans={cell.group: plan for cell in study.cells}, warnings=(), missing=())
    head, *rows = cell_lines(found)
    assert head.split() == ["cell", "steps", "evaluations", "calls", "calls", "per", "step", "memory"]
    assert [row.split() for row in rows] == [
        [name, "200", "21", "4", "2048", "1.5", "GiB"] for name in dict.fromkeys(cell.group for cell in study.cells)
    ]
    assert len({len(row) for row in rows}) == 1


def test_a_dry_run_says_why_the_study_cannot_start_here_and_a_start_refuses(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(costs, "available_memory", lambda: 2**20)
    text, _ = printed(capsys, two(), tmp_path)
    assert "cannot start here: 1 run at once need" in text
    with pytest.raises(ConfigError, match="not even one fits"):
        printed(capsys, two(), tmp_path, dry_run=False)


@pytest.mark.slow
def test_a_hundred_cells_are_expanded_and_checked_in_one_process(tmp_path, monkeypatch):
    monkeypatch.undo()
    text = 'recipe = "voting_arithmetic"\nseeds = [0]\n[set]\nrun.threads = 1\nrun.steps = 50\n'
    text += (
        '[axes.sharing.shared]\npolicies.sharing = "shared"\n[axes.sharing.isolated]\npolicies.sharing = "isolated"\n'
    )
    names = ("voting", "evaluator_optimizer", "single", "majority", "best_of")
    text += "".join(f'[axes.workflow.{name}]\nworkflow = "{name}"\n' for name in names)
    text += "".join(f"[axes.rate.x{number}]\npolicies.learning_rate = {number}e-3\n" for number in range(1, 11))
    (tmp_path / "hundred.toml").write_text(text, encoding="utf-8")
    study = load_study(tmp_path / "hundred.toml")
    assert len({cell.group for cell in study.cells}) == 100
    found = check(study)
    assert len(found.plans) == 100


def test_a_study_whose_model_is_absent_is_told_by_a_dry_run_and_does_not_start(tmp_path, monkeypatch, capsys):
    absent = ("checked without: the model far/away is not on this machine",)
    monkeypatch.setattr("counterpoint.cli.study_plan.check", lambda study: replace(check(study), missing=absent))
    text, _ = printed(capsys, two(), tmp_path)
    assert absent[0] in text
    with pytest.raises(ConfigError, match=r"cannot run on this machine:\n  .*far/away"):
        printed(capsys, two(), tmp_path, dry_run=False)
