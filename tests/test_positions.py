"""Numbers of a call depend on no other call: scaled positions, absolute ones, ALiBi, windows, sinks."""

import copy
import random

import pytest
import torch
from facts import make_call
from torch_build import sampled, start, trained
from transformers import AutoConfig, AutoModelForCausalLM

from counterpoint.adapter import Adapter
from counterpoint.errors import ModelError
from counterpoint.forwards import forward_of
from counterpoint.forwards.positions import Bounded, pin, regime
from counterpoint.plan.plan import plan
from counterpoint.samplers._engine import Engine
from counterpoint.samplers.base import Request
from counterpoint.samplers.in_process import InProcess
from counterpoint.testing.tiny import tiny_config, tiny_model_folder

SIZE = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FACTORS = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.5, 3.0, 6.0, 8.0]}
LONG = {"rope_type": "longrope", "rope_theta": 1e4, **FACTORS, "original_max_position_embeddings": 32}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
BY_LENGTH = {
    "dynamic llama": ("llama", {"max_position_embeddings": 32, "rope_parameters": DYNAMIC}),
    "dynamic qwen2": ("qwen2", {"max_position_embeddings": 32, "rope_parameters": DYNAMIC}),
    "longrope phi3": (
        "phi3",
        {"max_position_embeddings": 256, "original_max_position_embeddings": 32, "rope_parameters": LONG},
    ),
    "longrope llama": ("llama", {"max_position_embeddings": 256, "rope_parameters": LONG}),
    "longrope phimoe": (
        "phimoe",
        {
            "max_position_embeddings": 256,
            "num_local_experts": 4,
            "rope_parameters": {**LONG, "short_mscale": 1.1, "long_mscale": 1.3},
        },
    ),
}
FIXED = {
    "default": ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}),
    "linear": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
    "yarn": (
        "qwen3",
        {
            "head_dim": 8,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1e4,
                "factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        },
    ),
    "llama3": (
        "llama",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 1e4,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            }
        },
    ),
}
OTHERS = {
    "absolute": ("gpt2", {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 256, "n_inner": 48}),
    "absolute with an offset": ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 256}),
    "ALiBi of bloom": ("bloom", {"n_head": 4, "n_layer": 2}),
    "ALiBi of mpt": ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 256}),
    "ALiBi of falcon": ("falcon", {"alibi": True, "new_decoder_architecture": False, "multi_query": False}),
    "window": ("mistral", {"sliding_window": 16}),
    "window and chunks": ("gemma3_text", {"head_dim": 8, "sliding_window": 16}),
    "sinks and experts": ("gpt_oss", {"head_dim": 8, "sliding_window": 16, "num_local_experts": 4}),
    "experts": ("qwen3_moe", {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
}


def model_of(case):
    kind, own = case
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SIZE, **own}))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0.0, parameter[0].numel() ** -0.5)
    return model.eval().requires_grad_(False)


def calls_of(*lengths, seed=0):
    """A call of each length, of which the last five tokens are said."""
    source = random.Random(seed)
    rows = [[source.randrange(3, 90) for _ in range(length)] for length in lengths]
    return [make_call(prompt_ids=tuple(row[:-5]), completion_ids=tuple(row[-5:]), logprobs=(0.0,) * 5) for row in rows]


def full_pass(model, call):
    """One row, without padding or cache, on a copy that has computed nothing before."""
    ids = torch.tensor([[*call.prompt_ids, *call.completion_ids]])
    logits = copy.deepcopy(model)(input_ids=ids, use_cache=False).logits[0, len(call.prompt_ids) - 1 : -1]
    return torch.log_softmax(logits.float(), -1)[torch.arange(5), torch.tensor(call.completion_ids)]


def apart(one, other):
    return float((one - other).abs().max())


def says_the_same_alone_and_beside(model, forward, calls):
    """Scores of all calls, which are the same alone, in any order, and in single steps."""
    together = forward.score(model, calls).logprobs_CT
    for call, row in zip(calls, together, strict=True):
        assert apart(forward.score(model, [call]).logprobs_CT[0], row) < 1e-4
    assert apart(forward.score(model, calls[::-1]).logprobs_CT.flip(0), together) < 1e-4
    decoding = forward.start(model, [call.prompt_ids for call in calls], list(range(len(calls))), 5)
    for step in range(5):
        last = torch.tensor(
            [(*call.prompt_ids, *call.completion_ids)[len(call.prompt_ids) + step - 1] for call in calls]
        )
        found = torch.log_softmax(decoding.logits(last), -1)
        said = torch.tensor([call.completion_ids[step] for call in calls])
        assert apart(found[torch.arange(len(calls)), said], together[:, step]) < 1e-4
    return together


@pytest.mark.parametrize("case", BY_LENGTH.values(), ids=BY_LENGTH)
def test_without_pinning_such_a_model_depends_on_what_stands_beside_a_call(case):
    model = model_of(case)
    short, long = calls_of(20, 60)
    ids = torch.tensor(
        [[*short.prompt_ids, *short.completion_ids] + [0] * 40, [*long.prompt_ids, *long.completion_ids]]
    )
    beside = torch.log_softmax(model(input_ids=ids).logits[0, 14:19], -1)
    assert apart(beside[torch.arange(5), torch.tensor(short.completion_ids)], full_pass(model_of(case), short)) > 0.1


@torch.no_grad()
@pytest.mark.parametrize("case", BY_LENGTH.values(), ids=BY_LENGTH)
def test_calls_within_the_trained_length_are_computed_as_alone(case):
    model, calls = model_of(case), calls_of(20, 32, 7, 31, 12)
    wanted = [full_pass(model, call) for call in calls]
    assert pin(model, 32) == 32
    forward = forward_of(model)
    found = says_the_same_alone_and_beside(model, forward, calls)
    assert max(apart(one, two) for one, two in zip(found, wanted, strict=True)) < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("case", BY_LENGTH.values(), ids=BY_LENGTH)
