"""The simulated placement: by hand where one replica generates equal replies, and at its limits."""

import random
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import pytest

from benchmarks import placement
from benchmarks._placed import Replica, _split, _steps_within, learn, placed, play, simulate
from benchmarks._placed_facts import Episode, Facts, Layout, Turn, decode_seconds, episodes_of, mean_length

PLAIN = Facts(
    turns=(Turn("one", 1, 100, shared=False),),
    tasks=1,
    group=4,
    median=50.0,
    spread=0.0,
    weights=1e9,
    parameters=0.0,
    kv=1.0,
    cache=1e6,
    bandwidth=1e12,
    launch=0.0,
    lora=0.0,
    prefill=1000.0,
    between=0.5,
    learn_operations=6.0,
    publish=3.0,
    update=1.0,
    steps=4,
    flush=2,
)
"""A decoding step takes a millisecond, however many calls: keys and values of a byte weigh nothing."""
CONSTANT = replace(PLAIN, kv=1e-9, cache=1e9)


def slow_replica(facts, cache, episodes):
    """The same engine, one decoding step after the other, without anything that is clever: the second of the end."""
    now, waiting, running, arrivals = 0.0, [], [], []
    room, read, prefill = cache / facts.kv, set(), 0.0

    def begin(episode, turn, when):
        episode["open"] = len(episode["replies"][turn])
        for reply in episode["replies"][turn]:
            arrivals.append((when, {"episode": episode, "turn": turn, "said": 0, "reply": reply}))

    for one in episodes:
        begin({"task": one.task, "replies": one.replies}, 0, 0.0)
    while waiting or running or arrivals:
        waiting += [call for when, call in arrivals if when <= now]
        arrivals = [one for one in arrivals if one[0] > now]
        if not waiting and not running:
            now = min(when for when, _ in arrivals)
            continue
        fresh = 0
        while waiting and len(running) < facts.rows:
            call = waiting[0]
            turn = facts.turns[call["turn"]]
            key = (call["episode"]["task"], call["turn"])
            keys = {(one["episode"]["task"], one["turn"]) for one in running if facts.turns[one["turn"]].shared}
            held = sum(one["reply"] for one in running)
            held += sum(facts.turns[one["turn"]].prompt for one in running if not facts.turns[one["turn"]].shared)
            held += sum(facts.turns[number].prompt for _, number in keys)
            if held + call["reply"] + (0 if key in keys else turn.prompt) > room:
                break
            fresh += 0 if turn.shared and key in read else turn.prompt
            read.add(key)
            running.append(waiting.pop(0))
        now += fresh / facts.prefill
        prefill += fresh / facts.prefill
        context = sum(facts.turns[one["turn"]].prompt + one["said"] for one in running)
        now += decode_seconds(facts, len(running), context)
        for one in list(running):
            one["said"] += 1
            if one["said"] == one["reply"]:
                running.remove(one)
                one["episode"]["open"] -= 1
                if not one["episode"]["open"] and one["turn"] + 1 < len(facts.turns):
                    begin(one["episode"], one["turn"] + 1, now + facts.between)
    return now, prefill


def test_equal_replies_on_one_replica_by_hand():
    """Four prompts of 100 tokens at 1,000 per second, then 50 steps of a millisecond."""
    found = play(CONSTANT, episodes_of(CONSTANT, 0), Layout(1, 1))
    assert found.seconds == pytest.approx(0.4 + 0.05)
    assert (found.tokens, found.prefill) == (200, pytest.approx(0.4))
    assert found.tail == 0.0


def test_a_shared_prompt_is_read_once_and_a_second_turn_begins_after_the_pause():
    turns = (Turn("first", 2, 100, shared=True), Turn("last", 1, 300, shared=False))
    facts = replace(CONSTANT, turns=turns, group=1)
    found = play(facts, episodes_of(facts, 0), Layout(1, 1))
    assert found.seconds == pytest.approx(0.1 + 0.05 + 0.5 + 0.3 + 0.05)
    assert found.busy == pytest.approx(0.5)


def test_keys_and_values_make_steps_slower_as_replies_grow():
    facts = replace(PLAIN, group=1, kv=1e6, cache=1e12)
    found = play(facts, episodes_of(facts, 0), Layout(1, 1))
    read = sum(100 + said for said in range(50)) * 1e6 / 1e12
    assert found.seconds == pytest.approx(0.1 + 0.05 + read)


@pytest.mark.parametrize("limit", [{"rows": 2}, {"cache": 300.0}])
def test_calls_wait_where_rows_or_the_cache_end(limit):
    """A call holds its 150 tokens; two at once are two waves, each with its prompts."""
    facts = replace(PLAIN, **limit)
    found = play(facts, episodes_of(facts, 0), Layout(1, 1))
    assert found.seconds == pytest.approx(2 * (0.2 + 0.05), rel=1e-6)


