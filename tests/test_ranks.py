"""A learner on several ranks, here threads; `test_rank_processes.py` has processes."""

import copy
import gc
import random
import shutil
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from ranks import Thread, Threads, on_threads
from torch_build import ISOLATED, PEFT, ROUTING, fresh_model, new_learner, start, tiny_base, tiny_folder
from torch_build import trained as run_of_choir

from counterpoint.algorithms.aggregation import call, token
from counterpoint.algorithms.loss import Loss, clip, reinforce
from counterpoint.diagnostics.base import Step
from counterpoint.diagnostics.persistence import Persistence
from counterpoint.errors import LearnerError
from counterpoint.forwards.packed import Packed
from counterpoint.interventions.base import Update
from counterpoint.interventions.damp_coherence import DampCoherence
from counterpoint.learners._batch import Budget, out_of_memory
from counterpoint.learners._rank import Refused
from counterpoint.learners._split import Whole, fingerprint, shares
from counterpoint.learners.base import Gradient, Source, added, cosine
from counterpoint.learners.gradient import FlatGradient, load_gradients, save_gradients
from counterpoint.learners.peft import Peft
from counterpoint.learners.placed import Far, Placed
from counterpoint.run import Run
from counterpoint.testing.learner_conformance import GRADIENT_TOLERANCE, check_learner
from counterpoint.testing.tiny import tiny_calls, tiny_config, tiny_samples

BASE = tiny_base()
LOSS = Loss(clip, token)


def calls(routing, **options):
    return tiny_calls(BASE.chat, routing, **options)


def samples(routing, seed=0, **options):
    return tiny_samples(calls(routing, seed=seed, **options), seed=seed)


def trained(learner, routing, steps=2):
    for step in range(1, steps + 1):
        learner.step(learner.backward(samples(routing, seed=step), LOSS), step=step)
    return learner


def off(found: Gradient, expected: Gradient) -> float:
    """The difference relative to the gradient's norm."""
    return float((found.vector() - expected.vector()).norm()) / expected.norm()


def test_it_keeps_every_promise_of_a_learner():
    check_learner(on_threads, BASE)


def test_every_call_belongs_to_one_rank_and_neighbours_stay_together():
    for seed in range(20):
        asked = calls(ROUTING, seed=seed, count=random.Random(seed).randint(0, 30))
        for count in range(1, 6):
            parts = shares(asked, count)
            whole = [index for part in parts for index in part]
            rows = [(*asked[index].prompt_ids, *asked[index].completion_ids) for index in whole]
            assert sorted(whole) == list(range(len(asked)))
            assert rows == sorted(rows)


def test_ranks_get_about_as_many_tokens_that_must_be_computed():
    def computed(part):
        """Every beginning that is not there yet, counted one by one."""
        rows = [(*asked[index].prompt_ids, *asked[index].completion_ids) for index in part]
        return len({row[: end + 1] for row in rows for end in range(len(row))})

    asked = calls(ROUTING, count=200, longest=40)
    for count in (2, 3, 5):
        each = [computed(part) for part in shares(asked, count)]
        longest = max(len(one.prompt_ids) + len(one.completion_ids) for one in asked)
        # No call is cut, and at most one beginning is computed by both neighbours.
        assert max(each) <= computed(range(len(asked))) / count + 2 * longest


def test_one_rank_has_all_calls_in_their_own_order():
    asked = calls(ROUTING)
    assert Whole().mine(asked) == list(range(len(asked)))
    assert sorted(shares(asked, 1)[0]) == list(range(len(asked)))


def test_a_fingerprint_is_the_weighted_sum_of_all_bits(monkeypatch):
    monkeypatch.setattr("counterpoint.learners._split._PIECE", 7)
    made = [torch.randn(5, 3), torch.tensor(2.0), torch.tensor([float("nan"), -0.0]), torch.empty(0), torch.randn(20)]
    values = [value for tensor in made for value in tensor.reshape(-1).tolist()]
    bits = [struct.unpack("<i", struct.pack("<f", value))[0] for value in values]
    assert fingerprint(made) == sum((2 * place + 1) * one for place, one in enumerate(bits)) % 2**64


