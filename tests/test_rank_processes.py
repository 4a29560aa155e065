"""A learner on processes that reach each other by gloo."""

import time

import pytest
import torch
from ranks import PATIENCE, Processes, free_address
from torch_build import ROUTING, new_learner, tiny_base, tiny_folder

from counterpoint.algorithms.aggregation import token
from counterpoint.algorithms.loss import Loss, clip
from counterpoint.errors import LearnerError
from counterpoint.learners._rank import join
from counterpoint.learners.placed import Placed
from counterpoint.testing.learner_conformance import check_learner
from counterpoint.testing.tiny import tiny_calls, tiny_config, tiny_samples

pytestmark = pytest.mark.slow
BASE = tiny_base()
LOSS = Loss(clip, token)


@pytest.fixture(scope="module")
def two():
    processes = Processes(2)
    yield processes
    processes.end()


def placed(processes, routing=ROUTING):
    return Placed(processes.crew(routing, tiny_config(tiny_folder())))


def samples(seed=0, **options):
    return tiny_samples(tiny_calls(BASE.chat, ROUTING, seed=seed, **options), seed=seed)


def test_it_keeps_every_promise_of_a_learner(two):
    check_learner(lambda routing: placed(two, routing), BASE)


def test_sums_are_those_of_one_process_and_equal_on_both_ranks_bit_for_bit(two):
    near, far = new_learner(ROUTING), placed(two)
    made = samples(seed=7, count=20)
    one, other = near.backward(made, LOSS), far.backward(made, LOSS)
    for source, part in one.items():
        gradient = other[source].gradient
        assert float((gradient.vector() - part.gradient.vector()).norm()) < 1e-6 * part.gradient.norm()
        here, there = two.ask(None, "vector_on", far._crew._number, gradient.number)
        assert here == there == gradient.vector().numpy().tobytes()
    assert far.step(other, step=1).keys() == near.step(one, step=1).keys()
    for mine, theirs in zip(near.adapters(), far.adapters(), strict=True):
        assert all(torch.allclose(mine.tensors[name], theirs.tensors[name], atol=1e-5) for name in mine.tensors)


def test_a_checkpoint_of_two_ranks_is_resumed_by_one(two, tmp_path):
    far = placed(two)
    far.step(far.backward(samples(seed=1), LOSS), step=1)
    far.save(tmp_path)
    near = new_learner(ROUTING)
    near.load(tmp_path)
    assert near.digests() == far.digests()
    for learner in (near, far):
        learner.step(learner.backward(samples(seed=2), LOSS), step=2)
    for mine, theirs in zip(near.adapters(), far.adapters(), strict=True):
        assert mine.version == theirs.version == 2
        assert all(torch.allclose(mine.tensors[name], theirs.tensors[name], atol=1e-5) for name in mine.tensors)


@pytest.mark.parametrize("which", [0, 1])
def test_a_rank_that_dies_while_another_waits_for_it_is_an_error_within_seconds(which):
    processes = Processes(2)
    learner = placed(processes)
    before = time.monotonic()
    with pytest.raises(LearnerError, match=r"rank \d of the learner"):
        processes.ask(None, "die", which)
    assert time.monotonic() - before < PATIENCE / 2
    assert not processes.alive()
    with pytest.raises(LearnerError, match=r"rank \d of the learner"):
        learner.logprobs(tiny_calls(BASE.chat, ROUTING))


def test_a_rank_that_hangs_is_an_error_when_the_timeout_has_passed():
    processes = Processes(2, timeout=5.0)
    before = time.monotonic()
    with pytest.raises(LearnerError, match=r"rank 0 .* a rank of the learner did not take part in a collective"):
        processes.ask(None, "hang", 1)
    assert time.monotonic() - before < PATIENCE / 2
    assert not processes.alive()


def test_a_rank_that_nobody_joins_is_an_error_when_the_timeout_has_passed():
    with pytest.raises(LearnerError, match=r"rank 0 of 2 did not find the others at 127\.0\.0\.1"):
        join(0, 2, free_address(), 2.0, "cpu")
    with pytest.raises(LearnerError, match=r"rank 1 of 2 did not find the others at 127\.0\.0\.1"):
        join(1, 2, free_address(), 2.0, "cpu")
