"""The model behind `benchmarks/placement.py`: replicas that generate, ranks that learn, and the steps made of both."""

import heapq
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil, floor, sqrt
from statistics import fmean

from benchmarks._placed_facts import Episode, Facts, Layout, decode_seconds, episodes_of


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
    """The episodes of each replica, as `counterpoint.samplers.replicas` shares them out.

    Those of a task are on one, until it is crowded.
    """
    homes: dict[int, int] = {}
    found: list[list[Episode]] = [[] for _ in range(replicas)]
    most = max(1, floor(facts.crowded * len(episodes) / replicas))
    for episode in episodes:
        home = homes.get(episode.task)
        if home is None or len(found[home]) >= most:
            home = min(range(replicas), key=lambda place: len(found[place]))
        homes[episode.task] = home
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
    each = facts.learn_operations * facts.parameters / (facts.peak * facts.learn_part)
    seconds, busy, total = facts.update, 0.0, 0
    for number in range(len(facts.turns)):
        parts = [_distinct(facts, number, part) for part in _split(facts, episodes, number, ranks)]
        seconds += max(parts) * each + _added_up(facts, ranks)
        busy += fmean(parts) * each
        total += sum(parts)
    return Learned(seconds, busy, total)


def _added_up(facts: Facts, ranks: int) -> float:
    return 2 * facts.gradient * (ranks - 1) / ranks / facts.link


def _split(facts: Facts, episodes: Sequence[Episode], number: int, ranks: int) -> list[list[tuple[int, int]]]:
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
