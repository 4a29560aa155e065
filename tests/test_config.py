"""Every knob is checked when the recipe is read, and every message says what is allowed."""

from typing import Annotated

import pytest
from pydantic import Field

from counterpoint.config import Config
from counterpoint.errors import ConfigError, unknown
from counterpoint.options import check_options
from counterpoint.recipe import config_from, find_recipe, load_config, override_table


@pytest.fixture
def recipe(tmp_path):
    """Writes a recipe and gives its path."""

    def write(text: str = ""):
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        return path

    return write


def test_an_empty_recipe_is_the_defaults(recipe):
    assert load_config(recipe()) == Config()


def test_a_bare_string_names_a_member_and_a_table_gives_it_options(recipe):
    path = recipe(
        'workflow = "single"\n'
        'diagnostics = ["behaviour", {name = "role_gradients"}]\n'
        '[task]\nname = "questions"\nquestion = "q"\n'
        '[algorithm]\nadvantage = {name = "grouped", by = ["task", "role"]}\n'
    )
    config = load_config(path)
    assert (config.workflow.name, config.workflow.options) == ("single", {})
    assert (config.task.name, config.task.options) == ("questions", {"question": "q"})
    assert config.algorithm.advantage.options == {"by": ["task", "role"]}
    assert [spec.name for spec in config.diagnostics] == ["behaviour", "role_gradients"]


