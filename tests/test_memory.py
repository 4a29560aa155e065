"""The memory that a dry run promises is what sampler and learner take, within a fifth."""

import json
import os
import subprocess
import sys

import pytest
from torch_build import tiny_folder
from transformers import Gemma2Config, Gemma2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from counterpoint.config import ModelConfig
from counterpoint.errors import ModelError
from counterpoint.learners.footprint import footprint
from counterpoint.models import micro_model
from counterpoint.plan.plan import plan
from counterpoint.recipe import load_config

# Takes a step of sampler and learner with replies that never end; prints how many bytes the process had before, and at
# most.
MEASURE = """
import json, re, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from dataclasses import replace
from counterpoint.algorithms.aggregation import token
from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss, clip
from counterpoint.base_model import load_base_model
from counterpoint.learners.peft import Peft
from counterpoint.plan.plan import plan
from counterpoint.plan.memory import _calls
from counterpoint.recipe import load_config
from counterpoint.samplers._engine import Engine
from counterpoint.samplers.base import Request

config = load_config("voting_arithmetic", sys.argv[1:])
made = plan(config)
roles = [[turn for turn in made._turns() if turn.call.key.role == role] for role in made.roles]
calls = [call for turns in roles for call in _calls(turns, config)]
most = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = most()  # getrusage would tell of the process that started this one
base = load_base_model(config.model)
engine = Engine(base.model, frozenset({10**9}))
learner = Peft(base.model, made.setup.routing.policies, config)
engine.load(learner.adapters())
fields = {"max_tokens": config.rollout.max_tokens, "temperature": 1.0}
asked = [Request(policy=one.policy, prompt_ids=one.prompt_ids, seed=at, **fields) for at, one in enumerate(calls)]
said = engine.compute(asked)
spoken = [replace(one, completion_ids=two.ids, logprobs=two.logprobs) for one, two in zip(calls, said)]
made_of = [Sample(task="t", rollout=0, call=one, reward=1.0, advantage=1.0, signal=True) for one in spoken]
for step in (1, 2):
    learner.step(learner.backward(made_of, Loss(clip, token)), step=step)
print(json.dumps([before, most()]))
"""


@pytest.fixture(scope="module")
def middling(tmp_path_factory):
    """A random model of 16 M parameters that is read as the micro models are."""
    folder = tmp_path_factory.mktemp("middling")
    config = Qwen3Config(
        vocab_size=8000,
        hidden_size=512,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=64,
        intermediate_size=1536,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((micro_model("micro-medium") / name).read_bytes())
    return folder


SMALL = ["rollout.tasks_per_step=2", "rollout.max_tokens=40", "task.validation=4", "task.test=4", "run.threads=1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        ["learner.max_tokens_per_micro_batch=2048"],
        ["learner.max_tokens_per_micro_batch=2048", "learner.gradient_checkpointing=true"],
        ["learner.max_tokens_per_micro_batch=512", "policies.rank=256"],
    ],
    ids=["activations", "checkpointing", "adapters"],
)
def test_the_peak_is_what_is_promised_within_a_fifth(middling, changes):
    overrides = [f"model.path={str(middling)!r}", *SMALL, *changes]
    promised = plan(load_config("voting_arithmetic", overrides)).memory().peak
    # Else the C library keeps pieces of memory that was freed, as many as it likes.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, *overrides],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    before, peak = json.loads(measured.stdout.strip().split("\n")[-1])
    assert promised == pytest.approx(peak - before, rel=0.2), f"{promised / 2**20:.0f} MiB promised"


def test_what_is_kept_of_a_token_by_hand():
    """Of the tiny model's two layers, float32: 32 wide, 4 heads of 8 for queries, 2 for keys, 64 between."""
    one = footprint(ModelConfig(path=str(tiny_folder())), rank=4, checkpointing=False)
    assert one.cached == 2 * 2 * 16 * 4
    assert one.logit == 259 * 4
    assert one.logits == 512 * 259 * 4
    assert one.adapter == 4 * 2 * 4 * (64 + 2 * 48 + 64 + 3 * 96)
    assert one.kept > one.cached


def test_layers_that_are_computed_twice_keep_less():
    plain, twice = (
        footprint(ModelConfig(path=str(micro_model("micro-medium"))), rank=8, checkpointing=again)
        for again in (False, True)
    )
    assert twice.kept < 0.5 * plain.kept
    assert twice.weights == plain.weights


def test_the_memory_of_a_model_that_cannot_be_packed_is_said_to_be_unknown(tmp_path):
    config = Gemma2Config(
        vocab_size=600, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        head_dim=8, intermediate_size=16, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).write_bytes((micro_model("micro-medium") / name).read_bytes())
    with pytest.raises(ModelError):
        footprint(ModelConfig(path=str(tmp_path)), rank=4, checkpointing=False)
    lines = plan(load_config("voting_arithmetic", [f"model.path={str(tmp_path)!r}", *SMALL])).lines()
    assert any(line.startswith("memory      unknown: ") for line in lines)
