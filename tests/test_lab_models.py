"""The models of the laboratory: they differ in size alone, and the script that makes them."""

import importlib
import json
from pathlib import Path

import pytest
import torch

import counterpoint as cp
from counterpoint.models import micro_model

ROOT = Path(__file__).parent.parent
LAB = ("lab-small", "lab-medium")
SIZES = {
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "layer_types",
}
SETTINGS = ["run.threads=1", "evaluation.temperature=0.7"]
TASKS = {
    "arithmetic": ["task.name=arithmetic", "rollout.max_tokens=48"],
    "functions": ["task.name=synthesis", "rollout.max_tokens=96"],
}


def read(name, file):
    return json.loads((micro_model(name) / file).read_text(encoding="utf-8"))


def test_the_models_of_the_laboratory_differ_in_size_alone():
    configs = [read(name, "config.json") for name in LAB]
    assert [{key: one[key] for key in one.keys() - SIZES} for one in configs] == [
        {key: configs[0][key] for key in configs[0].keys() - SIZES}
    ] * len(LAB)
    assert [read(name, "pretraining.json") for name in LAB] == [read(LAB[0], "pretraining.json")] * len(LAB)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert len({(micro_model(name) / file).read_bytes() for name in LAB}) == 1, file


def test_they_have_the_sizes_that_they_are_said_to_have_and_little_weight():
    sizes = [(micro_model(name) / "model.safetensors").stat().st_size for name in LAB]
    parameters = [size / 2 for size in sizes]
    assert 0.25e6 < parameters[0] < 0.35e6
    assert 0.8e6 < parameters[1] < 0.95e6
    assert sum(sizes) < 12e6


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("workflow", ["voting", "evaluator_optimizer", "orchestrator_workers"])
def test_every_role_of_every_workflow_can_be_read_on_both_tasks(workflow, task):
    size = ["task.train=8", "task.validation=8", "task.test=32"]
    found = cp.evaluate("lab-small", f"workflow.name={workflow}", *TASKS[task], *size, *SETTINGS)
    numbers = found.run.numbers
    unreadable = {name: value for name, value in numbers.items() if name.endswith("/unreadable")}
    assert unreadable
    assert max(unreadable.values()) < 0.3, unreadable
    assert 0.02 < found.accuracy.value < 0.9


@pytest.mark.slow
def test_pretraining_that_was_killed_and_made_again_gives_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    pretrain_micro = importlib.import_module("pretrain_micro")
    torch.set_num_threads(1)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    settings = {"steps": 4, "peak_rate": 1e-3, "seed": 0, "every": 2}
    pretrain_micro.pretrain("lab-small", unbroken, **settings)
    learned, calls = pretrain_micro.learned, []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return learned(*arguments)

    monkeypatch.setattr(pretrain_micro, "learned", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain_micro.pretrain("lab-small", broken, **settings)
    calls.clear()
    pretrain_micro.pretrain("lab-small", broken, **settings)
    assert len(calls) == 2, "two of the four steps were kept"
    assert (broken / "model.safetensors").read_bytes() == (unbroken / "model.safetensors").read_bytes()
    assert not list(tmp_path.glob("*.pretraining*"))