def test_options_alone_belong_to_the_default_member(recipe):
    config = load_config(recipe("[workflow]\nvotes = 5\n[algorithm.loss]\nlow = 0.1\n"))
    assert (config.workflow.name, config.workflow.options) == ("voting", {"votes": 5})
    assert (config.algorithm.loss.name, config.algorithm.loss.options) == ("clip", {"low": 0.1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rollot]\n", r"unknown key 'rollot'; did you mean 'rollout'\? allowed: algorithm, "),
        ("[rollout]\ngroup_sise = 4\n", r"key in \[rollout\] 'group_sise'; did you mean 'group_size'\? allowed: group"),
        ("[policies]\nrank = 0\n", r"policies\.rank = 0: input should be greater than or equal to 1"),
        ("[policies]\nlearning_rate = 1.5\n", r"policies\.learning_rate = 1\.5: input should be less than 1"),
        ("[rollout]\ntemperature = 0\n", r"rollout\.temperature = 0: .*greater than 0"),
        ('[rollout]\ngroup_size = "8"\n', r"rollout\.group_size = '8': input should be a valid integer"),
        ("[rollout]\ngroup_size = 8.0\n", r"rollout\.group_size = 8\.0: input should be a valid integer"),
        ("[rollout]\ngroup_size = true\n", r"rollout\.group_size = True: input should be a valid integer"),
        ("[model]\npath = 3\n", r"model\.path = 3: input should be a valid string"),
        ('[model]\ndtype = "float16"\n', r"model\.dtype = 'float16': input should be 'float32' or 'bfloat16'"),
        ("rollout = 3\n", r"rollout = 3: input should be a valid dictionary"),
        ("workflow = 3\n", r"workflow = 3: "),
        ("interventions = [{share = 1}]\n", r"interventions\.0\.name is required"),
        ('[rollout]\nlong_prompts = "drop"\n', r"rollout\.long_prompts = 'drop': input should be 'refuse' or 'cut'"),
        (
            '[rollout]\nlong_prompts = "cut"\nmax_prompt_tokens = 63\n',
            r"rollout = .*max_prompt_tokens = 63 is too little for long_prompts = .cut.: at least 64",
        ),
        ("[run]\nseed = -1\n", r"run\.seed = -1: .*greater than or equal to 0"),
        ("[run]\nsteps = nan\n", r"run\.steps = nan"),
        ("[policies]\nalpha = inf\n", r"policies\.alpha = inf: input should be a finite number"),
        ("[policies]\nweight_decay = inf\n", r"policies\.weight_decay = inf: input should be a finite number"),
        ("[rollout]\ntemperature = inf\n", r"rollout\.temperature = inf: input should be a finite number"),
        ("[evaluation]\ntemperature = inf\n", r"evaluation\.temperature = inf: input should be a finite number"),
    ],
)
def test_a_wrong_key_type_or_value_is_named_with_what_is_allowed(recipe, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(recipe(text))


def test_a_recipe_that_is_not_toml_is_named(recipe):
    with pytest.raises(ConfigError, match=r"recipe\.toml is not TOML: .*line 2"):
        load_config(recipe("[run]\nsteps = = 3\n"))


def test_a_recipe_that_is_not_text_is_named(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"recipe\.toml is not TOML"):
        load_config(path)


def test_overrides_have_the_last_word_and_the_types_of_toml(recipe):
    path = recipe('workflow = "voting"\n[run]\nsteps = 5\n[policies]\nsharing = "isolated"\n')
    config = load_config(
        path,
        [
            "run.steps=7",
            "policies.learning_rate = 1e-4",
            "policies.sharing=shared",
            'model.path="Qwen/Qwen3-1.7B"',
            "model.template.enable_thinking=false",
            "workflow.votes=5",
            "algorithm.advantage=rloo",
            "diagnostics=[]",
            "run.steps=8",
        ],
    )
    assert config.run.steps == 8
    assert config.policies.learning_rate == 1e-4
    assert config.policies.sharing == "shared"
    assert config.model.path == "Qwen/Qwen3-1.7B"
    assert config.model.template == {"enable_thinking": False}
    assert (config.workflow.name, config.workflow.options) == ("voting", {"votes": 5})
    assert config.algorithm.advantage.name == "rloo"
    assert config.diagnostics == []


def test_an_override_can_give_options_to_a_member_named_nowhere(recipe):
    config = load_config(
        recipe(), ["task.operands=2", "algorithm.advantage.name=grouped", 'algorithm.advantage.by=["task"]']
    )
    assert (config.task.name, config.task.options) == ("arithmetic", {"operands": 2})
    assert config.algorithm.advantage.options == {"by": ["task"]}


def test_a_table_that_names_no_member_changes_the_keys_that_it_has_and_no_others(recipe):
    written = 'workflow = {name = "debate", rounds = 2}\n[algorithm]\nname = "gspo"\n'
    path = recipe(f'{written}[policies]\nsharing = "shared"\nrank = 8\n[policy.shared]\ntrainable = false\n')
    config = load_config(
        path,
        [
            "workflow={debaters=3}",
            "algorithm={updates=2}",
            "algorithm.loss={high=0.3}",
            "policies={alpha=4.0}",
            "policy.shared={rank=2}",
        ],
    )
    assert (config.workflow.name, config.workflow.options) == ("debate", {"rounds": 2, "debaters": 3})
    assert (config.algorithm.name, config.algorithm.updates) == ("gspo", 2)
    assert (config.algorithm.loss.name, config.algorithm.loss.options["high"]) == ("gspo", 0.3)
    assert (config.policies.sharing, config.policies.rank, config.policies.alpha) == ("shared", 8, 4.0)
    assert (config.policy["shared"].trainable, config.policy["shared"].rank) == (False, 2)


def test_a_table_that_names_no_member_is_about_the_member_that_is_named_anywhere(recipe):
    config = load_config(recipe(), ["algorithm={updates=2}", "algorithm=dapo", "task={operands=2}", "workflow=single"])
    assert (config.algorithm.name, config.algorithm.updates) == ("dapo", 2)
    other = load_config(recipe("workflow = {name = 'debate', rounds = 2}"), ['workflow={name="voting", votes=2}'])
    assert (other.workflow.name, other.workflow.options) == ("voting", {"votes": 2})
    shared = ['policies.sharing={generator="a", aggregator="a"}', 'policies.sharing={solver="b"}']
    assert load_config(recipe(), shared).policies.sharing == {"solver": "b"}


def test_text_that_is_not_toml_is_a_string(recipe):
    text = "a text/with = signs"
    assert load_config(recipe(), [f"model.reasoning_end={text}"]).model.reasoning_end == text
    assert load_config(recipe(), ["policies.adapter="]).policies.adapter == ""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.steps", r"override 'run\.steps' must read section\.key=value"),
        ("=3", r"override '=3' must read"),
        ("run.seed.more=3", r"'run\.seed\.more=3': 'seed' is not a table"),
        ("run.step=3", r"'step'; did you mean 'steps'\?"),
        ("run.steps=many", r"run\.steps = 'many': input should be a valid integer"),
        ("diagnostics.behaviour=3", r"diagnostics"),
    ],
)
def test_a_wrong_override_is_named(recipe, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(recipe("[run]\nseed = 1\n"), [override])


def test_overriding_a_table_leaves_it_as_it_was():
    table = {"task": "arithmetic", "run": {"seed": 1}}
    assert override_table(table, ["run.seed=2", "task.operands=2"]) == {
        "task": {"name": "arithmetic", "operands": 2},
        "run": {"seed": 2},
    }
    assert table == {"task": "arithmetic", "run": {"seed": 1}}


def test_overriding_one_recipe_leaves_no_trace_in_the_next(recipe):
    path = recipe("[run]\nseed = 1\n")
    load_config(path, ["run.seed=2", "model.template.a=1"])
    assert load_config(path).run.seed == 1
    assert Config().model.template == {}


def test_what_is_written_out_reads_back_the_same(recipe):
    config = config_from(
        {
            "task": {"name": "questions", "question": 'a "π" \\ column'},
            "workflow": "my_module:my_workflow",
            "policies": {"sharing": {"a": "p", "b": "q"}, "learning_rate": 1.23456789e-7},
            "model": {"template": {"enable_thinking": False, "n": 3}},
            "algorithm": {"advantage": {"name": "grouped", "by": ["task", "prompt"]}},
            "diagnostics": ["behaviour", {"name": "other", "every": 2}],
            "interventions": [{"name": "cap", "share": 0.5}],
        }
    )
    assert load_config(recipe(config.toml())) == config
    assert load_config(recipe(Config().toml())) == Config()


def test_every_default_is_written_out():
    text = Config().toml()
    for section in Config.model_fields:
        assert section in text
    assert "proof_tolerance" in text
    assert "votes" not in text  # a member's own defaults belong to it


def test_a_recipe_cannot_be_changed_once_read():
    with pytest.raises(ValueError, match="frozen"):
        Config().run.steps = 3


@pytest.mark.parametrize(
    ("table", "cell"),
    [
        ({}, "voting-isolated-micro-medium-arithmetic-s0"),
        ({"policies": {"sharing": {"a": "b"}}, "run": {"seed": 3}}, "voting-table-micro-medium-arithmetic-s3"),
        ({"model": {"path": "Qwen/Qwen3-1.7B"}}, "voting-isolated-qwen3-1.7b-arithmetic-s0"),
        ({"model": {"path": "Qwen/Qwen3-0.6B"}}, "voting-isolated-qwen3-0.6b-arithmetic-s0"),
        ({"model": {"path": "models/Tiny.Q8.gguf"}}, "voting-isolated-tiny.q8-arithmetic-s0"),
        ({"workflow": "my_module:duel", "policies": {"sharing": "shared"}}, "duel-shared-micro-medium-arithmetic-s0"),
    ],
)
def test_a_cell_is_named_after_what_it_compares(table, cell):
    assert config_from(table).cell == cell


def test_a_recipe_is_found_as_a_file_as_a_folder_and_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes" / "mine").mkdir(parents=True)
    (tmp_path / "recipes" / "mine" / "run.toml").write_text("[run]\nsteps = 3\n")
    for name in ("mine", "recipes/mine", "recipes/mine/run.toml"):
        assert load_config(name).run.steps == 3


def test_a_recipe_that_does_not_exist_is_named_with_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes" / "mine").mkdir(parents=True)
    (tmp_path / "recipes" / "mine" / "run.toml").write_text("")
    (tmp_path / "recipes" / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"unknown recipe 'mines'; did you mean 'mine'\? allowed: .*mine.* TOML file"):
        find_recipe("mines")
    with pytest.raises(ConfigError, match="unknown recipe 'empty'"):
        find_recipe("empty")


def member(first: int, *, size: Annotated[int, Field(ge=1, le=9)] = 3, name_of: str, rate: float = 0.5) -> None: ...


def test_options_of_a_member_are_its_keywords_with_their_defaults():
    assert check_options("x", member, {"name_of": "a"}) == {"size": 3, "name_of": "a", "rate": 0.5}
    assert check_options("x", member, {"size": 9}, skip={"name_of"}) == {"size": 9, "rate": 0.5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"^x\.name_of is required$"),
        ({"name_of": "a", "size": 10}, r"^x\.size = 10: input should be less than or equal to 9$"),
        ({"name_of": "a", "first": 10}, r"^unknown key in \[x\] 'first'; .*allowed: name_of, rate, size$"),
        ({"name_of": 3}, r"^x\.name_of = 3: input should be a valid string$"),
    ],
)
def test_a_wrong_option_of_a_member_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        check_options("x", member, options)


