"""Models whose layers keep a state are computed as full passes over single calls compute them.

The architectures are in `hybrids.py`; a model that is slow even when it is tiny is in the slow lane.
"""

import asyncio
import copy
import inspect
import math
import random
from dataclasses import replace

import pytest
import torch
from facts import make_call
from hybrids import HYBRIDS, VOCABULARY, hybrid
from torch_build import sampled
from transformers import AutoConfig, AutoModelForCausalLM

from counterpoint.errors import ModelError
from counterpoint.forwards import forward_of
from counterpoint.forwards._rehearsal import rehearsal_of
from counterpoint.forwards._time_steps import limit_time_steps
from counterpoint.forwards.packed import Packed
from counterpoint.forwards.plain import Plain
from counterpoint.forwards.whole import Whole
from counterpoint.learners._checkpointing import checkpoint_layers
from counterpoint.learners.peft import Peft
from counterpoint.policy import Routing
from counterpoint.recipe import config_from
from counterpoint.samplers._engine import Engine
from counterpoint.samplers._weights import Beside
from counterpoint.samplers.base import Request
from counterpoint.samplers.in_process import InProcess
from counterpoint.testing.reference import plain_logprobs

RECOMPUTED = {"minimax", "recurrent_gemma", "rwkv", "xlstm"}
"""Types whose own cache does not take calls of several lengths: every step computes the whole rows."""
FAST = {"qwen3_5_text", "lfm2", "bamba", "falcon_h1", "nemotron_h", "mamba", "jamba"}
TYPES = [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in HYBRIDS]
LEARNED = [
    pytest.param(name, marks=[] if name in ("lfm2", "bamba") else [pytest.mark.slow])
    for name in ("lfm2", "bamba", "qwen3_5_text", "kimi_linear", "jamba", "falcon_h1", "nemotron_h", "mamba")
]
ISOLATED = Routing({"writer": "writer", "critic": "critic"})


def calls_of(seed: int = 0):
    """Calls of every length: shorter than a convolution, longer than a window of 16 and a chunk of 16, one token."""
    source = random.Random(seed)
    lengths = [(2, 3), (3, 1), (2, 7), (17, 1), (40, 5), (16, 2), (61, 9), (33, 4), (5, 6)]
    calls = []
    for place, (before, after) in enumerate(lengths):
        ids = [source.randrange(3, VOCABULARY) for _ in range(before + after)]
        prompt, said = tuple(ids[:before]), tuple(ids[before:])
        calls.append(
            make_call(
                prompt_ids=prompt, completion_ids=said, logprobs=(0.0,) * after, temperature=(1.0, 0.7)[place % 2]
            )
        )
    return [*calls, replace(calls[4], completion_ids=calls[6].completion_ids)]  # the same prompt once more


def full_pass(model, call):
    """The log-probabilities of the completion: one row, no padding, no cache."""
    ids = torch.tensor([[*call.prompt_ids, *call.completion_ids]])
    logits = model(input_ids=ids, use_cache=False).logits[0, len(call.prompt_ids) - 1 : -1].float()
    logprobs = torch.log_softmax(logits / call.temperature, -1)
    return logprobs[torch.arange(len(call.completion_ids)), torch.tensor(call.completion_ids)]