def test_a_call_that_never_fits_is_refused():
    facts = replace(PLAIN, cache=149.0)
    with pytest.raises(ValueError, match="a call of 150 tokens does not fit into a cache of 149"):
        play(facts, episodes_of(facts, 0), Layout(1, 1))


@pytest.mark.parametrize("seed", range(12))
def test_the_engine_agrees_with_one_that_takes_every_step_alone(seed):
    source = random.Random(seed)
    turns = (Turn("first", source.randint(1, 3), source.randint(5, 40), shared=True), Turn("last", 1, 60, shared=False))
    facts = replace(
        PLAIN,
        turns=turns,
        tasks=3,
        median=30.0,
        spread=0.8,
        most=150,
        rows=source.randint(2, 12),
        kv=1e6,
        cache=source.randint(250, 900) * 1e6,
        launch=2e-3,
        lora=0.15,
        parameters=1e9,
        between=source.choice((0.0, 0.013, 0.2)),
    )
    episodes = episodes_of(facts, seed)
    slow = slow_replica(facts, facts.cache, episodes)
    engine = Replica(facts, facts.cache)
    assert engine.play(episodes) == pytest.approx(slow[0])
    assert engine.prefill == pytest.approx(slow[1])
    assert sum(tokens for _, tokens in engine.said) == sum(sum(map(sum, one.replies)) for one in episodes)


@pytest.mark.parametrize(("first", "more"), [(0.01, 0.0), (0.01, 1e-5), (0.02, 3e-3)])
def test_the_steps_within_a_time_are_the_fewest_that_fill_it(first, more):
    for seconds in (0.0, 0.005, 0.01, 0.0333, 0.2, 1.7):
        count = 1
        while sum(first + more * step for step in range(count)) < seconds - 1e-12:
            count += 1
        assert _steps_within(seconds, first, more) == count


def test_throughput_bounds_a_full_replica_and_the_longest_reply_an_empty_one():
    """With many calls a replica is twice as slow alone; with few, one long reply is all that counts."""
    many = replace(CONSTANT, tasks=64, rows=16, spread=0.5, prefill=1e12)
    one, two = (play(many, episodes_of(many, 1), Layout(count, 1)).seconds for count in (1, 2))
    assert one / two == pytest.approx(2.0, rel=0.1)
    bound = sum(sum(map(sum, each.replies)) for each in episodes_of(many, 1)) / 16 * 1e-3
    assert one == pytest.approx(bound, rel=0.1)
    few = replace(many, rows=512)
    longest = max(max(map(max, each.replies)) for each in episodes_of(few, 1))
    for count in (1, 2, 16):
        assert play(few, episodes_of(few, 1), Layout(count, 1)).seconds == pytest.approx(longest * 1e-3)


def test_the_tail_is_the_time_after_nearly_all_tokens():
    facts = replace(CONSTANT, prefill=1e12)
    episodes = [Episode(0, ((length,),)) for length in [10] * 96 + [20, 400]]
    found = play(facts, episodes, Layout(1, 1))
    assert found.seconds == pytest.approx(0.4)
    assert found.tail == 0.0  # the long reply holds more than a twentieth of the tokens
    short = play(facts, [Episode(0, ((length,),)) for length in [10] * 960 + [400]], Layout(1, 1))
    assert short.tail == pytest.approx(0.39)


def test_a_task_stays_on_its_replica_unless_it_is_crowded():
    facts = replace(PLAIN, tasks=64, group=8)
    for replicas, most in ((1, 512), (3, 213), (24, 26), (96, 6)):
        parts = placed(facts, episodes_of(facts, 0), replicas)
        assert sum(map(len, parts)) == 512
        assert max(map(len, parts)) <= most
        homes = [sum(any(one.task == task for one in part) for part in parts) for task in range(64)]
        assert sum(homes) <= 64 + replicas
    tight = replace(facts, tasks=2, group=4, crowded=1.0)
    found = placed(tight, episodes_of(tight, 0), 4)
    assert [[one.task for one in part] for part in found] == [[0, 0], [0, 0], [1, 1], [1, 1]]


def test_learning_by_hand_and_its_split_by_tokens():
    """A token takes 6 operations per parameter: 6,000, where 60,000 are done in a second."""
    facts = replace(CONSTANT, parameters=1e3, peak=6e5, learn_part=0.1, gradient=5e8, link=1e9)
    episodes = episodes_of(facts, 0)  # four calls of 100 and 50 tokens
    assert learn(facts, episodes, 1).seconds == pytest.approx(1.0 + 600 / 10)
    assert learn(facts, episodes, 2).seconds == pytest.approx(1.0 + 300 / 10 + 2 * 0.5 * 0.5)
    three = learn(facts, episodes, 3)  # two calls of one rank: it is waited for
    assert three.seconds == pytest.approx(1.0 + 300 / 10 + 2 * 0.5 * 2 / 3)
    assert three.busy == pytest.approx(600 / 10 / 3)


