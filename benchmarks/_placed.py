"""The model behind `benchmarks/placement.py`: replicas that generate, ranks that learn, and the steps made of both."""

import heapq
import random
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil, log, sqrt
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
    """A task's replica takes no more of its episodes once it has this many times the mean."""


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


@dataclass(slots=True)
class Played:
    """A batch of episodes that was played."""

    seconds: float
    tokens: int
    said: list[tuple[float, int]]
    """Of every call, the second in which it ended and its tokens."""
    busy: float
    """Seconds in which a replica had something to do, the mean over replicas."""
    prefill: float
    """Seconds of it in which prompts were read, the mean over replicas."""

    @property
    def tail(self) -> float:
        """Seconds that are left when 95 % of the tokens belong to calls that have ended."""
        done = 0
        for second, tokens in sorted(self.said):
            done += tokens
            if done >= 0.95 * self.tokens:
                return self.seconds - second
        return 0.0


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
    below = facts.median * 2.718281828459045 ** (facts.spread**2 / 2) * normal.cdf(cut - facts.spread)
    return below + facts.most * (1 - normal.cdf(cut))


def decode_seconds(facts: Facts, rows: int, tokens: float) -> float:
    """Seconds of one decoding step of `rows` calls that have `tokens` tokens before them in all."""
    products = 2 * facts.parameters * rows / (facts.peak * facts.decode_part)
    bytes_read = max(facts.weights / facts.bandwidth, products) + facts.kv * tokens / facts.bandwidth
    return (facts.launch + bytes_read) * (1 + facts.lora)


@dataclass(order=True, slots=True)
class _Call:
    """A call that waits or is generated; the order is that of its end."""

    end: int
    """Decoding steps of its replica at which it ends."""
    number: int
    episode: Episode = field(compare=False)
    turn: int = field(compare=False)
    prompt: int = field(compare=False)
    reply: int = field(compare=False)


class Replica:
    """One engine. A call is taken in when its prompt and its whole reply have room: nothing is ever preempted."""

    def __init__(self, facts: Facts, cache: float) -> None:
        self._facts, self._room = facts, cache / facts.kv
        self._arrivals: list[tuple[float, int, _Call]] = []
        self._waiting: deque[_Call] = deque()
        self._running: list[_Call] = []
        self._read: set[tuple[int, int]] = set()
        self._sharing: Counter[tuple[int, int]] = Counter()
        self._now, self._steps, self._context, self._held, self._numbers = 0.0, 0, 0.0, 0.0, 0
        self.busy = self.prefill = 0.0
        self.said: list[tuple[float, int]] = []

    def play(self, episodes: Sequence[Episode]) -> float:
        """Seconds until all of them have ended."""
        for episode in episodes:
            self._turn(episode, 0, 0.0)
        while self._arrivals or self._waiting or self._running:
            while self._arrivals and self._arrivals[0][0] <= self._now:
                self._waiting.append(heapq.heappop(self._arrivals)[2])
            self._admit()
            if self._running:
                self._decode()
            else:
                self._now = max(self._now, self._arrivals[0][0])
        return self._now

    def _turn(self, episode: Episode, turn: int, when: float) -> None:
        prompt = self._facts.turns[turn].prompt
        episode.open = len(episode.replies[turn])
        for reply in episode.replies[turn]:
            self._numbers += 1
            call = _Call(0, self._numbers, episode, turn, prompt, reply)
            if prompt + reply > self._room:
                raise ValueError(f"a call of {prompt + reply} tokens does not fit into a cache of {self._room:.0f}")
            heapq.heappush(self._arrivals, (when, self._numbers, call))

    def _admit(self) -> None:
        fresh = 0
        while self._waiting and len(self._running) < self._facts.rows:
            call = self._waiting[0]
            new = 0 if self._sharing[_key(call)] else call.prompt
            if self._held + new + call.reply > self._room:
                break
            self._waiting.popleft()
            if self._facts.turns[call.turn].shared:
                fresh += 0 if _key(call) in self._read else call.prompt
                self._read.add(_key(call))
                self._sharing[_key(call)] += 1
            else:
                fresh += call.prompt
            call.end = self._steps + call.reply
            heapq.heappush(self._running, call)
            self._held += new + call.reply
            self._context += call.prompt
        self._pass(fresh / self._facts.prefill)
        self.prefill += fresh / self._facts.prefill

    def _decode(self) -> None:
        """Decoding steps until a call ends, or one arrives."""
        rows, count = len(self._running), self._running[0].end - self._steps
        first = decode_seconds(self._facts, rows, self._context)
        more = decode_seconds(self._facts, rows, self._context + rows) - first
        if self._arrivals:
            count = min(count, _steps_within(self._arrivals[0][0] - self._now, first, more))
        self._pass(count * first + more * count * (count - 1) / 2)
        self._steps += count
        self._context += rows * count
        while self._running and self._running[0].end == self._steps:
            self._end(heapq.heappop(self._running))

    def _end(self, call: _Call) -> None:
        self._sharing[_key(call)] -= self._facts.turns[call.turn].shared
        self._held -= call.reply + (0 if self._sharing[_key(call)] else call.prompt)
        self._context -= call.prompt + call.reply
        self.said.append((self._now, call.reply))
        call.episode.open -= 1
        if not call.episode.open and call.turn + 1 < len(self._facts.turns):
            self._turn(call.episode, call.turn + 1, self._now + self._facts.between)

    def _pass(self, seconds: float) -> None:
        self._now += seconds
        self.busy += seconds


def _key(call: _Call) -> tuple[int, int]:
    """Calls with equal keys have the same prompt, where their turn shares it."""
    return call.episode.task, call.turn


