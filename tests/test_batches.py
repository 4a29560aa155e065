"""How the samples of a step are split into optimizer steps."""

import random
from collections import Counter

import pytest
from facts import make_call

from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.batches import by_calls, stratified


def sample(role, rollout, *, policy=None, prompt=1, length=1):
    call = make_call(role, policy=policy or role, prompt_ids=(5,) * prompt, completion_ids=(6,) * length)
    return Sample(task="t", rollout=rollout, call=call, reward=0.0, advantage=1.0, signal=True)


def spoken(seed=0, **counts):
    """So many samples of each role, in a mixed order, of mixed lengths; the two critics share a policy."""
    source = random.Random(seed)
    samples = [
        sample(
            role,
            index,
            policy="critics" if role.startswith("critic") else role,
            prompt=source.randint(1, 9),
            length=source.randint(1, 9),
        )
        for role, count in counts.items()
        for index in range(count)
    ]
    source.shuffle(samples)
    return samples


def name(one):
    return one.call.key.role, one.rollout


def names(samples):
    return [name(one) for one in samples]


def role_counts(batch):
    return Counter(one.call.key.role for one in batch)


def total_lengths(samples):
    return [len(one.call.prompt_ids) + len(one.call.completion_ids) for one in samples]


SPLITS = {
    **{f"stratified {updates}": (stratified, {"updates": updates}) for updates in (1, 2, 3, 5, 20)},
    **{f"by_calls {calls}": (by_calls, {"calls": calls}) for calls in (1, 2, 3, 5, 20)},
}


@pytest.mark.parametrize(("split", "options"), SPLITS.values(), ids=SPLITS)
def test_every_sample_is_in_exactly_one_batch(split, options):
    samples = spoken(generator=11, critic_a=4, critic_b=7, judge=1)
    batches = split(samples, "0/1", **options)
    found = [one for batch in batches for one in batch]
    assert sorted(names(found)) == sorted(names(samples))
    assert all(any(one is other for other in samples) for one in found)


@pytest.mark.parametrize(("split", "options"), SPLITS.values(), ids=SPLITS)
def test_splitting_leaves_the_samples_as_they_were(split, options):
    samples = spoken(generator=6, critic_a=5)
    before = list(samples)
    split(samples, "0/1", **options)
    assert all(one is other for one, other in zip(samples, before, strict=True))


@pytest.mark.parametrize(("split", "options"), SPLITS.values(), ids=SPLITS)
def test_a_split_is_the_same_whenever_it_is_made(split, options):
    samples = spoken(generator=11, critic_a=4, critic_b=7)
    assert split(samples, "0/1", **options) == split(samples, "0/1", **options)


@pytest.mark.parametrize(("split", "options"), SPLITS.values(), ids=SPLITS)
def test_without_samples_there_is_one_empty_batch(split, options):
    assert split([], "0/1", **options) == [[]]


@pytest.mark.parametrize(("split", "options"), SPLITS.values(), ids=SPLITS)
def test_no_batch_is_empty_where_there_are_samples(split, options):
    assert all(split(spoken(generator=2, critic_a=1), "0/1", **options))


