"""A policy taken out of a run speaks, with plain peft and transformers, as it speaks here."""

import ast
import asyncio
import io
import json
import re
import shutil
import sys
import warnings
from contextlib import chdir, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import micro_run
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from counterpoint import controls
from counterpoint.base_model import load_chat
from counterpoint.cli.main import main
from counterpoint.errors import ConfigError, ModelError, RunError
from counterpoint.export.export import export
from counterpoint.export.merging import savable
from counterpoint.models import micro_model
from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.runtimes import open_runtime
from counterpoint.samplers.base import Request

BASE = str(micro_model("micro-medium"))
QUESTIONS = [f"What is {left} + {right} - 3?" for left, right in ((7, 12), (20, 4), (5, 9), (11, 11), (28, 1), (3, 30))]
LENGTH = 40
plain_peft = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Isolated policies that have moved far in two steps."""
    return micro_run(tmp_path_factory.mktemp("export") / "run", policies={"sharing": "isolated", "learning_rate": 0.02})


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """Policy -> the folder of its adapter, and of its merged model under `<policy>-merged`."""
    folder = tmp_path_factory.mktemp("exported")
    for name in ("generator", "aggregator"):
        export(trained, name, folder / name)
        export(trained, name, folder / f"{name}-merged", merged=True)
    return folder


def said_here(run, policy):
    """What our sampler says, as greedily as a temperature can, with the weights of the last checkpoint."""

    async def play():
        async with open_runtime(run.config, controls.routes_of(run.config)) as runtime:
            runtime.learner.load(run.checkpoint_path(2))
            await runtime.sampler.load(runtime.learner.adapters())
            prompts = [runtime.chats[policy].prompt([{"role": "user", "content": text}]) for text in QUESTIONS]
            found = []
            for prompt in prompts:
                request = Request(policy=policy, prompt_ids=prompt, max_tokens=LENGTH, temperature=1e-6, seed=0)
                with runtime.sampler.session() as session:
                    found.append(list((await session.sample(request)).ids))
            return prompts, found

    return asyncio.run(play())


def said_by(model, prompts):
    """What a plain model says, always the likeliest token."""
    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        reply = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=LENGTH, do_sample=False)
        found.append(reply[0, len(prompt) :].tolist())
    return found


def base():
    return AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)


@plain_peft
@pytest.mark.parametrize("policy", ["generator", "aggregator"])
def test_the_adapter_speaks_with_plain_peft_as_it_does_here(trained, exported, policy):
    prompts, ours = said_here(trained, policy)
    assert said_by(PeftModel.from_pretrained(base(), str(exported / policy)), prompts) == ours
    assert said_by(base(), prompts) != ours  # else the adapter would have proved nothing


@pytest.mark.parametrize("policy", ["generator", "aggregator"])
def test_the_merged_model_speaks_with_plain_transformers_as_it_does_here(trained, exported, policy):
    prompts, ours = said_here(trained, policy)
    merged = AutoModelForCausalLM.from_pretrained(exported / f"{policy}-merged", dtype="auto")
    assert merged.dtype == torch.float32
    assert said_by(merged, prompts) == ours


def test_merged_weights_are_the_base_plus_the_scaled_product(trained, exported):
    adapter = load_file(trained.checkpoint_path(2) / "generator" / "adapter_model.safetensors")
    merged = load_file(exported / "generator-merged" / "model.safetensors")
    scale = trained.config.policies.alpha / trained.config.policies.rank
    plain = dict(base().named_parameters())
    changed = 0
    for name, weight in merged.items():
        at = f"base_model.model.{name.removesuffix('.weight')}"
        expected = plain[name].detach()
        if f"{at}.lora_A.weight" in adapter:
            expected = expected + scale * adapter[f"{at}.lora_B.weight"] @ adapter[f"{at}.lora_A.weight"]
            changed += 1
        torch.testing.assert_close(weight, expected, rtol=0, atol=1e-6)
    assert changed == 4 * 7  # four layers of seven linear maps


def test_policies_of_one_run_differ(exported):
    one, other = (load_file(exported / name / "adapter_model.safetensors") for name in ("generator", "aggregator"))
    assert one.keys() == other.keys()
    assert any(not torch.equal(one[name], other[name]) for name in one)
    cards = [(exported / name / "README.md").read_text() for name in ("generator", "aggregator")]
    assert "for the role `generator` of" in cards[0]
    assert "for the role `aggregator` of" in cards[1]


def test_an_earlier_checkpoint_is_exported_as_it_was(trained, tmp_path):
    found = export(trained, "generator", tmp_path / "first", step=0)
    assert found.step == 0
    tensors = load_file(tmp_path / "first" / "adapter_model.safetensors")
    assert all(not tensor.any() for name, tensor in tensors.items() if ".lora_B." in name)
    assert "this checkpoint (step 0)" in (tmp_path / "first" / "README.md").read_text()


def test_the_checkpoint_of_the_peak_is_exported_by_its_name(trained, tmp_path):
    found = export(trained, "generator", tmp_path / "peak", step="peak")
    assert found.step == trained.summary.peak_step
    assert export(trained, "generator", tmp_path / "best", step="best").step == found.step
    assert export(trained, "generator", tmp_path / "last", step="last").step == trained.checkpoints()[-1]


def test_every_exported_file_can_be_read_by_whoever_may_read_its_neighbours(exported):
    for name in ("generator", "generator-merged"):
        assert len({file.stat().st_mode for file in (exported / name).iterdir()}) == 1


def test_the_card_says_where_the_base_is_and_how_the_episodes_were_sampled(exported):
    card = (exported / "generator" / "README.md").read_text()
    assert "names the base by its path on the machine on which the policy was exported" in card
    assert "one episode per problem, sampled at temperature 1)" in card
    assert "names the base by its path" not in (exported / "generator-merged" / "README.md").read_text()


def test_the_card_of_a_run_with_final_evaluations_has_their_accuracies_and_says_so(trained, tmp_path):
    path = shutil.copytree(trained.path, tmp_path / "run")
    run = Run.read(path)
    table = run.config.model_dump(exclude_none=True)
    table["evaluation"]["final_samples"] = 2
    table["run"]["save_every"] = 1
    (path / "config.toml").write_text(config_from(table).toml())
    for row in run.evaluation_rows():
        if row["split"] == "test":
            run.add_final({**row, "outcomes": {task: [0.0, 1.0] for task in row["outcomes"]}})
    export(Run.read(path), "generator", tmp_path / "card")
    card = (tmp_path / "card" / "README.md").read_text()
    assert "2 episodes per problem, sampled at temperature 1)" in card
    (team,) = (line for line in card.splitlines() if line.startswith("| team |"))
    assert [cell.split()[0] for cell in team.split("|")[2:-1]] == ["50.0"] * 4


@plain_peft
def test_peft_finds_the_base_of_an_adapter_by_itself(exported):
    config = json.loads((exported / "generator" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == BASE
    assert config["revision"] is None
    assert config["inference_mode"] is True
    found = AutoPeftModelForCausalLM.from_pretrained(str(exported / "generator"), dtype=torch.float32)
    assert set(found.peft_config) == {"default"}


def test_the_tokenizer_is_that_of_the_base(exported):
    theirs = AutoTokenizer.from_pretrained(BASE)
    messages = [{"role": "user", "content": QUESTIONS[0]}]
    for name in ("generator", "generator-merged"):
        mine = AutoTokenizer.from_pretrained(exported / name)
        assert mine.get_vocab() == theirs.get_vocab()
        assert mine.apply_chat_template(messages) == theirs.apply_chat_template(messages)


def plainly(interval):
    """`50.0 [16.7, 83.3]`, from a summary's numbers."""
    value, low, high = (100 * interval[name] for name in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def test_the_figures_of_the_card_are_those_of_the_run(trained, exported):
    summary = json.loads((trained.path / "summary.json").read_text())
    text = (exported / "generator" / "README.md").read_text()
    rows = {row.split(" | ")[0].strip("| "): row for row in text.splitlines() if row.startswith("| ")}
    for name, course in (("team", summary), ("generator", summary["roles"]["generator"])):
        cells = [cell.strip() for cell in rows[name].strip("|").split("|")]
        assert cells[1:4] == [plainly(course[stage]) for stage in ("base", "peak", "terminal")]
    last = [row for row in trained.evaluation_rows() if row["split"] == "test"][-1]
    assert [cell.strip() for cell in rows["team"].strip("|").split("|")][4].startswith(f"{100 * last['accuracy']:.1f} ")
    assert f"peak (step {summary['peak_step']})" in text
    assert not any(name.startswith("aggregator") for name in rows)


def test_the_card_says_what_the_policy_was_trained_on_and_with(trained, exported):
    text = (exported / "generator" / "README.md").read_text()
    for split, digest in trained.facts["tasks"].items():
        assert f"| {split} split, SHA-256 | `{digest}` |" in text
    for line in (
        "| base | `micro-medium`, float32 |",
        "| task | arithmetic (train = 64, validation = 4, test = 6) |",
        "| workflow | voting |",
        "| sharing | isolated |",
        "| algorithm | credit outcome, advantage grpo, loss clip, aggregation token, correction none, kl none |",
        "| steps | 2 of 2, each 4 problems x 4 episodes |",
        "| trained | AdamW, learning rate 0.02 |",
        "| adapter | rank 16, alpha 32, all linear layers |",
        "| seed | 0 |",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize(("name", "library"), [("generator", "peft"), ("generator-merged", "transformers")])
def test_the_front_matter_is_what_the_hub_reads(exported, name, library):
    _, front, _ = (exported / name / "README.md").read_text().split("---\n", 2)
    found = {key: json.loads(value) for key, value in (line.split(": ", 1) for line in front.splitlines())}
    assert found["base_model"] == "micro-medium"
    assert found["library_name"] == library
    assert {"counterpoint", "voting"} <= set(found["tags"])


@pytest.mark.parametrize("name", ["generator", "generator-merged"])
def test_the_code_of_the_card_runs_as_it_stands(trained, exported, name):
    text = (exported / name / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1).replace('"..."', repr(QUESTIONS[0]))
    printed = io.StringIO()
    with chdir(exported), redirect_stdout(printed), warnings.catch_warnings(action="ignore"):
        exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    _, ours = said_here(trained, "generator")
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    assert printed.getvalue().rstrip("\n") == tokenizer.decode(ours[0]).rstrip("\n")


def test_the_card_names_a_folder_of_any_name_as_python_reads_it(trained, tmp_path):
    export(trained, "generator", folder := tmp_path / 'a "🙂" of mine')
    code = (folder / "README.md").read_text(encoding="utf-8")
    (named,) = re.findall(r"AutoTokenizer\.from_pretrained\((.*)\)", code)
    assert ast.literal_eval(named) == folder.name


def test_what_cannot_be_exported_is_refused(trained, tmp_path):
    with pytest.raises(ConfigError, match=r"unknown policy 'genrator'; did you mean 'generator'\?"):
        export(trained, "genrator", tmp_path / "out")
    with pytest.raises(RunError, match="has no checkpoint of step 7; there are: 0, 2"):
        export(trained, "generator", tmp_path / "out", step=7)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(RunError, match="full exists and is not empty"):
        export(trained, "generator", tmp_path / "full")
    with pytest.raises(RunError, match="file exists and is not empty"):
        export(trained, "generator", tmp_path / "full" / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_an_empty_directory_is_filled_and_a_missing_one_made(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    export(trained, "generator", tmp_path / "empty")
    export(trained, "generator", tmp_path / "some" / "where")
    for folder in (tmp_path / "empty", tmp_path / "some" / "where"):
        assert (folder / "adapter_model.safetensors").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "some"]


def test_a_directory_that_is_there_stays_the_same_one(trained, tmp_path, monkeypatch):
    (tmp_path / "mine" / ".mine.partial").mkdir(parents=True)
    (tmp_path / "mine" / ".mine.partial" / "half").write_text("half")
    monkeypatch.chdir(tmp_path / "mine")
    before = (tmp_path / "mine").stat().st_ino
    export(trained, "generator", Path())
    assert Path().stat().st_ino == (tmp_path / "mine").stat().st_ino == before
    found = {path.name for path in Path().iterdir()}
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors"} <= found
    assert not {"half", ".mine.partial"} & found


def test_an_export_that_fails_at_its_very_end_leaves_an_empty_directory(trained, tmp_path, monkeypatch):
    def fail(folder):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "mine").mkdir()
    monkeypatch.setattr(Path, "rmdir", fail)
    with pytest.raises(RunError, match=r"mine cannot be written: .*Permission denied; nothing of it is left"):
        export(trained, "generator", tmp_path / "mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def copy_with(trained, path, *tables):
    """The same run with more at the end of its recipe."""
    shutil.copytree(trained.path, path)
    with (path / "config.toml").open("a") as file:
        file.write("\n".join(["", *tables, ""]))
    return Run.read(path)


def test_policies_without_weights_of_their_own_are_refused(trained, tmp_path):
    endpoint = ["[policy.generator.endpoint]", 'url = "http://localhost:1/v1"', 'model = "m"']
    run = copy_with(trained, tmp_path / "one", *endpoint, "[policy.aggregator]", "trainable = false")
    with pytest.raises(ConfigError, match="policy 'generator' is played by an endpoint: it has no weights here"):
        export(run, "generator", tmp_path / "out")
    with pytest.raises(ConfigError, match="policy 'aggregator' is frozen and without an adapter: it is its base"):
        export(run, "aggregator", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_checkpoint_or_with_a_damaged_one_is_refused(trained, tmp_path):
    run = copy_with(trained, tmp_path / "one")
    (run.checkpoint_path(2) / "generator" / "adapter_model.safetensors").unlink()
    with pytest.raises(RunError, match="does not hold an adapter: the checkpoint is damaged"):
        export(run, "generator", tmp_path / "out")
    for step in run.checkpoints():
        shutil.rmtree(run.checkpoint_path(step))
    with pytest.raises(RunError, match="has no checkpoint; there are: none"):
        export(run, "generator", tmp_path / "out")


def test_a_checkpoint_that_was_not_evaluated_has_a_card_without_its_figures(trained, tmp_path):
    run = copy_with(trained, tmp_path / "one")
    (run.path / "evaluations.jsonl").unlink()
    export(run, "generator", tmp_path / "out")
    assert "The run holds no evaluation of this checkpoint." in (tmp_path / "out" / "README.md").read_text()


def test_a_name_on_the_hub_is_kept_with_its_revision(trained, tmp_path, monkeypatch):
    run = copy_with(trained, tmp_path / "one", "[policy.generator.model]", 'path = "us/ours"', 'revision = "v2"')
    real = load_chat(trained.config.model)
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    tokenizer.name_or_path = "us/ours"
    monkeypatch.setattr(
        "counterpoint.base_model.load_chat", lambda model: type(real)(tokenizer=tokenizer, stop_ids=real.stop_ids)
    )
    export(run, "generator", tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("us/ours", "v2")
    text = (tmp_path / "out" / "README.md").read_text()
    assert 'from_pretrained("us/ours", revision="v2", dtype=torch.float32)' in text
    assert "| base | `us/ours`, revision `v2`, float32 |" in text


def test_the_command_writes_a_policy_and_says_what_it_wrote(trained, tmp_path, monkeypatch, capsys):
    out = tmp_path / "solver"
    arguments = ["counterpoint", "export", str(trained.path), "--policy", "generator", "--out", str(out), "--step", "2"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert f"policy generator at step 2, a PEFT adapter for {BASE}" in printed
    assert Path(out / "README.md").is_file()


# What an export must not break on, and what it says


def model_with(folder, **settings):
    """A copy of the base with other generation settings."""
    shutil.copytree(BASE, folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, **settings}))
    return folder


def run_on(trained, path, model, *lines):
    return copy_with(trained, path, "[policy.generator.model]", f"path = {json.dumps(str(model))}", *lines)


def test_generation_settings_that_cannot_be_saved_are_corrected_and_named(trained, tmp_path):
    run = run_on(
        trained, tmp_path / "run", model_with(tmp_path / "model", temperature=0.6, top_p=0.95, pad_token_id=-1)
    )
    found = export(run, "generator", tmp_path / "out", merged=True)
    assert found.notes[1:] == (
        "generation settings: do_sample = true, because temperature, top_p cannot be saved without it",
        "generation settings: without pad_token_id = -1, which transformers does not save",
    )
    saved = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert {name: saved.get(name) for name in ("temperature", "top_p", "do_sample", "pad_token_id")} == {
        "temperature": 0.6,
        "top_p": 0.95,
        "do_sample": True,
        "pad_token_id": None,
    }
    assert saved["eos_token_id"] == sorted(load_chat(run.config.policy_settings("generator").model).stop_ids)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, {}),
        ({"temperature": 0.6}, {"temperature": 0.6, "do_sample": True}),
        ({"top_k": 20, "do_sample": False}, {"top_k": 20, "do_sample": True}),
        ({"min_p": 0.1}, {"min_p": 0.1, "do_sample": True}),
        ({"do_sample": True, "top_p": 0.8, "top_k": 20}, {"do_sample": True, "top_p": 0.8, "top_k": 20}),
        ({"length_penalty": 2.0}, {}),
        ({"early_stopping": True, "repetition_penalty": 1.05}, {"repetition_penalty": 1.05}),
        ({"num_beams": 4, "length_penalty": 2.0}, {"num_beams": 4, "length_penalty": 2.0}),
        ({"pad_token_id": -1, "bos_token_id": 1}, {"bos_token_id": 1}),
        ({"output_scores": True, "max_new_tokens": 9}, {"max_new_tokens": 9}),
        ({"use_cache": False, "cache_implementation": "static"}, {"use_cache": False}),
        ({"temperature": 0.6, "pad_token_id": -1, "early_stopping": True}, {"temperature": 0.6, "do_sample": True}),
    ],
)
def test_generation_settings_are_kept_as_far_as_they_can_be_saved(given, kept, tmp_path):
    settings = GenerationConfig.from_dict(given)
    config = AutoModelForCausalLM.from_pretrained(BASE).config
    model = SimpleNamespace(config=config, generation_config=settings)
    notes = savable(model, [2, 3])
    model.generation_config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert {name: value for name, value in saved.items() if name != "transformers_version"} == {
        "eos_token_id": [2, 3],
        **kept,
    }
    assert bool(notes) == (given != kept)


def test_settings_of_generation_among_those_of_the_model_are_left_out(tmp_path):
    model = base()
    model.config.temperature = 0.5
    assert savable(model, [2]) == ("settings of the model: without temperature = 0.5, which is no such",)
    model.save_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("failure", "caught", "message"),
    [
        (
            OSError(28, "No space left on device"),
            RunError,
            "cannot be written: .*No space left on device; nothing of it",
        ),
        (PermissionError(13, "Permission denied"), RunError, "cannot be written: .*Permission denied; nothing of it"),
        (SafetensorError("I/O error: No space left"), RunError, "cannot be written: I/O error: No space left; nothing"),
        (
            ValueError("GenerationConfig is\n\ninvalid"),
            ModelError,
            "policy 'generator' cannot be saved: GenerationConfig is invalid",
        ),
        (NotImplementedError(), ModelError, "policy 'generator' cannot be saved: NotImplementedError"),
        (RuntimeError("shared tensors"), ModelError, "policy 'generator' cannot be saved: shared tensors"),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
        (SystemExit("stop"), SystemExit, "stop"),
        (MemoryError("no more"), MemoryError, "^no more$"),
    ],
)
@pytest.mark.parametrize("place", ["some/where", "out"])
def test_an_export_that_fails_leaves_nothing(trained, tmp_path, monkeypatch, failure, caught, message, place):
    def fail(self, folder, *arguments, **options):
        (Path(folder) / "half.safetensors").write_text("half")
        raise failure

    merged = place == "out" and isinstance(failure, ValueError)
    monkeypatch.setattr(f"transformers.PreTrained{'Model' if merged else 'TokenizerBase'}.save_pretrained", fail)
    if place == "out":
        (tmp_path / "out").mkdir()
    with pytest.raises(caught, match=message):
        export(trained, "generator", tmp_path / place, merged=merged)
    assert [path.name for path in tmp_path.rglob("*")] == (["out"] if place == "out" else [])