def _steps_within(seconds: float, first: float, more: float) -> int:
    """The fewest steps that take at least so long; the first takes `first`, each further one `more` longer."""
    if seconds <= first:
        return 1
    if more <= 0:
        return ceil(seconds / first)
    half = first / more - 0.5
    return max(1, ceil(sqrt(half * half + 2 * seconds / more) - half))


def placed(facts: Facts, episodes: Sequence[Episode], replicas: int) -> list[list[Episode]]:
    """The episodes of each replica: all of a task on one, unless it has more than its share."""
    homes: dict[int, int] = {}
    found: list[list[Episode]] = [[] for _ in range(replicas)]
    for count, episode in enumerate(episodes, start=1):
        least = min(range(replicas), key=lambda place: len(found[place]))
        home = homes.setdefault(episode.task, least)
        if len(found[home]) + 1 > max(1.0, facts.crowded * count / replicas, facts.crowded * facts.group):
            home = least
        found[home].append(episode)
    return found


def play(facts: Facts, episodes: Sequence[Episode], layout: Layout) -> Played:
    """A step's episodes on the replicas of a layout."""
    cache = facts.cache_beside if layout.beside else facts.cache
    engines = [Replica(facts, cache) for _ in range(layout.replicas)]
    parts = placed(facts, episodes, layout.replicas)
    seconds = max(engine.play(part) for engine, part in zip(engines, parts, strict=True))
    said = [one for engine in engines for one in engine.said]
    return Played(
        seconds=seconds,
        tokens=sum(tokens for _, tokens in said),
        said=said,
        busy=fmean(engine.busy for engine in engines),
        prefill=fmean(engine.prefill for engine in engines),
    )


@dataclass(frozen=True, slots=True)
class Learned:
    """A batch that was learned from."""

    seconds: float
    busy: float
    """Seconds in which a rank computed, the mean over ranks."""
    tokens: int
    """Tokens of which gradients were computed, shared prompts once per rank."""


def learn(facts: Facts, episodes: Sequence[Episode], ranks: int) -> Learned:
    """Gradients role by role, each split over the ranks by tokens and added up; then the update."""
    rate = facts.peak * facts.learn_part / (facts.learn_operations * facts.parameters)
    seconds, busy, total = facts.update, 0.0, 0
    for number in range(len(facts.turns)):
        parts = [_distinct(facts, number, part) for part in _split(facts, episodes, number, ranks)]
        seconds += max(parts) / rate + _added_up(facts, ranks)
        busy += fmean(parts) / rate
        total += sum(parts)
    return Learned(seconds, busy, total)


def _added_up(facts: Facts, ranks: int) -> float:
    return 2 * facts.gradient * (ranks - 1) / ranks / facts.link


def _split(
    facts: Facts, episodes: Sequence[Episode], number: int, ranks: int
) -> list[list[tuple[int, int]]]:
    """(task, reply) of each rank's calls of a turn: contiguous, and as equal by tokens as whole calls allow."""
    calls = [(episode.task, reply) for episode in episodes for reply in episode.replies[number]]
    turn = facts.turns[number]
    before = list(accumulate((reply + (0 if turn.shared else turn.prompt) for _, reply in calls), initial=0))
    parts: list[list[tuple[int, int]]] = [[] for _ in range(ranks)]
    for call, one, other in zip(calls, before[:-1], before[1:], strict=True):
        parts[min(ranks - 1, int((one + other) / 2 * ranks / before[-1]))].append(call)
    return parts


def _distinct(facts: Facts, number: int, part: Sequence[tuple[int, int]]) -> int:
    turn = facts.turns[number]
    prompts = len({task for task, _ in part}) if turn.shared else len(part)
    return sum(reply for _, reply in part) + turn.prompt * prompts


@dataclass(frozen=True, slots=True)
class Result:
    """The mean step of a layout: its seconds, and where they went."""

    layout: Layout
    step: float
    play: float
    learn: float
    tail: float
    prefill: float
    tokens: float
    """Generated per step."""
    waits: float
    """Seconds per step in which learning waits for replies, or both wait: everything but learning and publishing."""
    sampler_busy: float
    """The part of the time in which a replica works."""
    learner_busy: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.step


def simulate(facts: Facts, layout: Layout, seed: int = 0) -> Result:
    """The mean over `facts.steps` steps, of which every `facts.flush`-th empties the pipeline."""
    batches = [episodes_of(facts, seed * 100_003 + step) for step in range(facts.steps)]
    played = [play(facts, batch, layout) for batch in batches]
    learned = [learn(facts, batch, layout.ranks) for batch in batches]
    spans = list(_spans([one.seconds for one in played], [one.seconds for one in learned], facts, layout))
    whole = sum(spans)
    return Result(
        layout=layout,
        step=whole / facts.steps,
        play=fmean(one.seconds for one in played),
        learn=fmean(one.seconds for one in learned),
        tail=fmean(one.tail for one in played),
        prefill=fmean(one.prefill for one in played),
        tokens=fmean(one.tokens for one in played),
        waits=whole / facts.steps - fmean(one.seconds for one in learned) - facts.publish,
        sampler_busy=sum(one.busy for one in played) / whole,
        learner_busy=sum(one.busy for one in learned) / whole,
    )


def _spans(played: Sequence[float], learned: Sequence[float], facts: Facts, layout: Layout) -> Iterator[float]:
    """Seconds of each step, from its beginning to the next one's; what was played ahead is not waited for again."""
    waiting = played[0]
    for step, seconds in enumerate(learned, start=1):
        ahead = layout.overlap and step % facts.flush and step < len(played)
        beside = max(seconds, played[step]) if ahead else seconds
        yield waiting + beside + facts.publish
        waiting = 0.0 if ahead or step == len(played) else played[step]
