"""A learner on processes that reach each other by gloo."""

import time
from functools import partial

import pytest
import torch
from ranks import PATIENCE, Processes, free_address
from torch_build import ROUTING, fresh_model, new_learner, tiny_base, tiny_folder

from counterpoint.algorithms.aggregation import token
from counterpoint.algorithms.kl import k3
from counterpoint.algorithms.loss import Loss, clip
from counterpoint.errors import LearnerError
from counterpoint.learners._rank import join
from counterpoint.learners.peft import Peft
from counterpoint.learners.placed import Placed
from counterpoint.testing.learner_conformance import GRADIENT_TOLERANCE, LOGPROB_TOLERANCE, check_learner
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
    placed(processes)
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


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_base_that_is_sharded_gives_the_same_gradients(two, checkpointing):
    """Many small micro-batches, of which the ranks have different numbers; a KL, which needs passes of the base too."""
    learner = {"gradient_checkpointing": checkpointing, "max_tokens_per_micro_batch": 60}
    config = tiny_config(tiny_folder(), {"learner": learner})
    near = Peft(fresh_model(), ROUTING.policies, config)
    crew = two.crew(ROUTING, config, shard_base=True)
    far, loss = Placed(crew), Loss(clip, token, kl=partial(k3, weight=0.1))
    for step, count in ((1, 1), (2, 15)):  # with one call the other rank has none
        made = samples(seed=step, count=count)
        one, other = (learner.backward(made, loss, slots_apart=True) for learner in (near, far))
        for source, part in one.items():
            error = float((other[source].gradient.vector() - part.gradient.vector()).norm())
            assert error < GRADIENT_TOLERANCE * part.gradient.norm()
            assert other[source].facts == pytest.approx(dict(part.facts), abs=1e-5)
        assert far.step(other, step=step).keys() == near.step(one, step=step).keys()
        asked = [sample.call for sample in made]
        for name in ("logprobs", "base_logprobs"):
            for row, expected in zip(getattr(far, name)(asked), getattr(near, name)(asked), strict=True):
                assert row == pytest.approx(expected, abs=LOGPROB_TOLERANCE)
    for sharded, here, whole in two.ask(None, "parts", crew._number):
        assert here == pytest.approx(sharded / 2, rel=0.01), "half of the layers' values are on each of two ranks"
        adapters = sum(tensor.numel() for one in far.adapters() for tensor in one.tensors.values())
        outside = sum(
            one.numel() for name, one in fresh_model().named_parameters() if not name.startswith("model.layers.")
        )
        assert whole == adapters + outside


def test_with_a_sharded_base_it_keeps_every_promise_of_a_learner(two):
    config = tiny_config(tiny_folder(), {"learner": {"max_tokens_per_micro_batch": 100}})
    check_learner(lambda routing: Placed(two.crew(routing, config, shard_base=True)), BASE)