def test_what_an_earlier_export_left_is_replaced(trained, tmp_path):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "model.safetensors").write_text("half")
    export(trained, "generator", tmp_path / "out")
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def rounding_by_hand(trained, dtype):
    """The fractions of the change that is lost, and of the weights that stay."""
    adapter = load_file(trained.checkpoint_path(2) / "generator" / "adapter_model.safetensors")
    plain, whole, lost, changed, same = dict(base().named_parameters()), 0.0, 0.0, 0, 0
    for name in (name for name in adapter if name.endswith(".lora_A.weight")):
        weight = plain[name.removeprefix("base_model.model.").replace(".lora_A", "")].detach().bfloat16().double()
        delta = 2.0 * adapter[name.replace("lora_A", "lora_B")].double() @ adapter[name].double()
        rounded = (weight + delta).float().to(dtype).double()
        whole += delta.abs().sum().item()
        lost += (delta - (rounded - weight)).abs().sum().item()
        changed += (delta != 0).sum().item()
        same += ((rounded == weight) & (delta != 0)).sum().item()
    return lost / whole, same / changed


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_rounding_loses_is_measured_and_said(trained, tmp_path, dtype):
    run = copy_with(trained, tmp_path / "run", "[policy.generator.model]", 'dtype = "bfloat16"')
    found = export(run, "generator", tmp_path / "out", merged=True, dtype=dtype)
    lost, same = rounding_by_hand(trained, getattr(torch, dtype))
    numbers = [float(number) for number in re.findall(r"(\d+\.\d+) %", found.notes[0])]
    assert numbers == pytest.approx([100 * lost, 100 * same], abs=0.011)
    assert (lost > 0.001) == (dtype == "bfloat16")
    assert f"Its weights are in {dtype}: {found.notes[0]}." in (tmp_path / "out" / "README.md").read_text()
    assert f"dtype=torch.{dtype})" in (tmp_path / "out" / "README.md").read_text()
    assert [note for note in found.notes if "twice the space" in note] == (
        ["float32 takes twice the space of the base, which is in bfloat16; --dtype bfloat16 takes half"]
        if dtype == "float32"
        else []
    )
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert str(merged.dtype) == f"torch.{dtype}"