class Weights:
    """A class that no recipe can give."""


WEIGHTS = Weights()


def weighing(*, weights: Weights = WEIGHTS, size: int = 3) -> None: ...


def absent(*, weights: list["Absent"] = []) -> None: ...  # noqa: B006, F821


def test_a_member_may_have_a_parameter_of_any_class_which_keeps_its_default():
    assert check_options("x", weighing, {"size": 4}) == {"weights": WEIGHTS, "size": 4}
    with pytest.raises(ConfigError, match=r"^x\.weights = 3: input should be an instance of Weights$"):
        check_options("x", weighing, {"weights": 3})
    with pytest.raises(ConfigError, match=r"^x: its parameters cannot be options: .*'Absent' is not defined$"):
        check_options("x", absent, {})


def test_an_unknown_name_comes_with_the_nearest_and_all_that_are_allowed():
    assert unknown("role", "critc", ["critic", "solver"]) == (
        "unknown role 'critc'; did you mean 'critic'? allowed: critic, solver"
    )
    assert unknown("role", "zzz", ["critic"]) == "unknown role 'zzz'; allowed: critic"
    assert unknown("role", "zzz", []) == "unknown role 'zzz'; allowed: none yet"


def test_another_member_takes_the_place_of_the_recipes_with_all_its_options():
    for override in ("task.name=questions", "task=questions"):
        table = override_table({"task": {"name": "arithmetic", "operands": 3}}, ["task.path=my.jsonl", override])
        assert table == {"task": {"name": "questions", "path": "my.jsonl"}}
    same = override_table({"task": {"name": "arithmetic", "operands": 3}}, ["task.name=arithmetic", "task.high=9"])
    assert same == {"task": {"name": "arithmetic", "operands": 3, "high": 9}}