def test_a_fingerprint_shows_one_bit_and_an_exchange():
    values = torch.randn(1000)
    before = fingerprint([values])
    for place in (0, 1, 500, 999):
        for bit in (0, 22, 31):
            other = values.clone()
            other.view(torch.int32)[place] ^= torch.tensor(1 << bit, dtype=torch.int64).to(torch.int32)
            assert fingerprint([other]) != before
    assert fingerprint([values.flip(0)]) != before
    assert fingerprint([torch.tensor([0.0])]) != fingerprint([torch.tensor([-0.0])])


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("routing", [ROUTING, ISOLATED])
def test_sums_over_ranks_are_those_of_one_process(routing, count, tmp_path):
    near, far = trained(new_learner(routing), routing), on_threads(routing, count)
    near.save(tmp_path)
    far.load(tmp_path)  # not trained too: steps of Adam make rounding larger
    made = samples(routing, seed=7, count=20)
    one, other = (learner.backward(made, LOSS, slots_apart=True) for learner in (near, far))
    assert one.keys() == other.keys()
    for source in one:
        assert off(other[source].gradient, one[source].gradient) < 1e-6
        assert other[source].weight == one[source].weight
        assert other[source].loss == pytest.approx(one[source].loss, rel=1e-5)
        assert dict(other[source].facts) == pytest.approx(dict(one[source].facts), abs=1e-6)
        for slot, gradient in one[source].slots.items():
            # Slots are smaller, so rounding shows more: one process with other micro-batches is as far off.
            assert off(other[source].slots[slot], gradient) < GRADIENT_TOLERANCE
    asked = [sample.call for sample in made]
    for name in ("logprobs", "base_logprobs"):
        for row, expected in zip(getattr(far, name)(asked), getattr(near, name)(asked), strict=True):
            assert row == pytest.approx(expected, abs=2e-5)


def test_weights_are_taken_over_all_ranks_before_the_calls_are_split():
    loss = Loss(reinforce, call)
    made = samples(ROUTING, seed=3, count=9)
    near, far = new_learner(ROUTING).backward(made, loss), on_threads(ROUTING).backward(made, loss)
    assert sum(one.weight for one in far.values()) == pytest.approx(1.0)
    for source, one in near.items():
        assert off(far[source].gradient, one.gradient) < 1e-6


def test_a_rank_without_samples_of_a_role_takes_part():
    made = samples(ROUTING, count=2)  # one call per role, so that one of two ranks has none
    near, far = new_learner(ROUTING).backward(made, LOSS), on_threads(ROUTING).backward(made, LOSS)
    assert {Source("shared", "writer"), Source("shared", "critic")} == set(far)
    for source, one in near.items():
        assert off(far[source].gradient, one.gradient) < 1e-6
        assert dict(far[source].facts) == dict(one.facts)
    assert on_threads(ROUTING, 3).logprobs([made[0].call])[0] == pytest.approx(
        new_learner(ROUTING).logprobs([made[0].call])[0], abs=2e-5
    )
    assert on_threads(ROUTING).logprobs([]) == []


def test_that_calls_cancel_is_seen_also_where_they_are_on_different_ranks():
    """Pairs of equal calls with opposite advantages. Each rank alone would see a gradient, and rounding leaves one."""
    first, second = (replace(one, advantage=1.0) for one in samples(ROUTING)[:3:2])
    made = [part for one in (first, second) for part in (one, replace(one, advantage=-1.0))]
    placed = Placed(Threads(lambda split: Peft(fresh_model(), ROUTING.policies, tiny_config(tiny_folder()), split), 2))
    for number, learner in enumerate(placed._crew.learners):
        learner._passes._split.mine = lambda asked, number=number: [[0, 2, 3], [1]][number]
    (found,) = placed.backward(made, LOSS).values()
    assert found.gradient.norm() == 0.0
    assert placed.step(placed.backward(made, LOSS), step=1) == {}


def test_ranks_that_are_not_in_the_same_state_are_found_out():
    for spoil in (_one_bit_of_a_weight, _one_bit_of_a_moment):
        placed = trained(on_threads(ROUTING), ROUTING)
        spoil(placed._crew.learners[1])
        with pytest.raises(LearnerError, match="not in the same state: rank 1 differs from rank 0"):
            placed.digests()
        placed = trained(on_threads(ROUTING), ROUTING)
        spoil(placed._crew.learners[1])
        with pytest.raises(LearnerError, match="not in the same state: rank 1 differs from rank 0"):
            placed.step({}, step=3)


def _one_bit_of_a_weight(learner):
    _flip(next(iter(learner._parameters["shared"].values())).data)


def _one_bit_of_a_moment(learner):
    _flip(learner._optimizers.state("shared")[0])


def _flip(tensor):
    tensor.view(-1).view(torch.int32)[3] ^= 1


def test_gradients_that_would_have_other_numbers_on_other_ranks_are_found_out():
    placed = on_threads(ROUTING)
    placed._crew.ranks[1]._last += 1
    with pytest.raises(LearnerError, match="not in the same state"):
        placed.backward(samples(ROUTING), LOSS)


