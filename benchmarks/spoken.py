"""What becomes of a small adapter on a base in bfloat16: SmolLM2-135M after 1, 10 and 100 steps of the study's size.

    python -m benchmarks.spoken --threads 1

The adapter (rank 64, alpha 32, Adam at 2e-5) is trained in float32 on the base whose weights are rounded to bfloat16,
on its own replies, of which those with many digits are rewarded. The true change that it makes to log-probabilities is
computed there. Then sampler and learner compute with it in bfloat16: as they do, and as they would with weights that
are merged in bfloat16 (the sampler) and outputs that are rounded twice (PEFT's way).
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from counterpoint.adapter import Adapter
from counterpoint.algorithms.aggregation import token
from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss, clip
from counterpoint.base_model import BaseModel, load_base_model
from counterpoint.config import Config
from counterpoint.episode import Call, CallKey, Message
from counterpoint.learners import _lora
from counterpoint.learners.peft import Peft
from counterpoint.policy import Policy
from counterpoint.recipe import load_config
from counterpoint.samplers import _weights
from counterpoint.samplers._engine import Engine
from counterpoint.samplers.base import Request
from counterpoint.spoken import LARGE, canary

POLICY = "shared"
STEPS = (1, 10, 100)
PROMPTS, GROUP, TOKENS = 3, 4, 16
RECIPE = ["policies.sharing='shared'", "policies.rank=64", "policies.alpha=32.0", "policies.learning_rate=2e-5"]
Values = Any
"""A numpy array of log-probabilities, one per token."""


@dataclass(frozen=True)
class Side:
    """Log-probabilities of the same tokens with the adapter and without it."""

    adapted: Values
    base: Values

    @property
    def change(self) -> Values:
        return self.adapted - self.base


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = load_config("voting_smollm2", RECIPE)
    half = load_config("voting_smollm2", [*RECIPE, "model.dtype='bfloat16'"])
    exact = Exact(config)
    rounded = Rounded(half)
    rounded.report("a canary", replace(canary(exact.adapter, LARGE, seed=0), version=0), exact)
    for step, adapter in exact.trained(max(given.steps)):
        if step in given.steps:
            rounded.report(f"step {step}", adapter, exact)


class Exact:
    """The learner in float32, on a base with the values of bfloat16, and the sampler beside it."""

    def __init__(self, config: Config) -> None:
        self.base = load_base_model(config.model)
        for parameter in self.base.model.parameters():
            parameter.data = parameter.data.bfloat16().float()
        self.engine = Engine(self.base.model, self.base.chat.stop_ids, weights=_weights.Beside)
        self.learner = Peft(self.base.model, [Policy(name=POLICY, roles=())], config)

    @property
    def adapter(self) -> Adapter:
        """The adapter of the learner, as it is."""
        return self.learner.adapters()[0]

    def trained(self, steps: int) -> Iterator[tuple[int, Adapter]]:
        """Every step with the adapter after it."""
        for step in range(1, steps + 1):
            self.engine.load([self.adapter])
            calls = generated(self.engine, self.base, seed=step)
            self.learner.step(self.learner.backward(list(_rewarded(calls)), Loss(clip, token)), step=step)
            yield step, self.adapter

    def side(self, adapter: Adapter, calls: Sequence[Call]) -> Side:
        return Side(flat(self.learner.logprobs_with(adapter, calls)), flat(self.learner.base_logprobs(calls)))


class Rounded:
    """Sampler and learner in bfloat16."""

    def __init__(self, config: Config) -> None:
        self.base = load_base_model(config.model)
        self.engine = Engine(self.base.model, self.base.chat.stop_ids)
        with mock.patch.object(_weights, "_has_half", return_value=False):
            self.merged = Engine(self.base.model, self.base.chat.stop_ids)
        self.learner = Peft(self.base.model, [Policy(name=POLICY, roles=())], config)

    def report(self, name: str, adapter: Adapter, exact: Exact) -> None:
        """Print how the changes agree, on replies that the sampler generates with the adapter."""
        self.engine.load([adapter])
        calls = generated(self.engine, self.base, seed=10**6)
        true, learned, scored = exact.side(adapter, calls), self._learned(adapter, calls), self._scored(calls)
        recorded = Side(flat([call.logprobs for call in calls]), learned.base)
        self.merged.load([adapter])
        merged = Side(flat(self.merged.logprobs(calls)), flat(self.merged.logprobs(calls, base=True)))
        with rounded_twice():
            before = self._learned(adapter, calls)
        print(f"{name}: {len(true.base)} tokens, the true change is {rms(true.change):.3f} nats (rms)")
        print(f"  rounding alone: learner {rms(learned.base - true.base):.3f} nats off")
        for label, one, other in (
            ("learner, and the true change", learned, true),
            ("sampler, scored, and learner", scored, learned),
            ("sampler, as recorded, and learner", recorded, learned),
            ("before: learner, and the true change", before, true),
            ("before: sampler, and the true change", merged, true),
            ("before: sampler, and learner", merged, before),
        ):
            print(f"  {label}: correlation {correlation(one, other):.3f}, share {share(one, other):.2f}", flush=True)

    def _learned(self, adapter: Adapter, calls: Sequence[Call]) -> Side:
        return Side(flat(self.learner.logprobs_with(adapter, calls)), flat(self.learner.base_logprobs(calls)))

    def _scored(self, calls: Sequence[Call]) -> Side:
        ordered = sorted(calls, key=lambda call: (*call.prompt_ids, *call.completion_ids))
        place = {id(call): index for index, call in enumerate(ordered)}
        rows = [self.engine.logprobs(ordered, base=base) for base in (False, True)]
        return Side(*(flat([found[place[id(call)]] for call in calls]) for found in rows))


def rounded_twice() -> Any:
    """While it is open, the base's output is rounded before the adapter's is added."""

    def twice(
        x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        between_NR = x_NI @ a_RI.to(x_NI.dtype).T
        b_RO = b_OR.to(x_NI.dtype).T
        return linear(x_NI, weight_OI, bias_O).addmm_(between_NR, b_RO, alpha=scale), between_NR

    return mock.patch.multiple(_lora, adapted_linear=twice)


def generated(engine: Engine, base: BaseModel, *, seed: int) -> list[Call]:
    """Replies to some questions of arithmetic, by the policy as the engine has it."""
    source = np.random.default_rng(seed)
    numbers = source.integers(2, 20, size=(PROMPTS, 2)).tolist()
    texts = [f"What is {one} {source.choice(['+', '-', '*'])} {other}? Think briefly." for one, other in numbers]
    prompts = [base.chat.prompt([Message(role="user", content=text)]) for text in texts]
    requests = [
        Request(policy=POLICY, prompt_ids=prompt, max_tokens=TOKENS, temperature=0.7, seed=1000 * seed + number)
        for number, prompt in enumerate(prompt for prompt in prompts for _ in range(GROUP))
    ]
    return [
        Call(
            key=CallKey("generator", 0, 0),
            policy=POLICY,
            version=said.version,
            messages=(),
            prompt_ids=asked.prompt_ids,
            completion_ids=said.ids,
            logprobs=said.logprobs,
            text=base.chat.text(said.ids),
            finish=said.finish,
            seed=asked.seed,
            temperature=asked.temperature,
        )
        for asked, said in zip(requests, engine.compute(requests), strict=True)
    ]


def _rewarded(calls: Sequence[Call]) -> Iterator[Sample]:
    """Each call's reward is its fraction of digits, its advantage that within its group."""
    rewards = np.array([sum(map(str.isdigit, call.text)) / max(1, len(call.text)) for call in calls])
    groups = rewards.reshape(-1, GROUP)
    advantages = (groups - groups.mean(1, keepdims=True)) / (groups.std(1, keepdims=True) + 1e-6)
    for number, (call, reward, advantage) in enumerate(zip(calls, rewards, advantages.ravel(), strict=True)):
        yield Sample(
            task=str(number // GROUP), rollout=number, call=call, reward=float(reward), advantage=float(advantage),
            signal=True,
        )  # fmt: skip


def correlation(one: Side, other: Side) -> float:
    return float(np.corrcoef(one.change, other.change)[0, 1]) if one.change.any() else 0.0


def share(one: Side, other: Side) -> float:
    """The slope of the one change over the other."""
    return float(np.polyfit(other.change, one.change, 1)[0])


def rms(values: Values) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def flat(rows: Sequence[Sequence[float]]) -> Values:
    return np.array([value for row in rows for value in row])


if __name__ == "__main__":
    main()
