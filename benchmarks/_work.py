"""Work to be timed: requests to sample, and samples to learn from in the shapes that the workflows give them.

Their tokens are random, always the same; nobody sampled them, and their log-probabilities are 0. Lengths vary by a
quarter around what is asked for.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from counterpoint.algorithms.base import Sample
from counterpoint.config import Config
from counterpoint.episode import Call, CallKey
from counterpoint.forwards._forest import forest_of
from counterpoint.forwards.packed import inputs_of
from counterpoint.recipe import config_from
from counterpoint.samplers.base import Request

POLICY = "shared"
Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of it there is."""

    tasks: int
    group: int
    prompt: int
    """Tokens of what a role is asked first, on average."""
    completion: int
    """Tokens of a reply, on average; exactly, for requests."""

    @property
    def rows(self) -> int:
        return self.tasks * self.group


MICRO = Size(tasks=16, group=8, prompt=36, completion=22)
"""As in the recipe voting_arithmetic, whose generators' prompts have 35 tokens and whose replies have 22."""
LARGE = Size(tasks=8, group=8, prompt=256, completion=256)
ON_A_GPU = 8192
"""Tokens of a micro-batch beside the plain way: with more, its logits do not fit beside all that it keeps."""
ALONE_ON_A_GPU = 40_960
"""Tokens of a micro-batch as in the presets."""
TINY = Size(tasks=2, group=2, prompt=8, completion=4)


def config_for(
    model: str,
    device: str,
    dtype: Literal["float32", "bfloat16"],
    *,
    rank: int = 16,
    batch: int = ON_A_GPU,
) -> Config:
    """A recipe for a learner of one policy; `model` is what its base is called, which is given apart from it.

    On a GPU a micro-batch has `batch` tokens.
    """
    return config_from(
        {
            "model": {"path": model, "device": device, "dtype": dtype},
            "policies": {"sharing": "shared", "rank": rank, "alpha": 2.0 * rank, "learning_rate": 1e-4},
            "learner": {} if device == "cpu" else {"max_tokens_per_micro_batch": batch},
        }
    )


def requests(size: Size, vocabulary: int) -> list[Request]:
    """`group` requests for each of `tasks` prompts."""
    words = _Words(vocabulary)
    prompts = [words.about(size.prompt) for _ in range(size.tasks)]
    return [
        Request(policy=POLICY, prompt_ids=prompt, max_tokens=size.completion, temperature=1.0, seed=number)
        for number, prompt in enumerate(prompt for prompt in prompts for _ in range(size.group))
    ]


def single(size: Size, vocabulary: int) -> list[Sample]:
    """One call an episode."""
    words = _Words(vocabulary)
    told = _Told()
    for _ in range(size.tasks):
        asked = words.about(size.prompt)
        for _ in range(size.group):
            told.say("generator", 0, 0, asked, words.about(size.completion))
    return told.samples


def voting(size: Size, vocabulary: int) -> list[Sample]:
    """Three generators beside each other, and an aggregator that is asked with their replies and answers briefly."""
    words = _Words(vocabulary)
    told = _Told()
    for _ in range(size.tasks):
        asked, before, after = words.about(size.prompt), words.about(size.prompt), words.about(size.prompt // 2)
        for _ in range(size.group):
            drafts = [words.about(size.completion) for _ in range(3)]
            for slot, draft in enumerate(drafts):
                told.say("generator", slot, 0, asked, draft)
            told.say(
                "aggregator", 0, 0, _joined([before, *drafts, after]), words.about(max(2, 2 * size.completion // 3))
            )
    return told.samples


def evaluator_optimizer(size: Size, vocabulary: int) -> list[Sample]:
    """Draft, review, again, three times: each role's prompt extends the tokens of its turn before."""
    words = _Words(vocabulary)
    told = _Told()
    for _ in range(size.tasks):
        asked, judged = words.about(size.prompt), words.about(size.prompt)
        more = words.about(size.prompt // 2)
        for _ in range(size.group):
            drafted, reviewed = asked, judged
            for turn in range(3):
                draft, review = words.about(size.completion), words.about(size.completion)
                told.say("generator", 0, turn, drafted, draft)
                reviewed = _joined([reviewed, draft])
                told.say("evaluator", 0, turn, reviewed, review)
                drafted = _joined([drafted, draft, more, review])
                reviewed = _joined([reviewed, review, more])
    return told.samples


def orchestrator_workers(size: Size, vocabulary: int) -> list[Sample]:
    """An orchestrator, three workers and a synthesizer: only the orchestrator's prompt is asked more than once."""
    words = _Words(vocabulary)
    told = _Told()
    for _ in range(size.tasks):
        asked, problem = words.about(size.prompt), words.about(size.prompt)
        for _ in range(size.group):
            plan = words.about(size.completion)
            told.say("orchestrator", 0, 0, asked, plan)
            solutions = [words.about(size.completion) for _ in range(3)]
            for slot, solution in enumerate(solutions):
                told.say("worker", slot, 0, _joined([problem, words.about(size.completion)]), solution)
            told.say("synthesizer", 0, 0, _joined([problem, *solutions]), words.about(size.completion))
    return told.samples


SHAPES: dict[str, Callable[[Size, int], list[Sample]]] = {
    "voting": voting,
    "evaluator_optimizer": evaluator_optimizer,
    "orchestrator_workers": orchestrator_workers,
}


def packed(samples: Sequence[Sample]) -> tuple[int, int]:
    """The tokens that go through the model, each shared prefix computed once, and the tokens that they attend to."""
    forest = forest_of([inputs_of(sample.call) for sample in samples])
    return len(forest.ids), int((forest.positions + 1).sum())


class _Words:
    """Random tokens, none of them the first few, which tokenizers keep for themselves."""

    def __init__(self, vocabulary: int) -> None:
        self._source = random.Random(0)
        self._vocabulary = vocabulary

    def about(self, length: int) -> Tokens:
        """About so many."""
        count = self._source.randint(max(2, round(0.75 * length)), max(2, round(1.25 * length)))
        return tuple(self._source.randrange(4, self._vocabulary) for _ in range(count))


class _Told:
    """The samples so far, each with an advantage of its own."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self._source = random.Random(1)

    def say(self, role: str, slot: int, turn: int, prompt: Tokens, completion: Tokens) -> None:
        call = Call(
            key=CallKey(role, slot, turn),
            policy=POLICY,
            version=0,
            messages=(),
            prompt_ids=prompt,
            completion_ids=completion,
            logprobs=(0.0,) * len(completion),
            text="",
            finish="stop",
            seed=0,
            temperature=1.0,
        )
        advantage = self._source.gauss(0.0, 1.0)
        number = len(self.samples)
        self.samples.append(
            Sample(task="task", rollout=number, call=call, reward=0.5, advantage=advantage, signal=True)
        )


def _joined(parts: Sequence[Tokens]) -> Tokens:
    return tuple(token for part in parts for token in part)