def test_longer_calls_fix_the_frequencies_of_all_calls(case):
    model, calls = model_of(case), calls_of(20, 60, 7, 33, 12)
    wanted = full_pass(model, calls[1])
    assert pin(model, 60) == 60
    found = says_the_same_alone_and_beside(model, forward_of(model), calls)
    assert apart(found[1], wanted) < 1e-4  # the longest call has the frequencies that it would have alone


@torch.no_grad()
@pytest.mark.parametrize("case", list(BY_LENGTH.values())[:3], ids=list(BY_LENGTH)[:3])
def test_a_model_that_nobody_has_pinned_computes_calls_of_the_trained_length_and_refuses_longer_ones(case):
    model = model_of(case)
    forward = forward_of(model)
    assert isinstance(forward, Bounded)
    (short, long) = calls_of(32, 33)
    assert apart(forward.score(model, [short]).logprobs_CT[0], full_pass(model_of(case), short)) < 1e-4
    with pytest.raises(ModelError, match=r"^a call of 33 tokens: .* scaled for at most 32; pin"):
        forward.score(model, [short, long])
    with pytest.raises(ModelError, match=r"^a call of 34 tokens"):
        forward.start(model, [short.prompt_ids], [0], 7)


@torch.no_grad()
@pytest.mark.parametrize("name", ["longrope phi3", "dynamic llama"])
def test_sampled_log_probabilities_do_not_depend_on_the_wave(name):
    model = model_of(BY_LENGTH[name])
    pin(model, 70)
    sampler = InProcess(Engine(model, frozenset({2})))
    sampler._engine("policy").load([Adapter.base("policy")])
    requests = [
        Request(policy="policy", prompt_ids=call.prompt_ids, max_tokens=5 + place, temperature=1.0, seed=place)
        for place, call in enumerate(calls_of(8, 65, 20, 37, 31))
    ]
    together = sampled(sampler, requests)
    for request, one in zip(requests, together, strict=True):
        (alone,) = sampled(sampler, [request])
        assert alone.ids == one.ids
        assert alone.logprobs == pytest.approx(one.logprobs, abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("case", [*FIXED.values(), *OTHERS.values()], ids=[*FIXED, *OTHERS])
def test_other_positions_depend_on_no_other_call(case):
    model, calls = model_of(case), calls_of(20, 60, 7, 33, 12, 60)
    wanted = [full_pass(model, call) for call in calls]
    assert pin(model, 60) is None
    assert regime(model.config, 10**6) == ""
    found = says_the_same_alone_and_beside(model, forward_of(model), calls)
    assert max(apart(one, two) for one, two in zip(found, wanted, strict=True)) < 1e-4


def test_a_copy_is_pinned_too_and_apart_from_its_original():
    model = model_of(BY_LENGTH["dynamic llama"])
    pin(model, 60)
    other = copy.deepcopy(model)
    pin(other, 32)
    (short,) = calls_of(20)
    assert pin(model) == 60
    assert pin(other) == 32
    assert apart(full_pass(model, short), full_pass(other, short)) > 0.1
    assert apart(full_pass(other, short), full_pass(model_of(BY_LENGTH["dynamic llama"]), short)) < 1e-5


@pytest.mark.parametrize(
    ("name", "longest", "said"),
    [
        ("longrope phi3", 32, "the short factors of LongRoPE, since calls have at most 32 tokens (limit 32)"),
        ("longrope phi3", 33, "the long factors of LongRoPE, since calls have at most 33 tokens (limit 32)"),
        ("longrope phimoe", 2112, "the long factors of LongRoPE, since calls have at most 2,112 tokens (limit 32)"),
        ("dynamic llama", 32, "dynamic NTK, not stretched, since calls have at most 32 tokens (limit 32)"),
        ("dynamic qwen2", 99, "dynamic NTK, stretched to 99 tokens, since calls have at most 99 tokens (limit 32)"),
    ],
)
def test_the_regime_is_told(name, longest, said):
    kind, own = BY_LENGTH[name]
    assert regime(AutoConfig.for_model(kind, **{**SIZE, **own}), longest) == said


def scaled_folder(path):
    """The tiny model, with dynamic NTK scaling from 256 tokens on."""
    tiny_model_folder(path)
    config = AutoConfig.from_pretrained(path)
    config.max_position_embeddings, config.rope_parameters = 256, DYNAMIC
    config.save_pretrained(path)
    return path


def test_a_plan_tells_the_regime_once(tmp_path):
    lines = plan(tiny_config(scaled_folder(tmp_path), {"rollout": {"max_prompt_tokens": 300}})).lines()
    told = [line for line in lines if line.startswith("positions")]
    assert len(told) == 1
    assert told[0].endswith(": dynamic NTK, stretched to 308 tokens, since calls have at most 308 tokens (limit 256)")
    lines = plan(tiny_config(tiny_model_folder(tmp_path / "other"))).lines()
    assert not any(line.startswith("positions") for line in lines)


@pytest.mark.slow
def test_a_run_records_its_regime_and_keeps_sampler_and_learner_together(tmp_path):
    folder = scaled_folder(tmp_path / "model")
    run = trained(start(tmp_path / "run", {"model": {"path": str(folder)}, "rollout": {"max_prompt_tokens": 300}}))
    assert set(run.facts["positions"].values()) == {
        "dynamic NTK, stretched to 308 tokens, since calls have at most 308 tokens (limit 256)"
    }