def logprobs(model, ids):
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])).logits.float(), dim=-1)


@plain_peft
def test_a_merged_model_has_the_log_probabilities_of_its_base_in_bfloat16_with_the_adapter(trained, tmp_path):
    run = copy_with(trained, tmp_path / "run", "[policy.generator.model]", 'dtype = "bfloat16"')
    export(run, "generator", tmp_path / "out", merged=True)
    export(run, "generator", tmp_path / "adapter")
    rounded = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.bfloat16).float()
    adapted = PeftModel.from_pretrained(rounded, str(tmp_path / "adapter"))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    ids = list(range(5, 60))
    torch.testing.assert_close(logprobs(merged, ids), logprobs(adapted, ids), rtol=0, atol=2e-4)
    assert (logprobs(merged, ids) - logprobs(base(), ids)).abs().max() > 0.1


@plain_peft
@pytest.mark.parametrize("tied", [True, False])
def test_a_model_in_several_files_with_a_tied_head_or_its_own_is_loaded_whole(trained, tmp_path, monkeypatch, tied):
    config = AutoModelForCausalLM.from_pretrained(BASE).config
    config.tie_word_embeddings = tied
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(BASE).save_pretrained(tmp_path / "model")
    run = run_on(trained, tmp_path / "run", tmp_path / "model")
    whole = PreTrainedModel.save_pretrained
    monkeypatch.setattr(
        PreTrainedModel, "save_pretrained", lambda self, folder: whole(self, folder, max_shard_size="400KB")
    )
    export(run, "generator", tmp_path / "out", merged=True)
    assert (tmp_path / "out" / "model.safetensors.index.json").is_file()
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 2
    export(run, "generator", tmp_path / "adapter")
    one = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    adapted = PeftModel.from_pretrained(one, str(tmp_path / "adapter"))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    torch.testing.assert_close(logprobs(merged, [5, 6, 7]), logprobs(adapted, [5, 6, 7]), rtol=0, atol=1e-4)