def test_a_rank_that_refuses_alone_is_an_error_that_names_it(monkeypatch):
    placed = on_threads(ROUTING)
    monkeypatch.setattr(placed._crew.ranks[1], "keep", lambda flat: Refused("no room"))
    with pytest.raises(LearnerError, match="keep: rank 1 of the learner refuses what others do"):
        placed.far(FlatGradient(torch.zeros(3)))


def test_ranks_that_begin_differently_are_found_out():
    seeds = iter((0, 1))

    def other_seed(split):
        table = {"run": {"seed": next(seeds)}}
        return Peft(fresh_model(), ROUTING.policies, tiny_config(tiny_folder(), table), split)

    with pytest.raises(LearnerError, match="not in the same state"):
        Threads(other_seed, 2)


def test_a_rank_that_fails_ends_the_group_and_what_all_refuse_does_not(monkeypatch):
    placed = trained(on_threads(ROUTING), ROUTING)
    strange = replace(calls(ROUTING)[0], policy="nobody")
    with pytest.raises(LearnerError, match="nobody"):
        placed.logprobs([strange])
    assert placed.digests()
    learner = placed._crew.learners[1]
    monkeypatch.setattr(learner._passes, "_score", _no_memory)
    with pytest.raises(LearnerError, match="out of memory with one call"):
        placed.logprobs(calls(ROUTING))
    with pytest.raises(LearnerError):
        placed.digests()


def _no_memory(asked):
    raise torch.OutOfMemoryError


def test_memory_that_runs_out_on_one_rank_makes_only_its_micro_batches_smaller(monkeypatch):
    placed = trained(on_threads(ROUTING), ROUTING)
    made = samples(ROUTING, seed=5)
    expected = placed.backward(made, LOSS)
    passes = placed._crew.learners[1]._passes
    score = passes._score
    monkeypatch.setattr(passes, "_score", lambda asked: score(asked) if len(asked) == 1 else _no_memory(asked))
    for source, one in placed.backward(made, LOSS).items():
        assert off(one.gradient, expected[source].gradient) < GRADIENT_TOLERANCE
    assert passes._budget.max_tokens < placed._crew.learners[0]._passes._budget.max_tokens
    assert out_of_memory(torch.OutOfMemoryError())


def test_ranks_that_must_compute_alike_idle_where_another_has_more_micro_batches():
    asked, table, barrier = calls(ROUTING, count=12), [None] * 3, threading.Barrier(3)

    def passes(rank):
        split, own, idle = Thread(rank, table, barrier), [], []
        mine = asked[:rank]  # none on the first rank
        found = Budget(Packed(), 1, alike=split).each(
            mine, lambda batch: own.append(batch) or batch, lambda: idle.append(1)
        )
        return len(list(found)), len(own), len(idle)

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(passes, range(3))) == [(0, 0, 2), (1, 1, 1), (2, 2, 0)]


def test_memory_that_runs_out_where_ranks_must_compute_alike_is_an_error():
    asked, split = calls(ROUTING, count=4), Thread(0, [None], threading.Barrier(1))
    budget = Budget(Packed(), 10**6, alike=split)
    with pytest.raises(LearnerError, match=r"4 calls at once, .* set learner.max_tokens_per_micro_batch below 1000000"):
        list(budget.each(asked, _no_memory, list))


def test_a_base_is_not_sharded_over_one_rank_nor_where_it_is_computed_plainly():
    with pytest.raises(LearnerError, match="shard_base needs at least 2 ranks"):
        Peft(fresh_model(), ROUTING.policies, tiny_config(tiny_folder()), shard_base=True)
    two = Thread(0, [None] * 2, threading.Barrier(2))
    plain = tiny_config(tiny_folder(), {"model": {"forward": "plain"}})
    with pytest.raises(LearnerError, match="shard_base needs the packed way to compute"):
        Peft(fresh_model(), ROUTING.policies, plain, two, shard_base=True)


def test_a_digest_is_taken_again_only_when_the_weights_have_changed(monkeypatch):
    placed, taken = on_threads(ISOLATED), []
    for learner in placed._crew.learners:
        monkeypatch.setattr(
            learner, "digests", lambda names, own=learner: taken.append(names) or own._adapters.digests(names)
        )
    first = placed.digests()
    assert placed.digests() == first
    assert taken == [["writer", "critic"]], "by rank 0 alone, and once"
    made = [sample for sample in samples(ISOLATED) if sample.call.policy == "writer"]
    placed.step(placed.backward(made, LOSS), step=1)
    assert placed.digests()["critic"] == first["critic"]
    assert placed.digests()["writer"] != first["writer"]
    assert taken[1:] == [["writer"]]
    assert placed.digests() == {one.policy: one.digest for one in placed.adapters()}


