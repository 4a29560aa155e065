"""What a person meets at the edges: explanations of keys, suggestions, the dry run, places that fail, broken pipes."""

import errno
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from command_line import command_line
from safetensors import SafetensorError

from counterpoint.cli.out import BROKEN_PIPE, Terminal, check_folder, check_out, failure_of_place
from counterpoint.config import Config, ModelConfig
from counterpoint.errors import ConfigError, EngineError, LearnerError, ModelError, RunError, counted
from counterpoint.files import near
from counterpoint.locate import check_device, locate
from counterpoint.options import ALIASES, dotted_keys
from counterpoint.presets import PRESETS
from counterpoint.presets.algorithms import ALGORITHMS
from counterpoint.recipe import brief_toml, config_from, load_config, recipes
from counterpoint.reference import FAMILIES, every_entry, members, sections
from counterpoint.run import Run

# ---- explain


def explained(*words):
    done = command_line("explain", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_key_is_explained_with_type_range_default_and_meaning():
    assert explained("policies.rank") == (
        "policies.rank  (int, ≥ 1, ≤ 1024; default 16)\n"
        "    The rank of the LoRA adapter, which is on all linear layers except the\n"
        "    output layer.\n"
    )


def test_a_section_is_explained_key_by_key():
    printed = explained("evaluation")
    assert printed.startswith("[evaluation]\n    Evaluations on the validation and the test split during training.\n")
    for key in ("every", "samples", "temperature"):
        assert f"evaluation.{key}  (" in printed


def test_a_key_that_names_members_lists_them():
    printed = explained("algorithm.credit")
    assert "      help_hurt  " in printed
    assert "      outcome " in printed


@pytest.mark.parametrize("words", ["help_hurt", "algorithm.credit.help_hurt"])
def test_a_member_is_explained_with_its_options(words):
    printed = explained(words)
    assert printed.startswith("algorithm.credit = help_hurt\n")
    assert "algorithm.credit.weight  (float, > 0; default 0.5)" in printed


def test_a_name_of_two_members_explains_both():
    printed = explained("grpo")
    assert "algorithm = grpo\n" in printed
    assert "algorithm.advantage = grpo\n" in printed


def test_an_option_is_explained_for_every_member_that_has_it():
    printed = explained("algorithm.loss.low")
    assert "algorithm.loss = clip\n" in printed
    assert "algorithm.loss = gspo\n" in printed
    assert "dual" not in printed.replace("`dual`", "")


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("lr", "policies.learning_rate"),
        ("temperature", "evaluation.temperature"),
        ("policy.solver.rank", "policies.rank"),
        ("policy.solver.model.path", "model.path"),
        ("policy.solver.endpoint.url", "policy.NAME.endpoint.url"),
        ("run.steps=5", "run.steps"),
    ],
)
def test_a_key_is_found_by_what_people_call_it(word, key):
    assert f"{key}  (" in explained(word)


def test_the_presets_and_an_overview_are_printed():
    assert "rank = 64" in explained("qwen3-4b")
    overview = explained()
    assert "  [rollout] " in overview
    assert "  workflow " in overview


def test_a_name_that_nothing_has_is_answered_with_the_nearest():
    done = command_line("explain", "polices.rank")
    assert done.stderr.startswith("error: there is no key, section or member 'polices.rank'; did you mean 'policies.ra")
    assert "docs/metrics.md defines the metrics" in command_line("explain", "role/generator/accuracy").stderr


def test_every_key_and_member_has_a_meaning():
    keys = every_entry()
    assert set(dotted_keys(Config)) <= set(keys)
    assert [key for key, entry in keys.items() if not entry.meaning] == []
    assert [one.name for key in FAMILIES for one in members(key) if not one.text] == []
    assert {"model", "policies.update", "policy.NAME.endpoint"} <= set(sections())


def test_every_name_of_another_library_leads_to_a_key():
    assert {key for named in ALIASES.values() for key in named} <= set(every_entry())


def test_the_commands_of_the_page_about_recipes_run(tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "recipes.md").read_text()
    blocks = re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)
    lines = [shlex.split(line, comments=True)[1:] for block in blocks for line in block.splitlines()]
    assert len(lines) > 5
    for words in lines:
        done = command_line(*words, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    assert 'name = "dapo"' in done.stdout


# ---- suggestions


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("learning_rate=1e-3", "'policies.learning_rate'"),
        ("steps=5", "'run.steps'"),
        ("seed=5", "'run.seed'"),
        ("temperature=1.0", "'rollout.temperature' or 'evaluation.temperature'"),
        ("num_generations=8", "'rollout.group_size'"),
        ("batch_size=8", "'rollout.tasks_per_step'"),
        ("learning_rte=8", "'policies.learning_rate'"),
        ("rollout.seed=8", "'run.seed'"),
        ("policies.lr=8", "'learning_rate'"),
        ("policies.steps=8", "'policies.update.steps'"),
        ("policy.generator.lr=8", "'learning_rate'"),
        ("rollot.steps=8", "'rollout'"),
        ("run.stpes=8", "'steps'"),
    ],
)
def test_a_key_in_the_wrong_section_is_answered_with_where_it_belongs(override, meant):
    with pytest.raises(ConfigError, match=rf"did you mean {meant}\? allowed: "):
        load_config("voting_arithmetic", [override])


