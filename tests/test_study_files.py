"""Files of studies: what they expand to, and the one line that says what is wrong with one."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from counterpoint.boxes import last_box
from counterpoint.errors import ConfigError
from counterpoint.experiments.calls import calls_of
from counterpoint.experiments.overrides import in_order, overrides_in, text_of
from counterpoint.experiments.study import load_study, study_of_arms
from counterpoint.experiments.study_file import studies
from counterpoint.options import Spec
from counterpoint.recipe import load_config
from counterpoint.task import Problem
from counterpoint.workflows import load_workflow
from counterpoint.workflows.base import Role, workflow

ROOT = Path(__file__).parent.parent
HEAD = 'recipe = "voting_arithmetic"\nseeds = [0, 1]\n'
SHARING = """
[axes.sharing.shared]
policies.sharing = "shared"
[axes.sharing.isolated]
policies.sharing = "isolated"
"""


def study_in(folder, text, name="trial"):
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return load_study(path)


def refused(folder, text):
    with pytest.raises(ConfigError) as found:
        study_in(folder, text)
    message = str(found.value)
    assert message.startswith(str(folder / "trial.toml"))
    return message


def test_cells_are_seed_major_and_named_in_the_order_of_the_definitions(tmp_path):
    text = HEAD + "[axes.rate.x1]\n[axes.rate.x3]\npolicies.learning_rate = 3e-3\n" + SHARING
    text += '[axes.workflow.voting]\nworkflow = "voting"\n[axes.workflow.single]\nworkflow = "single"\n'
    study = study_in(tmp_path, text)
    assert [cell.seed for cell in study.cells] == [0] * 8 + [1] * 8
    assert study.cells[0].name == "voting-shared-x1-s0"
    assert study.cells[0].group == "voting-shared-x1"
    assert study.compare == "sharing"
    assert study.cells[0].overrides[-1] == "run.seed=0"
    assert len({cell.name for cell in study.cells}) == 16


def test_a_cell_is_the_recipe_that_its_labels_say(tmp_path):
    text = HEAD + '[set]\n"run.threads" = 1\nrun.steps = 7\n' + SHARING
    text += '[axes.task.sums]\ntask = { name = "arithmetic", operands = 2 }\n'
    (cell, *_) = study_in(tmp_path, text).cells
    config = load_config(cell.recipe, cell.overrides)
    assert (config.run.threads, config.run.steps, config.policies.sharing) == (1, 7, "shared")
    assert config.task.options == {"operands": 2}  # those of the recipe's own task are gone


def test_a_preset_lies_under_every_other_key_of_the_study(tmp_path):
    text = HEAD + "[set]\nrollout.max_tokens = 77\n" + SHARING + '[axes.scale.big]\npreset = "qwen3-4b"\n'
    (cell, *_) = study_in(tmp_path, text).cells
    config = load_config(cell.recipe, cell.overrides)
    assert (config.model.path, config.rollout.max_tokens) == ("Qwen/Qwen3-4B", 77)


def test_an_axis_may_replace_the_recipe(tmp_path):
    text = HEAD + SHARING + '[axes.workflow.tie]\nrecipe = "tie_break_arithmetic"\n[axes.workflow.voting]\n'
    recipes = {cell.labels["workflow"]: cell.recipe for cell in study_in(tmp_path, text).cells}
    assert recipes == {"tie": "tie_break_arithmetic", "voting": "voting_arithmetic"}


def test_a_recipe_may_lie_beside_its_study(tmp_path):
    (tmp_path / "mine.toml").write_text('[workflow]\nname = "single"\n', encoding="utf-8")
    text = HEAD.replace("voting_arithmetic", "mine.toml") + SHARING
    (cell, *_) = study_in(tmp_path, text).cells
    assert load_config(cell.recipe, cell.overrides).workflow.name == "single"


def test_conditions_override_the_axes_where_their_labels_hold(tmp_path):
    text = HEAD + SHARING + "[axes.rate.x1]\npolicies.learning_rate = 1e-3\n[axes.rate.x3]\n"
    text += '[[when]]\nwhere = { rate = "x1", sharing = ["shared"] }\nset = { policies.learning_rate = 5e-4 }\n'
    rates = {c.group: load_config(c.recipe, c.overrides).policies.learning_rate for c in study_in(tmp_path, text).cells}
    assert (rates["shared-x1"], rates["isolated-x1"]) == (5e-4, 1e-3)


def test_what_is_left_out_is_kept_with_its_reason(tmp_path):
    text = HEAD + SHARING + "[axes.rate.x1]\n[axes.rate.x2]\n[axes.rate.x3]\n"
    text += '[[except]]\nwhere = { sharing = "shared", rate = ["x2", "x3"] }\nreason = "too dear"\n'
    study = study_in(tmp_path, text)
    assert {cell.group for cell in study.cells} == {"shared-x1", "isolated-x1", "isolated-x2", "isolated-x3"}
    assert [(one.where["rate"], one.reason) for one in study.excluded] == [("x2", "too dear"), ("x3", "too dear")]


WRONG = [
    ("seds = [0]\n" + SHARING, "unknown key 'seds'; did you mean 'seeds'?"),
    ("[axes.sharing]\n", "axis 'sharing' has no labels"),
    ("", "axes is required"),
    ("[axes]\n", "axes = {}"),
    ("[axes.sharing.shared]\n", "compare = 'sharing': the axis has one label, and nothing to compare it with"),
    ("[axes.a.x]\n[axes.a.y]\n[axes.b.x]\n", "compare is required"),
    ('compare = "shring"\n' + SHARING, "unknown axis 'shring'; did you mean 'sharing'?"),
    (SHARING + "[axes.rate.'x 3']\n", "the label of axis 'rate' 'x 3' cannot be part of the name of a directory"),
    (SHARING + "[axes.rate.'../x']\n", "cannot be part of the name of a directory"),
    (SHARING + "[axes.rate.'']\n", "cannot be part of the name of a directory"),
    (SHARING + "[axes.rate.s0]\n", "ends like a seed"),
    (SHARING + "[axes.rate.fast-s3]\n", "ends like a seed"),
    ("[axes.a.x]\n[axes.a.X]\n", "differ only in case"),
    ('compare = "a"\n[axes.a.p-q]\n[axes.a.p]\n[axes.b.r]\n[axes.b.q-r]\n', "would both be named 'p-q-r'"),
    ("[axes.a." + "x" * 130 + "]\n[axes.a.y]\n", "has 130 characters, allowed are 120"),
    (SHARING + "[axes.seed.x]\n", "axis 'seed'"),
    (SHARING + "[axes.'a=b'.x]\n", "axis 'a=b'"),
    (SHARING + "[set]\nrun.seed = 3\n", "set sets run.seed"),
    (SHARING + "[axes.rate.x]\nrun.seed = 3\n", "axes.rate.x sets run.seed"),
    (SHARING + "[axes.rate.x]\npolicies.sharing = 'slots'\n", "axes.rate.x sets policies.sharing = slots"),
    (SHARING + "[axes.rate.x]\nrecipe = 'voting_aritmetic'\n", "did you mean 'voting_arithmetic'?"),
    (SHARING + "[set]\n'run.steps' = 3\nrun.steps = 3\n", "set sets run.steps twice"),
    (SHARING + "[[except]]\nwhere = { sharing = 'both' }\nreason = 'x'\n", "unknown label of axis 'sharing' 'both'"),
    (
        SHARING + "[[except]]\nwhere = { shared = 'x' }\nreason = 'x'\n",
        "unknown axis 'shared'; did you mean 'sharing'?",
    ),
    (SHARING + "[[except]]\nwhere = { sharing = [] }\nreason = 'x'\n", "axis 'sharing' has no labels"),
    (SHARING + "[[except]]\nwhere = { sharing = 'shared' }\n", "except.0.reason is required"),
    (SHARING + "[[except]]\nwhere = { sharing = 'shared' }\nreason = 'x'\nwher = 1\n", "did you mean 'where'?"),
    (SHARING + "[[except]]\nwhere = { sharing = ['shared', 'isolated'] }\nreason = 'x'\n", "no cell is left"),
    (SHARING + 2 * "[[except]]\nwhere = { sharing = 'shared' }\nreason = 'x'\n", "leaves out nothing that is not left"),
    (SHARING + "[[when]]\nwhere = { sharing = 'both' }\nset = { run.steps = 3 }\n", "unknown label"),
    (SHARING + "[[controls]]\nname = 'swap'\nkind = 'evaluat'\n", "controls.0.kind = 'evaluat'"),
    (SHARING + "[[controls]]\nname = 'swop'\nkind = 'evaluate'\n", "did you mean 'swap'?"),
    (SHARING + "[[controls]]\nname = 'majority'\nkind = 'evaluate'\n", "the study has no control of kind 'train'"),
    (SHARING + "[[controls]]\nname = 'a'\nkind = 'train'\nof = 'last'\n", "of means nothing for it"),
    (SHARING + "[[controls]]\nname = 'a'\nkind = 'train'\nset = { workflow = 'voting' }\n", "sets workflow"),
    (SHARING + "[[controls]]\nname = 'a'\nkind = 'train'\ncalls = { vote = 3 }\n", "unknown label 'vote'"),
    (SHARING + 2 * "[[controls]]\nname = 'a'\nkind = 'train'\n", "control 'a' is given twice"),
    (SHARING + "[[controls]]\nname = 'swap'\nkind = 'evaluate'\nroles = ['generator']\n", "names one role"),
    (SHARING + "[[controls]]\nname = 'swap'\nkind = 'evaluate'\nroles = ['a', 'b']\n", "in any cell"),
    ("[set]\n'run.steps=5 #' = 4\n" + SHARING, "'run.steps=5 #' is not a key of a recipe"),
    ("[set]\n'' = 4\n" + SHARING, "'' is not a key of a recipe"),
    (SHARING + "[axes.rate.0.5]\n", '[axes.rate.0.5]: a label with a dot needs quotes: [axes.rate."0.5"]'),
    (
        "[axes.rate.a]\n[axes.rate.b]\n[set]\nworkflow = 'single'\n[[controls]]\nname = 'alone'\nkind = 'train'\n",
        "control 'alone': every cell is a single agent",
    ),
    ("margin = 0\n" + SHARING, "margin = 0"),
    ("least_evaluations = 1\n" + SHARING, "least_evaluations = 1"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=[expected[:40] for _, expected in WRONG])
def test_what_is_wrong_in_a_study_is_said_in_one_line(tmp_path, text, expected):
    message = refused(tmp_path, HEAD + text)
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        ("[]", "seeds"),
        ("[0, 0]", "seed 0 is given twice"),
        ("[-1]", "seeds.0 = -1"),
        ("[true]", "seeds.0"),
        ("3", "seeds"),
    ],
)
def test_seeds_that_cannot_be_used_are_refused(tmp_path, seeds, expected):
    assert expected in refused(tmp_path, f'recipe = "voting_arithmetic"\nseeds = {seeds}\n{SHARING}')


def test_seeds_of_the_command_are_checked_as_those_of_the_file(tmp_path):
    study_in(tmp_path, HEAD + SHARING)
    assert [cell.seed for cell in load_study(tmp_path / "trial.toml", seeds=[7]).cells] == [7, 7]
    for seeds, expected in (([], "at least one"), ([2, 2], "twice"), ([-3], "negative")):
        with pytest.raises(ConfigError, match=expected):
            load_study(tmp_path / "trial.toml", seeds=seeds)


def test_a_study_that_does_not_exist_names_those_that_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"unknown study 'quik'; did you mean 'quick'.*zeng2026_micro"):
        load_study("quik")
    with pytest.raises(ConfigError, match="there is no such file"):
        load_study("nowhere/quick.toml")
    with pytest.raises(ConfigError, match="is a folder"):
        load_study(tmp_path)
    (tmp_path / "broken.toml").write_text("a = ", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_study("broken.toml")


def test_a_study_in_the_current_directory_hides_a_shipped_one(tmp_path, monkeypatch):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "quick.toml").write_text(HEAD + SHARING, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert len(load_study("quick").cells) == 4
    assert studies()["quick"] == Path("studies/quick.toml")
    assert "zeng2026" in studies()


def test_only_chooses_by_labels_and_by_patterns_of_names():
    def groups(*only):
        return {cell.group for cell in load_study("quick", only=only).cells}

    assert groups("workflow=voting", "sharing=shared", "rate=x1") == {"voting-shared-x1", "single-voting-x1"}
    assert groups("rate=x1", "rate=x3") == {cell.group for cell in load_study("quick").cells}
    assert groups("voting-shared-*") == {"voting-shared-x1", "voting-shared-x3"}
    assert groups("control=single", "rate=x3") == {"single-voting-x3", "single-evaluator-x3"}
    assert {cell.name for cell in load_study("quick", only=["*-isolated-x1-s2"]).cells} == {
        "voting-isolated-x1-s2",
        "evaluator-isolated-x1-s2",
    }
    few = load_study("quick", only=["voting-isolated-*"])
    assert {one.name for one in few.measures} == {"swap-generator-aggregator"}  # the single agents were not chosen


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (["sharing=both"], "unknown label of axis 'sharing'"),
        (["sharin=shared"], "did you mean 'sharing'"),
        (["vote-*"], "unknown cell 'vote-*'"),
        (["voting-*", "workflow=evaluator"], "no cell of the study matches all of it"),
    ],
)
def test_only_that_matches_nothing_is_refused(only, expected):
    with pytest.raises(ConfigError) as found:
        load_study("quick", only=only)
    assert expected in str(found.value)


# Controls


def test_a_single_agent_has_as_many_calls_as_the_workflow_it_is_matched_with():
    study = load_study("quick")
    sizes = {
        cell.group: load_config(cell.recipe, cell.overrides).rollout.group_size
        for cell in study.cells
        if cell.control == "single"
    }
    assert sizes == {  # groups of 4; voting makes 2 + 1 calls, the evaluator up to 2 x 2
        "single-voting-x1": 12,
        "single-voting-x3": 12,
        "single-evaluator-x1": 16,
        "single-evaluator-x3": 16,
    }
    assert "single: an episode of evaluator_optimizer makes 2 to 4 calls, counted as 4" in " ".join(study.notes)


def test_a_single_agent_serves_every_sharing_once_and_differs_in_nothing_but_workflow_and_groups():
    study = load_study("quick", seeds=[3])
    alone = next(cell for cell in study.cells if cell.group == "single-voting-x3")
    assert (alone.name, alone.labels) == ("single-voting-x3-s3", {"workflow": "voting", "rate": "x3"})
    team = next(cell for cell in study.cells if cell.group == "voting-shared-x3")
    both = [load_config(cell.recipe, cell.overrides).model_dump() for cell in (alone, team)]
    differing = {key for key in both[0] if both[0][key] != both[1][key]}
    assert differing == {"workflow", "rollout"}
    assert both[0]["run"]["seed"] == 3


def test_calls_can_be_given_where_they_vary(tmp_path):
    text = HEAD + SHARING + '[axes.workflow.judged]\nworkflow = "evaluator_optimizer"\n'
    text += "[[controls]]\nname = 'single'\nkind = 'train'\ncalls = { judged = 3 }\n"
    text += "[[controls]]\nname = 'majority'\nkind = 'evaluate'\n"
    study = study_in(tmp_path, text)
    alone = next(cell for cell in study.cells if cell.control)
    assert load_config(alone.recipe, alone.overrides).rollout.group_size == 8 * 3
    assert "workflow.samples=3" in study.measures[0].arguments


def test_equal_budgets_share_one_single_agent_and_each_workflow_has_its_own_evaluation(tmp_path):
    text = HEAD + SHARING + '[axes.workflow.v]\nworkflow = { name = "voting", votes = 3 }\n'
    text += '[axes.workflow.e]\nworkflow = { name = "evaluator_optimizer", rounds = 2 }\n'
    text += "[[controls]]\nname = 'alone'\nkind = 'train'\n[[controls]]\nname = 'transfer'\nkind = 'evaluate'\n"
    study = study_in(tmp_path, text)
    alone = [cell for cell in study.cells if cell.control]
    assert [cell.name for cell in alone] == ["alone-s0", "alone-s1"]
    assert [one.name for one in study.measures if one.cell == "alone-s1"] == [
        "transfer-v-shared",
        "transfer-e-shared",
    ]


def test_evaluations_name_the_runs_of_their_own_seed():
    study = load_study("quick")
    names = {cell.name for cell in study.cells}
    assert len(study.measures) == 3 * 12
    for one in study.measures:
        assert {one.cell, *one.needs} <= names
        assert f"{{{one.cell}}}" in one.arguments
        assert sum(argument.startswith("{") for argument in one.arguments) == 1
    assert len({(one.cell, one.name) for one in study.measures}) == len(study.measures)


def test_no_single_agent_is_trained_for_a_single_agent(tmp_path):
    text = HEAD + '[axes.workflow.single]\nworkflow = "single"\n[axes.workflow.voting]\n'
    text += "[[controls]]\nname = 'alone'\nkind = 'train'\n"
    assert {cell.group for cell in study_in(tmp_path, text).cells if cell.control} == {"alone-voting"}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"name": "single"}, (1, 1)),
        ({"name": "voting", "votes": 5}, (6, 6)),
        ({"name": "evaluator_optimizer", "rounds": 3}, (2, 6)),
        ({"name": "orchestrator_workers", "workers": 3}, (1, 5)),
        ({"name": "majority", "samples": 7}, (7, 7)),
        ({"name": "debate"}, None),
        ({"name": "tie_break"}, None),
        ({"name": "best_of"}, None),
    ],
)
def test_the_calls_of_a_workflow_are_counted_without_a_model(table, expected):
    found = calls_of(load_workflow(Spec.model_validate(table)), 1000)
    assert 1 <= found.fewest <= found.most
    assert expected is None or found == expected


def test_a_workflow_that_goes_on_until_it_is_approved_makes_as_many_calls_as_its_recipe_allows():
    @workflow
    async def until_approved(problem: Problem, *, writer: Role, checker: Role) -> str | None:
        while True:
            draft = await writer(problem.text)
            if last_box((await checker(draft.text)).text) == "correct":
                return draft.text

    assert calls_of(until_approved, 7) == (2, 7)


# Overrides


def test_keys_of_a_study_mean_the_same_as_overrides_of_the_command_line():
    table = {
        "task": {"name": "synthesis", "steps": 1},
        "algorithm": {"name": "study", "loss": {"name": "clip", "low": 0.1}},
        "policy": {"generator": {"learning_rate": 0.1}},
        "policies.sharing": {"generator": "a"},
        "model": {"date": "2026-11-28"},
        "interventions": ["stop_at_cliff"],
    }
    assert overrides_in(table, "set") == {
        "task": "synthesis",
        "task.steps": "1",
        "algorithm": "study",
        "algorithm.loss": "clip",
        "algorithm.loss.low": "0.1",
        "policy.generator.learning_rate": "0.1",
        "policies.sharing": '{generator = "a"}',
        "model.date": '"2026-11-28"',
        "interventions": '["stop_at_cliff"]',
    }


def test_presets_and_algorithms_come_first():
    assert in_order({"a": "1", "algorithm": "grpo", "preset": "x"}) == ("preset=x", "algorithm=grpo", "a=1")


@pytest.mark.parametrize(
    "text", ["shared", "1", "True", "true", "2026-11-28", '"q"', "a b", " a", "", "é", "{x", "a\nb", "\x7f"]
)
def test_a_text_is_the_same_text_after_an_override(text):
    config = load_config("voting_arithmetic", [f"model.revision={text_of(text, 'here')}"])
    assert config.model.revision == text


# In memory


def test_a_study_of_arms_pairs_them_by_seed_and_fixes_the_threads():
    arms = {"shared": ["policies.sharing=shared"], "isolated": ["policies.sharing=isolated"]}
    study = study_of_arms("advise-x", "voting_arithmetic", ["run.steps=3"], arms, [0, 1])
    assert [cell.name for cell in study.cells] == ["shared-s0", "isolated-s0", "shared-s1", "isolated-s1"]
    configs = [load_config(cell.recipe, cell.overrides) for cell in study.cells]
    assert {config.run.threads for config in configs} == {1}
    assert [config.run.seed for config in configs] == [0, 0, 1, 1]
    assert study.compare == "sharing"


def test_a_study_of_one_recipe_is_named_after_itself():
    study = study_of_arms("mine", "voting_arithmetic", ["run.threads=2"], {}, [4])
    (cell,) = study.cells
    assert (cell.name, cell.labels, study.compare) == ("mine-s4", {}, "")
    assert load_config(cell.recipe, cell.overrides).run.threads == 2


def test_arms_that_set_the_seed_are_refused():
    with pytest.raises(ConfigError, match=r"run.seed"):
        study_of_arms("mine", "voting_arithmetic", [], {"a": ["run.seed=1"], "b": []}, [0])


# What ships


def test_the_shipped_studies_have_the_cells_that_their_pages_say():
    micro, whole = shipped("zeng2026_micro"), shipped("zeng2026")
    teams = {cell.group: cell for cell in micro.cells if not cell.control}
    assert len(teams) == 3 * 2 * 2 * 2 * 2 + 4
    assert len([cell for cell in micro.cells if not cell.control]) == 5 * len(teams)
    assert {one.name.partition("-")[0] for one in micro.measures} == {"transfer", "majority", "swap", "taught"}
    assert len(micro.excluded) == 10
    teams = {cell.group for cell in whole.cells if not cell.control}
    assert len(teams) == 36 + 12
    for study in (micro, whole):
        assert study.seeds == (0, 1, 2, 3, 4)
        configs = [load_config(cell.recipe, cell.overrides) for cell in study.cells if cell.seed == 0]
        assert {config.evaluation.final_samples for config in configs} == {4}


@cache
def shipped(name):
    return load_study(name)


def whole(group):
    cell = next(cell for cell in shipped("zeng2026").cells if cell.group == group)
    return load_config(cell.recipe, cell.overrides)


@pytest.mark.parametrize(
    ("workflow", "task", "recipe"),
    [
        ("voting", "math", "voting_mathematics"),
        ("evaluator", "math", "evaluator_optimizer_mathematics"),
        ("orchestrator", "math", "orchestrator_workers_mathematics"),
        ("voting", "code", "voting_programs"),
        ("evaluator", "code", "evaluator_optimizer_programs"),
        ("orchestrator", "code", "orchestrator_workers_programs"),
    ],
)
def test_the_whole_study_has_the_settings_of_the_recipes_of_the_study(workflow, task, recipe):
    found = whole(f"{workflow}-isolated-1.7b-{task}-study")
    expected = load_config(recipe, ["run.threads=8", "evaluation.final_samples=4"])
    assert found == expected


def test_the_matched_settings_are_those_of_their_recipe():
    found, expected = whole("voting-shared-0.6b-math-matched"), load_config("matched")
    assert found.algorithm == expected.algorithm
    assert found.policies.warmup_clock == expected.policies.warmup_clock


def blocks(kind):
    text = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def test_the_study_of_the_page_can_be_read(tmp_path):
    text = blocks("toml")[0]
    study = study_in(tmp_path, text)
    assert "shared-medium-x3-s0" in {cell.name for cell in study.cells}
    assert "policies.warmup=4" in next(cell for cell in study.cells if cell.name == "shared-medium-x3-s0").overrides
    assert {one.name for one in study.measures} == {"majority"}


@pytest.mark.slow
def test_the_code_of_the_page_runs(capsys):
    (code,) = [code for code in blocks("python") if "check(study)" in code]
    exec(code, {})
    assert capsys.readouterr().out.splitlines()[-1] == "3"


def test_reading_a_study_takes_no_engine():
    code = (
        "import sys\nfrom counterpoint.experiments.study import load_study\nload_study('zeng2026_micro')\n"
        "print([name for name in ('torch', 'transformers', 'polars') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