def test_weights_that_change_without_a_step_have_another_digest():
    """The proofs of a step ask for digests to find just that out."""
    placed = on_threads(ROUTING)
    before = placed.digests()
    for learner in placed._crew.learners:
        _one_bit_of_a_weight(learner)
    assert placed.digests() != before


def test_gradients_that_nobody_refers_to_are_dropped():
    placed = on_threads(ROUTING)
    found = placed.backward(samples(ROUTING), LOSS, slots_apart=True)
    joint = added([one.gradient for one in found.values()])
    assert len(placed._crew.ask_first("kept")) == 2 + 4 + 1
    del found
    gc.collect()
    placed.digests()
    assert placed._crew.ask_first("kept") == [joint.number]
    assert [list(rank._kept) for rank in placed._crew.ranks] == [[joint.number]] * 2
    del joint
    placed.digests()
    assert placed._crew.ask_first("kept") == []


def test_the_norm_of_a_gradient_is_asked_for_once(monkeypatch):
    placed = on_threads(ROUTING)
    gradient = next(iter(placed.backward(samples(ROUTING), LOSS).values())).gradient
    first = gradient.norm()
    monkeypatch.setattr(placed, "ask_first", lambda *_: pytest.fail("it was asked for again"))
    assert gradient.norm() == first


def test_gradients_here_and_there_are_added_and_compared():
    near, far = new_learner(ROUTING), on_threads(ROUTING)
    here, there = (next(iter(one.backward(samples(ROUTING), LOSS).values())).gradient for one in (near, far))
    assert isinstance(there.plus(here), Far)
    assert there.plus(here).norm() == pytest.approx(2 * here.norm(), rel=1e-6)
    assert here.plus(there).norm() == pytest.approx(2 * here.norm(), rel=1e-6)
    assert cosine(here, there) == pytest.approx(1.0)
    assert cosine(there, here) == pytest.approx(1.0)
    assert there.scaled(-3.0).dot(here) == pytest.approx(-3 * here.norm() ** 2, rel=1e-6)
    assert torch.equal(there.scaled(2.0).vector(), 2 * there.vector())
    elsewhere = on_threads(ROUTING).far(here.scaled(5.0))  # its number is also that of another gradient here
    assert there.plus(elsewhere).norm() == pytest.approx(6 * here.norm(), rel=1e-6), "of other ranks"


def test_a_gradient_from_a_file_is_stepped_with(tmp_path):
    near, far = new_learner(ROUTING), on_threads(ROUTING)
    found = near.backward(samples(ROUTING), LOSS)
    save_gradients(tmp_path / "kept", {source.role: one.gradient for source, one in found.items()})
    kept = load_gradients(tmp_path / "kept")
    read = {source: one._replace(gradient=kept[source.role]) for source, one in found.items()}
    assert far.step(read, step=1).keys() == near.step(found, step=1).keys()
    assert far.digests() == near.digests()


def test_what_is_remembered_of_gradients_is_saved_and_resumed(tmp_path):
    """Persistence and damping keep moving averages of gradients, here on ranks, over a break in between."""
    numbers = {}
    for name, learner in (("near", new_learner(ROUTING)), ("far", on_threads(ROUTING))):
        diagnostic, intervention = Persistence(), DampCoherence(of="gradient", weight=0.9)
        for seed in (1, 2, 3, 4):
            contributions = learner.backward(samples(ROUTING, seed=seed), LOSS)
            seen = Step(seed, [], [], contributions, learner.base_logprobs, {}, {})
            damped = intervention.update(Update(contributions), seed).contributions
            norms = {source.role: one.gradient.norm() for source, one in damped.items()}
            numbers.setdefault(name, []).append({**diagnostic.look(seen), **norms})
            if seed == 2:
                for place, part in ((tmp_path / name / "one", diagnostic), (tmp_path / name / "two", intervention)):
                    place.mkdir(parents=True)
                    part.save(place)
                diagnostic, intervention = Persistence(), DampCoherence(of="gradient", weight=0.9)
                diagnostic.load(tmp_path / name / "one")
                intervention.load(tmp_path / name / "two")
    for near, far in zip(numbers["near"], numbers["far"], strict=True):
        assert near == pytest.approx(far, abs=1e-5)
    assert any("persistence" in name for name in numbers["far"][-1])