def test_a_key_that_is_like_no_other_gets_no_suggestion():
    with pytest.raises(ConfigError, match=r"^unknown key 'xyzzy'; allowed: "):
        load_config("voting_arithmetic", ["xyzzy=1"])


@pytest.mark.parametrize("text", ["{a=1", "[1, 2", '"x', "'x"])
def test_a_value_that_begins_as_toml_must_be_toml(text):
    with pytest.raises(ConfigError, match="the value is not TOML: "):
        load_config("voting_arithmetic", [f"task.path={text}"])


def test_the_nearest_path_is_looked_for_beside_it_and_among_the_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "first").mkdir(parents=True)
    assert near(Path("runs/frist")) == "did you mean 'runs/first'? "
    assert near(Path("frist")) == "did you mean 'runs/first'? "
    assert near(Path("runs/other")) == ""
    with pytest.raises(RunError, match=r"there is nothing of that name; did you mean 'runs/first'\?$"):
        Run.read("runs/firts")


# ---- models


@pytest.mark.parametrize("name", ["gpt2", "runs/one", "a/b/c", "folder/model", "what is this"])
def test_a_name_that_is_not_one_of_the_hub_is_refused_without_asking_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr("counterpoint.locate._hub_answers", lambda: 1 / 0)
    with pytest.raises(ModelError, match=r"there is no such model; .*allowed: a shipped model: micro-small"):
        locate(ModelConfig(path=name))


def test_without_network_a_model_of_the_hub_must_be_in_its_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr("counterpoint.locate._hub_answers", lambda: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="the hub cannot be reached from here, and the model is not in its cache"):
        locate(ModelConfig(path="us/ours"))
    (tmp_path / "models--us--ours").mkdir()
    assert locate(ModelConfig(path="us/ours", revision="v2")) == ("us/ours", {"revision": "v2"})


def test_the_cpu_is_always_there():
    check_device(ModelConfig(device="cpu"))


# ---- the dry run


def test_a_dry_run_prints_the_summary_then_a_recipe_that_can_be_copied(tmp_path):
    arguments = ["train", "voting_arithmetic", "run.threads=1", "run.steps=1", "--dry-run"]
    printed = command_line(*arguments, folder=tmp_path).stdout
    summary, _, recipe = printed.partition("\n\n")
    assert summary.startswith(
        "cell        voting-isolated-micro-medium-arithmetic-s0\nroles       generator, aggregator"
    )
    assert "the run     1 step; " in summary
    assert ", 1 thread): a floor" in summary
    assert "beta1" not in recipe
    assert config_from(tomllib.loads(recipe)) == load_config("voting_arithmetic", ["run.threads=1", "run.steps=1"])
    whole = command_line(*arguments, "--all-keys", folder=tmp_path).stdout
    assert "beta1 = 0.9" in whole


@pytest.mark.parametrize("name", sorted(recipes()))
def test_the_keys_that_differ_make_the_same_recipe(name):
    config = load_config(name)
    assert config_from(tomllib.loads(brief_toml(config))) == config


@pytest.mark.parametrize(
    "override",
    [
        *(f"algorithm={name}" for name in ALGORITHMS),
        *(f"preset={name}" for name in PRESETS),
        "algorithm.loss=gspo",
        "algorithm.kl={name='k3', weight=0.1}",
        "policies.sharing={generator='a', aggregator='b'}",
        "policy.generator.rank=4",
        "interventions=['balance']",
        "diagnostics=[]",
    ],
)
def test_the_keys_that_differ_make_the_same_recipe_with_any_override(override):
    config = load_config("voting_arithmetic", [override, "algorithm.updates=1"])
    assert config_from(tomllib.loads(brief_toml(config))) == config


def test_counts_are_in_the_singular_where_there_is_one():
    assert [counted(count, "step") for count in (0, 1, 2)] == ["0 steps", "1 step", "2 steps"]


# ---- places that fail


