"""Calls that wait for room begin while others go on: they say what each says alone, within the limits."""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from test_in_process_sampler import BASE, new_sampler, requests
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch_build import sampled, tiny_folder

from counterpoint.config import ModelConfig
from counterpoint.forwards import _decoding as decoding_part
from counterpoint.forwards import _replay as replay_part
from counterpoint.forwards._caches import token_bytes
from counterpoint.learners.footprint import footprint
from counterpoint.samplers import _loop as loop_part
from counterpoint.samplers import _room as room_part
from counterpoint.samplers._loop import spoken
from counterpoint.samplers._room import Room, room_of
from counterpoint.samplers._seats import Seats
from counterpoint.samplers.base import Request

STOPS = frozenset(range(0, 259, 20))


def uneven(count=40, seed=0):
    """Calls with limits from 1 to 40 and two temperatures, on four prompts."""
    source = random.Random(seed)
    return [
        replace(one, max_tokens=source.choice([1, 2, 5, 12, 40]), temperature=source.choice([1.0, 1.0, 0.7]))
        for one in requests(count)
    ]


@cache
def alone():
    """What each of them says when it is the only row."""
    return sampled(new_sampler(stops=STOPS, max_rows=1), uneven())


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert (one.ids, one.finish) == (other.ids, other.finish)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


@pytest.fixture
def joined(monkeypatch):
    """How many calls joined, each time."""
    counts = []
    admit = decoding_part.PackedDecoding.admit

    def counted(self, rows):
        if self._own:
            counts.append(len(rows))
        admit(self, rows)

    monkeypatch.setattr(decoding_part.PackedDecoding, "admit", counted)
    return counts


@pytest.mark.parametrize(
    ("forward", "options"),
    [
        ("packed", {"max_rows": 7}),
        ("packed", {"max_cache_tokens": 700}),
        ("plain", {"max_cache_tokens": 700}),
        ("whole", {"max_rows": 16}),
    ],
)
def test_they_say_what_each_says_alone(options, forward, joined):
    asked = uneven()
    sampler = new_sampler(stops=STOPS, forward=forward, **options)
    found = sampled(sampler, asked)
    assert bool(joined) == (forward == "packed")
    same(found, alone())
    assert sampled(sampler, asked) == found, "the same to the bit, in the same order"