def test_a_data_type_that_does_not_fit_is_refused(trained, tmp_path):
    with pytest.raises(ConfigError, match=r"unknown dtype 'bfloat61'; did you mean 'bfloat16'\?"):
        export(trained, "generator", tmp_path / "out", merged=True, dtype="bfloat61")
    with pytest.raises(ConfigError, match=r"dtype = 'bfloat16' is for a merged model \(--merged\)"):
        export(trained, "generator", tmp_path / "out", dtype="bfloat16")


def test_a_base_whose_generation_settings_cannot_be_read_is_one_line(trained, tmp_path):
    run = run_on(trained, tmp_path / "run", model_with(tmp_path / "model", num_return_sequences=4))
    with pytest.raises(ModelError, match=r"^model\.path = .* cannot be loaded: Greedy methods .*num_return_sequences"):
        export(run, "generator", tmp_path / "out", merged=True)


def test_the_exported_template_tells_the_date_of_the_run(trained, tmp_path):
    model = model_with(tmp_path / "model")
    template = "{{ strftime_now('%d %b %Y') }}\n" + (model / "chat_template.jinja").read_text()
    (model / "chat_template.jinja").write_text(template)
    run = run_on(trained, tmp_path / "run", model, 'date = "2024-07-26"')
    found = export(run, "generator", tmp_path / "out")
    assert found.notes == ("its chat template tells the date of the run, 2024-07-26, on whichever day it is used",)
    asked = AutoTokenizer.from_pretrained(tmp_path / "out").apply_chat_template(
        [{"role": "user", "content": "?"}], tokenize=False
    )
    assert asked.startswith("26 Jul 2024")
    assert "| date | 2024-07-26, which the chat template here tells" in (tmp_path / "out" / "README.md").read_text()