def furthest(found, wanted):
    return max(float((one[: len(two)] - two).detach().abs().max()) for one, two in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", TYPES)
def test_scores_gradients_and_steps_are_those_of_full_passes(name):
    reference, model = hybrid(name), hybrid(name)
    forward = forward_of(model)
    assert isinstance(forward, Whole)
    assert forward.cached == (name not in RECOMPUTED)
    assert "; plain: " in forward.why
    calls = calls_of()
    weights, same = wanting_gradients(model), wanting_gradients(reference)
    wanted = [full_pass(reference, call) for call in calls]
    found = forward.score(model, calls).logprobs_CT
    assert furthest(found, wanted) < 1e-4
    pulls = torch.linspace(-1.0, 1.0, len(calls))
    slopes = torch.autograd.grad((found * pulls[:, None]).sum(), weights, allow_unused=True)
    expected = torch.autograd.grad(
        sum(pull * one.sum() for pull, one in zip(pulls, wanted, strict=True)), same, allow_unused=True
    )
    assert [one is None for one in slopes] == [one is None for one in expected]
    norm = math.sqrt(sum(float(one.norm()) ** 2 for one in expected if one is not None))
    apart = sum(float((one - two).norm()) ** 2 for one, two in zip(slopes, expected, strict=True) if one is not None)
    assert math.sqrt(apart) / norm < 1e-4
    with torch.no_grad():
        assert furthest(stepped(forward, model, calls), [one.detach() for one in wanted]) < 1e-4
        alone = forward.score(model, calls[:1]).logprobs_CT
        assert furthest(alone, wanted[:1]) < 1e-4


def wanting_gradients(model):
    """All weights that adapters could be on, wanting gradients: neither the head nor the embeddings."""
    outside = {id(part.weight) for part in (model.get_output_embeddings(), model.get_input_embeddings())}
    return [one.requires_grad_() for one in model.parameters() if one.dim() == 2 and id(one) not in outside]


def stepped(forward, model, calls):
    """The log-probabilities of the completions, step by step; finished calls leave, the others are reordered once."""
    prompts = sorted({call.prompt_ids for call in calls})
    decoding = forward.start(model, prompts, [prompts.index(call.prompt_ids) for call in calls], 12)
    found, going = [[] for _ in calls], list(range(len(calls)))
    for step in range(max(len(call.completion_ids) for call in calls)):
        kept = [at for at, row in enumerate(going) if step < len(calls[row].completion_ids)]
        if len(kept) < len(going):
            decoding.keep(torch.tensor(kept))
            going = [going[at] for at in kept]
        before = [(*calls[row].prompt_ids, *calls[row].completion_ids) for row in going]
        at = [len(calls[row].prompt_ids) + step for row in going]
        logits = decoding.logits(torch.tensor([ids[end - 1] for ids, end in zip(before, at, strict=True)]))
        for row, ids, end, one in zip(going, before, at, logits, strict=True):
            found[row].append(torch.log_softmax(one / calls[row].temperature, -1)[ids[end]])
    return [torch.stack(row) for row in found]


# Sampler and learner


def recipe(**learner):
    policies = {"rank": 4, "alpha": 8.0, "learning_rate": 0.01}
    return config_from(
        {"model": {"path": "micro-small"}, "task": {"name": "arithmetic"}, "policies": policies, "learner": learner}
    )


def learner_on(model, routing=ISOLATED, **learner):
    """A learner whose policies have moved away from their base, each by itself."""
    model.name_or_path = "micro-small"
    made = Peft(model, routing.policies, recipe(**learner))
    generator = torch.Generator().manual_seed(3)
    for parameters in made._adapters.parameters.values():
        for tensor_name, tensor in parameters.items():
            if "lora_B" in tensor_name:
                tensor.data.normal_(0.0, 0.2, generator=generator)
    return made


@pytest.mark.parametrize("name", LEARNED)
def test_what_is_sampled_is_what_is_learned_and_no_call_depends_on_others(name):
    base = hybrid(name)
    sampler = InProcess(Engine(copy.deepcopy(base), frozenset({2}), weights=Beside))
    learner = learner_on(copy.deepcopy(base))
    adapters = learner.adapters()
    asyncio.run(sampler.load(adapters))
    requests = [
        Request(
            policy=("writer", "critic")[place % 2],
            prompt_ids=call.prompt_ids,
            max_tokens=1 + (5 * place) % 9,
            temperature=call.temperature,
            seed=place,
        )
        for place, call in enumerate(calls_of())
    ]
    found = sampled(sampler, requests)
    calls = [
        make_call(
            policy=asked.policy,
            prompt_ids=asked.prompt_ids,
            completion_ids=one.ids,
            logprobs=one.logprobs,
            temperature=asked.temperature,
        )
        for asked, one in zip(requests, found, strict=True)
    ]
    said = [torch.tensor(call.logprobs) for call in calls]
    assert furthest([torch.tensor(row) for row in learner.logprobs(calls)], said) < 1e-4
    of = {adapter.policy: adapter for adapter in adapters}
    wanted = [plain_logprobs(base, [call], of[call.policy])[0].detach() for call in calls]
    assert furthest(said, wanted) < 1e-4
    without = [plain_logprobs(base, [call])[0].detach() for call in calls]
    assert furthest(without, wanted) > 0.1  # the adapters matter
    for asked, one in zip(requests[:4], found, strict=False):
        (alone,) = sampled(sampler, [asked])
        assert alone.ids == one.ids
        assert alone.logprobs == pytest.approx(one.logprobs, abs=1e-4)


def test_layers_that_are_computed_twice_give_the_same_gradient():
    calls = calls_of()
    found = []
    for checkpointing in (False, True):
        model = hybrid("qwen3_5_text")
        forward = forward_of(model)
        weights = wanting_gradients(model)
        if checkpointing:
            checkpoint_layers(model, forward)
        found.append(torch.autograd.grad(forward.score(model, calls).logprobs_CT.sum(), weights))
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*found, strict=True))