class Tape(TorchDispatchMode):
    """What a CUDA graph does: the operations again, on the tensors of the recording."""

    def __init__(self):
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, found))
        return found

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, found in self.done:
            for old, new in zip(tree_leaves(found), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


@pytest.fixture
def recorded(monkeypatch):
    """Steps as on a GPU, whose graphs are tapes. How often one was replayed."""
    counts = []

    def called(self, compute: Callable[[], None], device):
        if self._normal_left:
            self._normal_left -= 1
            compute()
        elif self._graph is None:
            with Tape() as self._graph:
                compute()
        else:
            counts.append(1)
            self._graph.replay()

    monkeypatch.setattr(decoding_part, "_on_a_gpu", lambda model: True)
    monkeypatch.setattr(decoding_part, "_CAPACITY_ON_A_GPU", 16)
    monkeypatch.setattr(replay_part.Replay, "__call__", called)
    return counts


@pytest.mark.parametrize("look", [1, 4])
def test_recorded_steps_say_what_each_says_alone(look, monkeypatch, joined, request):
    expected = alone()
    counts = request.getfixturevalue("recorded")
    monkeypatch.setattr(loop_part, "_steps_unseen", lambda device: look)
    same(sampled(new_sampler(stops=STOPS, max_rows=12), uneven()), expected)
    assert joined
    assert len(counts) > 30


# The loop alone


class Scripted:
    """A source without a model, whose calls say token 1 until they have said what was laid down, and then 0."""

    def __init__(self, requests: list[Request], lengths: list[int], room: Room, *, flows=True):
        self.requests, self.lengths, self.room = requests, lengths, room
        self.rows: list[int] = []
        self.steps = 0
        self.most_rows, self.most_tokens = 0, 0
        if flows:
            self.admit_rows = self._admit

    def start(self, calls):
        self.rows, self.said = [], [0] * len(self.requests)
        self._admit(calls)
        return Steps(self) if hasattr(self, "admit_rows") else Chunks(self)

    def admit(self, decoding, calls):
        decoding.admit(calls)

    def _admit(self, calls):
        self.rows += calls
        held = [self.requests[call] for call in self.rows]
        prompts = {one.prompt_ids for one in held}
        self.most_rows = max(self.most_rows, len(held))
        self.most_tokens = max(
            self.most_tokens, sum(map(len, prompts)) + len(held) * max(one.max_tokens for one in held)
        )


class Chunks:
    def __init__(self, source):
        self.source = source

    def logits(self, last_A):
        self.source.steps += 1
        logits = torch.full((len(last_A), 3), -torch.inf)
        for row, call in enumerate(self.source.rows):
            self.source.said[call] += 1
            logits[row, int(self.source.said[call] < self.source.lengths[call])] = 0.0
        return logits

    def keep(self, rows):
        self.source.rows = [self.source.rows[row] for row in rows.tolist()]


class Steps(Chunks):
    def admit(self, rows):
        self.source._admit(rows)

    def advance(self, last_A, then):
        then(self.logits(last_A))


def scripted(lengths, room, *, flows=True, most=400):
    asked = [
        Request(policy="p", prompt_ids=(5, 6, number // 8), max_tokens=most, temperature=1.0, seed=number)
        for number in range(len(lengths))
    ]
    source = Scripted(asked, lengths, room, flows=flows)
    found = spoken(source, asked, torch.tensor([0]), room)
    assert [len(one.ids) for one in found] == lengths
    assert all(one.ids == (1,) * (length - 1) + (0,) for one, length in zip(found, lengths, strict=True))
    return source


def test_a_long_reply_holds_up_no_short_ones():
    """Eight of 508 replies have 400 tokens, the others 10: each long one held up what waited."""
    lengths = [400 if place % 64 == 0 else 10 for place in range(508)]
    room = Room(rows=64, tokens=10**6)
    apart, flowing = scripted(lengths, room, flows=False), scripted(lengths, room)
    assert apart.steps == 3200
    assert flowing.steps == 470
    assert max(apart.most_rows, flowing.most_rows) == 64


@pytest.mark.parametrize("seed", range(6))
def test_the_limits_hold_whatever_ends_when(seed):
    source = random.Random(seed)
    lengths = [source.choice([1, 2, 3, 30, 90]) for _ in range(source.randrange(1, 200))]
    room = Room(rows=source.randrange(1, 70), tokens=source.randrange(100, 5000))
    found = scripted(lengths, room, most=90)
    assert found.most_rows <= room.rows
    assert found.most_tokens <= room.tokens


def test_what_fits_is_counted_with_each_prompt_once_and_each_reply_as_the_longest():
    def call(prompt, most):
        return Request(policy="p", prompt_ids=(7,) * prompt, max_tokens=most, temperature=1.0, seed=0)

    five = [call(5, 5)] * 9
    assert Room(3, 10**6).fits(five, [], 5) == 3
    assert Room(99, 25).fits(five, [], 5) == 4
    assert Room(99, 25).fits([call(5, 5), call(6, 5), call(7, 5)], [], 5) == 2
    assert Room(99, 25).fits([call(5, 5), call(5, 10), call(5, 10)], [], 10) == 2
    assert Room(99, 25).fits(five, [], 10) == 2, "a longer one may come, and there is one capacity for all"
    assert Room(99, 25).fits(five, [call(5, 5), call(5, 5)], 5) == 2
    assert Room(99, 25).fits([call(50, 5)] * 9, [], 5) == 1, "alone it has to be generated in any case"
    assert Room(99, 25).fits([call(50, 5)] * 9, [call(5, 5)], 5) == 0
    assert Room(99, 25).fits([], [], 5) == 0


def test_the_caches_are_within_the_limit_while_longer_replies_wait(monkeypatch):
    held, advance = [], decoding_part.PackedDecoding.advance

    def seen(self, last_A, then):
        advance(self, last_A, then)
        held.append(next(iter(self._own.values())).capacity * len(last_A))

    monkeypatch.setattr(decoding_part.PackedDecoding, "advance", seen)
    short, long = requests(64), requests(1)
    asked = [replace(one, max_tokens=6 + 2 * (number % 2)) for number, one in enumerate(short)]
    sampled(new_sampler(max_cache_tokens=1000), [*asked, replace(long[0], max_tokens=120)])
    assert max(held) <= 1000


def test_a_gpu_has_room_by_all_its_memory_and_the_recipe_has_the_last_word(monkeypatch):
    assert room_of(None, None, device="cuda", cached=0, logit=1) == Room(1024, 2**17)
    assert room_of(None, None, device="cpu", cached=114_688, logit=607_744) == Room(1024, 2**17)
    monkeypatch.setattr(room_part, "total_memory", lambda device: 139 * 2**30)
    assert room_of(None, None, device="cuda", cached=114_688, logit=607_744) == Room(4096, 2**18)
    assert room_of(None, None, device="cuda", cached=0, logit=607_744) == Room(1024, 2**17), "not packed"
    assert room_of(5, None, device="cuda", cached=114_688, logit=607_744) == Room(5, 2**18)
    assert room_of(None, 7, device="cuda", cached=114_688, logit=607_744) == Room(4096, 7)
    monkeypatch.setattr(room_part, "total_memory", lambda device: 1)
    assert room_of(None, None, device="cuda", cached=114_688, logit=607_744) == Room(1, 1)


def test_the_keys_and_values_of_a_token_are_as_many_as_the_plan_says():
    model = new_sampler()._default._model
    size = footprint(ModelConfig(path=str(tiny_folder())), 4, checkpointing=False)
    assert token_bytes(model) == size.cached


def test_seats_hold_what_was_said_by_each_call():
    asked = uneven(9)
    seats = Seats.of([4, 2], asked, 40, torch.tensor([3])).beside(Seats.of([8], asked, 40, torch.tensor([3])))
    assert seats.calls == (4, 2, 8)
    logits = torch.full((3, 5), -torch.inf)
    logits[[0, 1, 2], [1, 3, 2]] = 0.0
    seats.say(logits)
    assert seats.ended()[2].ids == (3,)
    assert seats.taken(torch.tensor([0, 2])).calls == (4, 8)
    assert BASE.model.config.vocab_size == 259