def test_every_call_is_learned_once_and_a_shared_prompt_once_per_rank():
    facts = replace(Facts(), tasks=5)
    episodes = episodes_of(facts, 3)
    for number, ranks in ((0, 3), (1, 7), (0, 200)):
        parts = _split(facts, episodes, number, ranks)
        whole = [(one.task, reply) for one in episodes for reply in one.replies[number]]
        assert [call for part in parts for call in part] == whole
    once = sum(sum(map(sum, one.replies)) for one in episodes) + 5 * 600 + 40 * 3600
    assert learn(facts, episodes, 1).tokens == once
    assert once < learn(facts, episodes, 8).tokens <= once + 7 * 600


def test_steps_by_hand_with_and_without_overlap():
    """Equal steps of 0.45 s to play, 61 s to learn and 3 s to publish; every second step empties the pipeline."""
    facts = replace(CONSTANT, parameters=1e3, peak=6e5, learn_part=0.1)
    played = play(facts, episodes_of(facts, 0), Layout(1, 1)).seconds
    plain = simulate(facts, Layout(1, 1))
    assert plain.step == pytest.approx(played + 61 + 3)
    ahead = simulate(facts, Layout(1, 1, overlap=True))
    assert ahead.step == pytest.approx((2 * played + 4 * 61 + 4 * 3) / 4)
    quick = simulate(replace(facts, publish=0.0, update=0.0, learn_operations=0.0), Layout(1, 1, overlap=True))
    assert quick.step == pytest.approx(played)
    assert quick.sampler_busy == pytest.approx(1.0)


def test_overlap_is_never_slower_and_never_faster_than_the_longer_part():
    facts = replace(Facts(), steps=6, tasks=16)
    for replicas, ranks in ((1, 1), (2, 6), (6, 2)):
        plain = simulate(facts, Layout(replicas, ranks))
        ahead = simulate(facts, Layout(replicas, ranks, overlap=True))
        assert max(plain.play, plain.learn) + facts.publish <= ahead.step <= plain.step


def test_the_mean_of_a_cut_distribution_is_the_mean_of_many_draws():
    facts = Facts()
    drawn = [reply for seed in range(8) for one in episodes_of(facts, seed) for turn in one.replies for reply in turn]
    assert sum(drawn) / len(drawn) == pytest.approx(mean_length(facts), rel=0.02)
    assert max(drawn) == facts.most
    assert mean_length(replace(facts, lengths=(2, 4))) == 3
    assert mean_length(replace(facts, spread=0.0)) == 750


def test_gpus_that_do_both_take_turns():
    with pytest.raises(ValueError, match="nothing overlaps"):
        Layout(1, 1, overlap=True, beside=True)
    assert (Layout(1, 1, beside=True).gpus, Layout(3, 5).gpus) == (1, 8)
    alone = simulate(replace(Facts(), tasks=4, steps=2), Layout(1, 1, beside=True))
    assert alone.sampler_busy + alone.learner_busy <= 1.0


def test_the_longest_chain_bounds_the_step_however_many_gpus():
    facts = replace(Facts(), lengths=(700, 5120), steps=2, tasks=16)
    steps = [placement.best(facts, gpus).step for gpus in (2, 8, 32, 128)]
    assert all(more <= one for one, more in pairwise(steps))
    assert steps[-1] >= placement.longest_chain(facts)


def test_doubling_pays_until_a_step_is_hardly_faster():
    def taken(gpus, step):
        return replace(simulate(replace(PLAIN, steps=1), Layout(1, gpus - 1 or 1, beside=gpus == 1)), step=step)

    results = [taken(1, 100.0), taken(2, 60.0), taken(4, 40.0), taken(8, 39.0), taken(16, 10.0)]
    assert placement.most_that_pay(results) == 4


def printed(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.placement", "steps=1", "tasks=32", "--gpus", "1,2", *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_same_arguments_print_the_same_and_another_seed_does_not(tmp_path):
    lengths, drawn = tmp_path / "lengths.txt", tmp_path / "placement.svg"
    lengths.write_text("10\n700\n3000\n", encoding="utf-8")
    first = printed("--svg", str(drawn))
    assert first[0] == 0, first[2]
    assert "| 64 GPUs, overlap | 32 + 32 |" in first[1]
    assert first[1] == printed()[1] != printed("--seed", "1")[1]
    assert "simulated" in drawn.read_text(encoding="utf-8")
    assert "replies of 1,237 tokens on average" in printed("--lengths", str(lengths))[1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("taks=3", "no assumption is called 'taks'"),
        ("turns=3", "no assumption is called 'turns'"),
        ("tasks=many", "'many' is no int"),
        ("peak=-1", "a number from 0 on is needed"),
    ],
)
def test_an_assumption_that_is_none_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        placement.overridden(Facts(), [given])
    assert placement.overridden(Facts(), ["tasks=7", "launch=0.01"]) == replace(Facts(), tasks=7, launch=0.01)
