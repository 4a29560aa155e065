"""The assumptions of `benchmarks/placement.py`: episodes, lengths of replies, GPUs, and what a decoding step takes."""

import random
from dataclasses import dataclass
from math import exp, log
from statistics import NormalDist, fmean

GB = 1e9


@dataclass(frozen=True, slots=True)
class Turn:
    """The calls that an episode makes at once; the next turn begins when all of them have ended."""

    role: str
    calls: int
    prompt: int
    """Tokens."""
    shared: bool
    """True if all calls of a task have the same prompt, which a replica then reads once."""


VOTING = (Turn("generator", 3, 600, shared=True), Turn("aggregator", 1, 3600, shared=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Assumptions, all stated: Qwen3-4B with adapters of rank 64 in bfloat16 on H100s, voting of three and one."""

    turns: tuple[Turn, ...] = VOTING
    tasks: int = 64
    """Per step."""
    group: int = 8
    """Episodes per task."""
    median: float = 750.0
    """Tokens of the median reply, before the longest are cut."""
    spread: float = 0.8
    """Standard deviation of the logarithm of a reply's tokens: a log-normal distribution."""
    most: int = 5120
    """Tokens at which a reply is cut."""
    lengths: tuple[int, ...] = ()
    """Measured lengths of replies, drawn from in place of that distribution."""
    between: float = 0.05
    """Seconds from the end of a turn to the beginning of the next: replies parsed, prompts written."""
    weights: float = 8.04 * GB
    """Bytes of the base."""
    parameters: float = 4.02e9
    kv: float = 147_456.0
    """Bytes of keys and values per token."""
    cache: float = 60.0 * GB
    """Bytes of keys and values that fit, on a GPU that generates only."""
    cache_beside: float = 24.0 * GB
    """The same on a GPU that also learns."""
    rows: int = 512
    """The most calls that a replica generates at once."""
    bandwidth: float = 0.7 * 3.35e12
    """Bytes per second that decoding reaches."""
    peak: float = 989e12
    """Operations per second of the data sheet."""
    decode_part: float = 0.5
    """The part of the peak that the matrix products of decoding reach."""
    launch: float = 3e-3
    """Seconds of a decoding step beside its bytes and operations."""
    lora: float = 0.15
    """How much longer a decoding step takes with adapters."""
    prefill: float = 45_000.0
    """Tokens of prompts per second; nothing is generated meanwhile."""
    learn_part: float = 0.12
    """The part of the peak that learning reaches."""
    learn_operations: float = 6.0
    """Per parameter and token: forward, forward again, backward to the activations."""
    gradient: float = 0.53 * GB
    """Bytes of the gradient of a role."""
    link: float = 50.0 * GB
    """Bytes per second between ranks: 400 Gb/s."""
    update: float = 2.0
    """Seconds per step beside the gradients: weights of the loss, optimizer, proofs, records."""
    publish: float = 5.0
    """Seconds until every replica has proved the new adapters."""
    steps: int = 20
    flush: int = 5
    """Steps between checkpoints or evaluations, across which nothing is played ahead."""
    crowded: float = 1.25
    """A replica takes no further episode because of its task once it has this many times the mean."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Replicas and ranks, a GPU each; `beside` are both on one GPU, which never works on two things at once."""

    replicas: int
    ranks: int
    overlap: bool = False
    beside: bool = False

    def __post_init__(self) -> None:
        if self.beside and (self.overlap or self.replicas != self.ranks):
            raise ValueError("on GPUs that do both, every replica has its rank, and nothing overlaps")

    @property
    def gpus(self) -> int:
        return self.replicas if self.beside else self.replicas + self.ranks


@dataclass(slots=True)
class Episode:
    """An episode of a task: the replies of its turns, in tokens."""

    task: int
    replies: tuple[tuple[int, ...], ...]
    open: int = 0
    """Calls of the present turn that have not ended."""


def episodes_of(facts: Facts, seed: int) -> list[Episode]:
    """The episodes of a step, task by task; the same for the same seed."""
    source = random.Random(seed)
    return [
        Episode(task, tuple(tuple(_length(facts, source) for _ in range(turn.calls)) for turn in facts.turns))
        for task in range(facts.tasks)
        for _ in range(facts.group)
    ]


def _length(facts: Facts, source: random.Random) -> int:
    if facts.lengths:
        return source.choice(facts.lengths)
    drawn = source.lognormvariate(log(facts.median), facts.spread) if facts.spread else facts.median
    return max(1, min(facts.most, round(drawn)))


def mean_length(facts: Facts) -> float:
    """The expected tokens of a reply that is cut at the most."""
    if facts.lengths:
        return fmean(facts.lengths)
    if not facts.spread:
        return min(facts.most, facts.median)
    normal, cut = NormalDist(), (log(facts.most) - log(facts.median)) / facts.spread
    below = facts.median * exp(facts.spread**2 / 2) * normal.cdf(cut - facts.spread)
    return below + facts.most * (1 - normal.cdf(cut))


def decode_seconds(facts: Facts, rows: int, tokens: float) -> float:
    """Seconds of one decoding step of `rows` calls that have `tokens` tokens before them in all."""
    products = 2 * facts.parameters * rows / (facts.peak * facts.decode_part)
    bytes_read = max(facts.weights / facts.bandwidth, products) + facts.kv * tokens / facts.bandwidth
    return (facts.launch + bytes_read) * (1 + facts.lora)