def raised(error, cause=None):
    """The error as it is after having been raised from another."""
    try:
        raise error from cause
    except type(error) as found:
        return found


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b: No space left on device: free some space"),
        (OSError(errno.EROFS, "Read-only file system", "a"), "a: Read-only file system: choose a place that can be"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), "a: Permission denied: choose a place that you may"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files: raise the limit of open files: ulimit -n"),
        (OSError(errno.EFBIG, "File too large", "a"), "a: File too large: raise the limit of the size of files"),
        (SafetensorError("Error: I/O error: File too large (os error 27)"), "File too large: raise the limit of the"),
        (OSError(errno.ELOOP, "Too many levels of symbolic links", "a"), "a: Too many levels of symbolic links: a"),
        (OSError(errno.EBUSY, "Device or resource busy", "a"), "a: Device or resource busy"),
        (OSError(errno.ESTALE, "Stale file handle", "a"), "a: Stale file handle"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a"), "a: Not a directory: a file is where a folder"),
        (SafetensorError("Error: I/O error: No space left on device (os error 28)"), "No space left on device: free"),
        (MemoryError(), "out of memory: lower learner.max_tokens_per_micro_batch"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory: lower"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory: lower"),
        (raised(EngineError("the engine died"), RuntimeError("CUDA out of memory.")), "the engine died; out of memory"),
        (ExceptionGroup("several", [ValueError(), OSError(errno.EDQUOT, "Disk quota exceeded", "a")]), "a: Disk quota"),
    ],
)
def test_an_error_of_the_system_is_one_line_with_what_to_do(error, line):
    assert failure_of_place(error).startswith(line)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        KeyError("x"),
        RuntimeError("shape"),
        OSError("odd"),
        EngineError(),
        LearnerError("out of memory"),
    ],
)
def test_any_other_error_keeps_its_traceback(error):
    assert failure_of_place(error) is None


def test_a_full_disk_ends_a_run_in_one_line_and_the_run_can_be_resumed(tmp_path, monkeypatch):
    small = ["run.steps=2", "run.threads=1", "task.train=16", "task.validation=4", "task.test=4"]
    small += ["rollout.tasks_per_step=2", "rollout.group_size=2", "run.save_every=1", "diagnostics=[]"]
    real = Run.checkpoint

    def full(self, step, parts, state):
        if step == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        real(self, step, parts, state)

    monkeypatch.setattr(Run, "checkpoint", full)
    done = command_line("train", "voting_arithmetic", *small, "--out", "one", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: one: No space left on device: free some space; what was saved is whole, to continue:"
        " counterpoint resume one\n"
    )
    monkeypatch.undo()
    assert command_line("resume", "one", folder=tmp_path).returncode == 0
    assert Run.read(tmp_path / "one").checkpoints() == [0, 1, 2]


def test_a_system_error_anywhere_in_a_command_is_one_line(tmp_path, monkeypatch):
    def denied(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr("counterpoint.cli.runs.list_runs", denied)
    done = command_line("runs", ".", folder=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "error: .: Permission denied: choose a place that you may read and write\n",
    )


def test_a_place_that_cannot_be_written_is_found_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below" / "it"):
        with pytest.raises(RunError, match=r"file is a file$"):
            check_folder(place)
    check_folder(tmp_path / "new" / "folder")
    check_out(tmp_path / "new" / "found.json")
    assert (tmp_path / "new").is_dir()
    with pytest.raises(RunError, match="it is a folder; name a file"):
        check_out(tmp_path)
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    with pytest.raises(RunError, match="is read-only for you; choose another place"):
        check_folder(tmp_path / "new" / "other")


# ---- broken pipes


def with_broken_pipe(*arguments, folder):
    """Exit status and standard error of a command whose reader is gone from the start."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "counterpoint", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, check=False
    )
    os.close(writer)
    return done.returncode, done.stderr


def test_a_command_whose_reader_is_gone_ends_without_a_word(tmp_path, tiny_run):
    assert with_broken_pipe("explain", "policies", folder=tmp_path) == (BROKEN_PIPE, "")
    assert with_broken_pipe("show", tiny_run.path, folder=tmp_path) == (BROKEN_PIPE, "")


def test_an_evaluation_is_written_although_the_terminal_is_gone(tmp_path, tiny_run):
    asked = ["evaluate", tiny_run.path, "run.threads=1", "--out", "new/found.json"]
    told = f"evaluating {tiny_run.path} on the test split ...\n"
    assert with_broken_pipe(*asked, folder=tmp_path) == (0, told)
    assert '"split": "test"' in (tmp_path / "new" / "found.json").read_text()


def test_the_terminal_of_a_command_that_goes_on_is_silent_once_its_reader_is_gone(monkeypatch):
    monkeypatch.setattr("counterpoint.cli.out.drop_output", lambda: None)
    terminal = Terminal(goes_on=True)
    terminal.on_broken_pipe()
    assert terminal.quiet
    with pytest.raises(SystemExit) as end:
        Terminal().on_broken_pipe()
    assert end.value.code == BROKEN_PIPE