@pytest.mark.parametrize("updates", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_every_role_of_every_policy_has_equal_parts_in_all_mini_batches(updates, seed):
    samples = spoken(seed, generator=11, critic_a=4, critic_b=8, judge=9)
    batches = stratified(samples, f"{seed}/1", updates=updates)
    assert len(batches) == updates
    for role, count in role_counts(samples).items():
        parts = sorted(role_counts(batch)[role] for batch in batches)
        assert parts[0] == count // updates
        assert parts[-1] == -(-count // updates)


def test_parts_of_seven_and_four_by_hand():
    batches = stratified(spoken(generator=7, critic_a=4), "0/1", updates=3)
    assert [role_counts(batch)["generator"] for batch in batches] == [3, 2, 2]
    assert [role_counts(batch)["critic_a"] for batch in batches] == [1, 2, 1]
    assert [len(batch) for batch in batches] == [4, 4, 3]


def test_a_role_that_speaks_under_two_policies_is_split_under_each():
    samples = [sample("voter", index, policy=policy) for policy in ("a", "b") for index in range(4)]
    for batch in stratified(samples, "0/1", updates=2):
        assert Counter(one.call.policy for one in batch) == {"a": 2, "b": 2}


def test_a_role_with_fewer_samples_than_updates_is_in_the_first_of_them():
    batches = stratified(spoken(generator=6, judge=2), "0/1", updates=3)
    assert [role_counts(batch)["judge"] for batch in batches] == [1, 1, 0]


def test_there_are_no_more_mini_batches_than_samples_to_fill_them():
    assert [len(batch) for batch in stratified(spoken(generator=2), "0/1", updates=5)] == [1, 1]


def test_one_update_keeps_the_order_of_play_within_a_role():
    samples = spoken(generator=9, critic_a=5, critic_b=3)
    (batch,) = stratified(samples, "0/1", updates=1)
    for role in ("generator", "critic_a", "critic_b"):
        assert [one for one in names(batch) if one[0] == role] == [one for one in names(samples) if one[0] == role]


def test_several_updates_shuffle_and_the_seed_says_how():
    samples = [sample("generator", index) for index in range(12)]
    splits = [stratified(samples, seed, updates=2) for seed in ("0/1", "0/1", "0/2", "1/1")]
    assert names(splits[0][0]) == names(splits[1][0])
    assert len({tuple(sorted(names(split[0]))) for split in splits}) == 3
    assert sorted(names(splits[0][0])) != [("generator", index) for index in range(0, 12, 2)]


def test_roles_of_the_same_size_are_shuffled_each_in_its_own_way():
    samples = [sample(role, index) for role in ("generator", "critic") for index in range(12)]
    batch, _ = stratified(samples, "0/1", updates=2)
    assert [number for role, number in names(batch) if role == "generator"] != [
        number for role, number in names(batch) if role == "critic"
    ]


def test_what_one_role_says_does_not_change_how_another_is_split():
    alone, together = spoken(generator=8), spoken(generator=8, critic_a=5)
    together = [*alone, *(one for one in together if one.call.key.role != "generator")]
    split, other = stratified(alone, "0/1", updates=3), stratified(together, "0/1", updates=3)
    assert [[one for one in names(batch) if one[0] == "generator"] for batch in other] == [
        names(batch) for batch in split
    ]


def test_batches_by_calls_hold_so_many_calls_of_a_policy_and_a_remainder():
    samples = spoken(generator=7, critic_a=2, critic_b=1)
    batches = by_calls(samples, "0/1", calls=3)
    assert [Counter(one.call.policy for one in batch) for batch in batches] == [
        {"generator": 3, "critics": 3},
        {"generator": 3},
        {"generator": 1},
    ]


@pytest.mark.parametrize(("count", "calls", "sizes"), [(6, 3, [3, 3]), (7, 3, [3, 3, 1]), (2, 3, [2]), (3, 1, [1] * 3)])
def test_who_speaks_more_takes_more_steps(count, calls, sizes):
    batches = by_calls(spoken(generator=count, judge=1), "0/1", calls=calls)
    found = [role_counts(batch)["generator"] for batch in batches]
    assert found == sizes
    assert [role_counts(batch)["judge"] for batch in batches] == [1] + [0] * (len(sizes) - 1)


def test_batches_by_calls_go_from_short_to_long_and_back_by_total_length():
    samples = [
        sample("generator", total, prompt=prompt, length=total - prompt)
        for total, prompt in ((5, 1), (2, 1), (7, 6), (4, 3), (8, 2), (3, 2), (6, 5))
    ]
    batches = by_calls(samples, "0/1", calls=3)
    assert [total_lengths(batch) for batch in batches] == [[2, 4, 6], [8, 7, 5], [3]]


def test_the_mini_batches_of_roles_of_different_length_hold_mixed_shares_as_in_the_study():
    samples = [sample("generator", index, policy="shared", length=2 + index) for index in range(12)]
    samples += [sample("aggregator", index, policy="shared", prompt=20, length=1 + index) for index in range(4)]
    batches = by_calls(samples, "0/1", calls=4)
    assert [role_counts(batch)["generator"] for batch in batches] == [4, 2, 2, 4]
    assert [role_counts(batch)["aggregator"] for batch in batches] == [0, 2, 2, 0]


def test_batches_by_calls_sort_each_policy_by_itself():
    samples = spoken(generator=9, critic_a=5, critic_b=4)
    for policy in ("generator", "critics"):
        mine = [one for batch in by_calls(samples, "0/1", calls=4) for one in batch if one.call.policy == policy]
        totals = total_lengths(mine)
        turn = totals.index(max(totals))
        assert totals[: turn + 1] == sorted(totals[: turn + 1])
        assert totals[turn:] == sorted(totals[turn:], reverse=True)
        assert min(turn, len(totals) - turn) >= len(totals) // 3


def test_batches_by_calls_need_no_seed():
    samples = spoken(generator=9, critic_a=5)
    assert by_calls(samples, "0/1", calls=4) == by_calls(samples, "5/7", calls=4)
