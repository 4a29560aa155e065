"""How far sampling and learning are from the floor: the time in which the operations that they need could be done.

The operations are counted by hand, and the rate is that of a large matrix product in this run, with the same threads.
Nothing that could be left out is counted: each distinct prompt once, the head only where a token is predicted, no
gradient of frozen weights. Only the learner's adapter is counted as if it were never merged into the weights, which is
a fourteenth of the operations of `micro-medium`. Small matrices never reach that rate, so even perfect code stays
above 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from benchmarks import _work
from benchmarks._machine import peak_memory, peak_rate
from benchmarks._models import model_of
from benchmarks._sides import Ours
from benchmarks._timing import in_turns, side
from benchmarks.base import Figure, Setting, Target
from benchmarks.learning import size_of as learning_size
from benchmarks.sampling import size_of as sampling_size

SAMPLING_TARGET, LEARNING_TARGET = Target("<=", 2.5), Target("<=", 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one token costs, in floating-point operations of a forward pass."""

    layers: int
    """All weights that a token is multiplied with, but for the head's."""
    head: int
    seen: int
    """For each token that it looks at, itself included."""
    adapter: int = 0
    """Weights of an adapter that is not merged."""

    def forward(self, *, before: int, tokens: int, predicted: int) -> int:
        """Of `tokens` tokens after `before` others, `predicted` of which predict one."""
        looks = tokens * before + tokens * (tokens + 1) // 2
        return 2 * (self.layers + self.adapter) * tokens + 2 * self.head * predicted + self.seen * looks

    def learn(self, *, before: int, tokens: int, predicted: int) -> int:
        """The same, with the gradient: once more for the activations, and for the adapter's weights."""
        return 2 * self.forward(before=before, tokens=tokens, predicted=predicted) + 2 * self.adapter * tokens


def floor(setting: Setting) -> Iterator[Figure]:
    model = model_of(setting)
    vocabulary = model.config.vocab_size
    requests = _work.requests(sampling_size(setting), vocabulary)
    samples = _work.voting(learning_size(setting), vocabulary)
    cost = cost_of(model)
    ours = Ours(model, setting, _work.single(_work.TINY, vocabulary))
    (adapter,) = ours.learner.adapters()
    learning = Cost(
        layers=cost.layers,
        head=cost.head,
        seen=cost.seen,
        adapter=sum(tensor.numel() for tensor in adapter.tensors.values()),
    )
    said = [(one.prompt_ids, one.max_tokens) for one in requests]
    learned = [(one.call.prompt_ids, one.tokens) for one in samples]
    yield _against_the_floor(
        f"sampling, {len(requests)} rows: time / floor",
        partial(ours.sample, requests),
        operations(said, cost.forward),
        sum(tokens for _, tokens in said),
        setting,
        SAMPLING_TARGET,
    )
    yield _against_the_floor(
        f"learning, {len(samples)} calls of voting: time / floor",
        partial(ours.backward, samples),
        operations(learned, learning.learn),
        sum(tokens for _, tokens in learned),
        setting,
        LEARNING_TARGET,
    )


def cost_of(model: Any) -> Cost:
    """Counted off the model's linear layers."""
    head = model.get_output_embeddings()
    linear = [one for one in model.modules() if isinstance(one, torch.nn.Linear) and one is not head]
    config = model.config
    return Cost(
        layers=sum(layer.weight.numel() for layer in linear),
        head=head.weight.numel(),
        seen=4 * config.num_hidden_layers * config.num_attention_heads * config.head_dim,
    )


def operations(calls: Sequence[tuple[Sequence[int], int]], count: Any) -> int:
    """Of some calls, each a prompt and how many tokens were said: each distinct prompt once, up to its last token.

    The last token of a prompt is the first to predict one, the last that was said predicts none.
    """
    prompts = {tuple(prompt) for prompt, _ in calls}
    once = sum(count(before=0, tokens=len(prompt) - 1, predicted=0) for prompt in prompts)
    each = sum(count(before=len(prompt) - 1, tokens=said, predicted=said) for prompt, said in calls)
    return int(once + each)


def _against_the_floor(
    name: str, work: Any, needed: int, tokens: int, setting: Setting, target: Target | None
) -> Figure:
    rates: list[float] = []

    def rate() -> float:
        rates.append(peak_rate(setting))
        return rates[-1]

    seconds = in_turns({"rate": rate, "ours": side(work)}, setting.repeats)
    taken, measured = seconds["ours"], seconds["rate"]
    return Figure(
        name=name,
        values=[one * rate / needed for one, rate in zip(taken, measured, strict=True)],
        target=target,
        parts={
            "ours, s": taken,
            "floor, s": [needed / rate for rate in measured],
            "peak, GFLOP/s": [rate / 1e9 for rate in measured],
            "completion tokens/s": [tokens / one for one in taken],
            "part of the peak": [needed / one / rate for one, rate in zip(taken, measured, strict=True)],
        },
        facts={"operations": needed, "completion_tokens": tokens, "peak_memory_bytes": peak_memory()},
    )