@pytest.mark.parametrize("count", [1, 3])
def test_a_checkpoint_is_loaded_on_another_number_of_ranks(tmp_path, count):
    two = trained(on_threads(ISOLATED), ISOLATED)
    two.save(tmp_path / "two")
    other = new_learner(ISOLATED) if count == 1 else on_threads(ISOLATED, count)
    other.load(tmp_path / "two")
    other.save(tmp_path / "other")
    files = {path.relative_to(tmp_path / "two"): path.read_bytes() for path in (tmp_path / "two").rglob("*.*")}
    assert {path.relative_to(tmp_path / "other") for path in (tmp_path / "other").rglob("*.*")} == set(files)
    assert all((tmp_path / "other" / path).read_bytes() == content for path, content in files.items())
    for learner in (two, other):
        learner.step(learner.backward(samples(ISOLATED, seed=3), LOSS), step=3)
    for one, same in zip(two.adapters(), other.adapters(), strict=True):
        assert one.version == same.version == 3
        assert all(torch.allclose(one.tensors[name], same.tensors[name], atol=1e-5) for name in one.tensors)


def test_a_folder_that_does_not_fit_is_refused_by_its_own_name(tmp_path):
    placed = on_threads(ROUTING)
    with pytest.raises(LearnerError, match=f"{tmp_path}/shared does not hold policy 'shared'"):
        placed.load(tmp_path)
    new_learner(ROUTING, {"policies": {"rank": 2}}).save(tmp_path)
    with pytest.raises(LearnerError, match=f"{tmp_path}/shared holds an adapter .* of another rank"):
        placed.load(tmp_path)
    assert placed.digests() == new_learner(ROUTING).digests()


def test_adapters_come_back_on_the_cpu_and_are_lent_to_all_ranks():
    near, far = trained(new_learner(ROUTING), ROUTING), trained(on_threads(ROUTING), ROUTING)
    (adapter,) = near.adapters()
    fresh = on_threads(ROUTING)
    asked, before = calls(ROUTING), fresh.digests()
    for row, expected in zip(fresh.logprobs_with(adapter, asked), near.logprobs(asked), strict=True):
        assert row == pytest.approx(expected, abs=2e-5)
    assert fresh.digests() == before
    assert {name: tensor.device.type for name, tensor in far.adapters()[0].tensors.items()} == dict.fromkeys(
        adapter.tensors, "cpu"
    )


def test_a_run_on_ranks_is_the_run_in_one_process_also_killed_and_resumed(tmp_path, monkeypatch):
    """Every diagnostic, interventions that add and compare gradients, several updates per step."""
    table = {
        "task": {"validation": 2, "test": 2},
        "policies": {"sharing": "shared"},
        "rollout": {"tasks_per_step": 2, "group_size": 4, "max_tokens": 5},
        "diagnostics": [
            "behaviour",
            {"name": "role_gradients", "every": 1},
            "persistence",
            {"name": "distance", "every": 1},
        ],
        "interventions": ["damp_coherence", "balance", "project_conflicts", "limit_amplification"],
        "algorithm": {"updates": 2},
        "run": {"steps": 4, "save_every": 2},
    }
    near = run_of_choir(start(tmp_path / "near", table))
    monkeypatch.setattr(PEFT, "Peft", placed_instead)
    far = run_of_choir(start(tmp_path / "far", table))
    shutil.copytree(tmp_path / "far", tmp_path / "killed")
    with Run.open(tmp_path / "killed") as killed:
        killed.checkpoint_path(4)
    shutil.rmtree(killed.checkpoint_path(4))
    again = run_of_choir(Run.open(tmp_path / "killed"))
    assert all(read_files(far, step) == read_files(again, step) for step in (2, 4)), "resumed, bit for bit"
    names = {name for row in far.metric_rows() for name in row}
    assert any(name.endswith("persistence") for name in names)
    assert any(name.endswith("amplification") for name in names)
    for one, other in zip(near.metric_rows(), far.metric_rows(), strict=True):
        assert without_times(other) == pytest.approx(without_times(one), rel=1e-2, abs=1e-3)


def placed_instead(model, policies, config):
    """As the runtime's learner, on two ranks."""
    return Placed(Threads(lambda split: Peft(copy.deepcopy(model), policies, config, split), 2))


def without_times(row):
    return {name: value for name, value in row.items() if not name.startswith("time/")}


def read_files(run, step):
    files = [path for path in run.checkpoint_path(step).rglob("*") if path.is_file()]
    return {path.relative_to(run.checkpoint_path(step)): path.read_bytes() for path in files}