# The choice


@pytest.mark.parametrize("name", ["bamba", "jamba", "mamba", "lfm2", "qwen3_5_text", "falcon_h1", "nemotron_h"])
def test_a_forward_that_is_silently_wrong_is_found_out(name):
    model = hybrid(name)
    rehearsal = rehearsal_of(model)
    assert rehearsal.why_not(Restarting(), model)
    assert not rehearsal.why_not(Whole(cached=False), model)
    with pytest.raises(ModelError, match=r"^model\.forward = 'plain' is not supported by this model: [^\n]+$"):
        forward_of(model, "plain")
    with pytest.raises(ModelError, match=r"^model\.forward = 'packed' is not supported by this model: [^\n]+$"):
        forward_of(model, "packed")


class Restarting(Whole):
    """Decodes without what came before the last three tokens, as a layer that loses its state does."""

    def start(self, model, prompts, rows, most):
        return Whole(cached=False).start(model, [prompt[-4:] for prompt in prompts], rows, most)


def test_small_errors_of_an_untrained_model_are_found_out_too():
    torch.manual_seed(0)
    config = AutoConfig.for_model("bamba", **HYBRIDS["bamba"])
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)  # it predicts hardly anything
    rehearsal = rehearsal_of(model)
    assert float(torch.cat(list(rehearsal.truth)).std()) < 0.2
    assert rehearsal.why_not(Restarting(), model)
    assert not rehearsal.why_not(Whole(), model)


def test_a_model_that_no_forward_computes_right_is_refused(monkeypatch):
    monkeypatch.setattr("counterpoint.forwards._others", lambda **_: (Plain, Restarting))
    with pytest.raises(ModelError, match=r"^this model is not supported: [^\n]+; whole: its whole decoding steps"):
        forward_of(hybrid("lfm2"))


def test_attention_alone_stays_packed_or_plain():
    settings = {**HYBRIDS["lfm2"], "layer_types": ["full_attention", "full_attention"]}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("lfm2", **settings)).eval()
    assert isinstance(forward_of(copy.deepcopy(model)), Packed)
    assert isinstance(forward_of(model, "whole"), Whole)


# Time steps


@pytest.mark.parametrize("name", ["nemotron_h", pytest.param("zamba2", marks=pytest.mark.slow)])
def test_time_steps_are_limited_in_single_steps_as_in_full_passes(name):
    calls, free, limited = calls_of(), hybrid(name), hybrid(name)
    for model in (free, limited):
        for module in model.modules():
            if hasattr(module, "time_step_limit"):
                module.time_step_limit = (0.8, 1.2)  # so that most steps are limited
    with torch.no_grad():
        wanted = [full_pass(free, call) for call in calls]
        assert furthest(stepped(Whole(), free, calls), wanted) > 1e-2
        limit_time_steps(limited)
        assert furthest([full_pass(limited, call) for call in calls], wanted) < 1e-5
        assert furthest(stepped(Whole(), limited, calls), wanted) < 1e-4


def test_models_without_such_limits_stay_as_they_are():
    for name in ("bamba", "mamba2", "qwen3_5_text"):
        model = hybrid(name)
        limit_time_steps(model)
        assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("name", "fused"), [("bamba", "mamba2_split_conv1d_scan_combined"), ("mamba", "mamba_inner_fn")]
)
def test_kernels_that_read_the_weights_of_adapted_layers_are_never_asked(monkeypatch, name, fused):
    model = hybrid(name)
    forward = forward_of(model)
    weights = wanting_gradients(model)
    checkpoint_layers(model, forward)
    kernels = inspect.getmodule(type(model))
    assert hasattr(kernels, fused)
    monkeypatch.setattr(kernels, fused, lambda *_, **__: pytest.fail("a fused kernel was asked"))
    torch.autograd.grad(forward.score(model, calls_of()[:3]).logprobs_CT.sum(), weights, allow_unused=True)


@torch.no_grad()
@pytest.mark.parametrize("name", ["lfm2", "nemotron_h"])
def test_in_bfloat16_sampler_and_learner_differ_by_rounding_alone(name):
    model, calls = hybrid(name).to(torch.bfloat16), calls_of()
    forward = forward_of(model)
    assert isinstance(forward, Whole)
    assert forward.cached
    found = [
        row[: len(call.completion_ids)]
        for row, call in zip(forward.score(model, calls).logprobs_CT, calls, strict=True)
    ]
    assert furthest(stepped(forward, model, calls), found) < 0.1
    assert furthest(found, [full_pass(hybrid(name), call) for call in calls]) < 0.2
