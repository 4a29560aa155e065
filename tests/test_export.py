"""A policy taken out of a run speaks, with plain peft and transformers, as it speaks here."""

import asyncio
import io
import json
import re
import shutil
import sys
import warnings
from contextlib import chdir, redirect_stdout
from pathlib import Path

import pytest
import torch
from conftest import micro_run
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from counterpoint import controls
from counterpoint.base_model import load_chat
from counterpoint.cli.main import main
from counterpoint.errors import ConfigError, RunError
from counterpoint.export.export import export
from counterpoint.models import micro_model
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
