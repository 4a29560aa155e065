"""A gradient that cancels is zero, and one that is small is not: told from tokens, the same with every forward pass."""

import math
import random
from collections import defaultdict
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from facts import make_call
from torch_build import ISOLATED, ROUTING, fresh_model, new_learner, tiny_base, tiny_folder

from counterpoint.algorithms.aggregation import call, nominal, token
from counterpoint.algorithms.batches import by_calls
from counterpoint.algorithms.build import build_loss
from counterpoint.algorithms.correction import truncated
from counterpoint.algorithms.kl import k3
from counterpoint.algorithms.loss import Loss, cispo, clip, gspo, reinforce, sapo
from counterpoint.errors import LearnerError
from counterpoint.learn import anchored
from counterpoint.learners._terms import EXACT, INEXACT, INEXACT_HALF, Terms, errors_of
from counterpoint.learners.base import Source, added, coherence, cosine, settled
from counterpoint.learners.gradient import FlatGradient
from counterpoint.learners.peft import Peft
from counterpoint.policy import Routing
from counterpoint.recipe import config_from
from counterpoint.testing.tiny import tiny_calls, tiny_config, tiny_samples

BASE = tiny_base()
WAYS = ("packed", "plain")
ALONE = Routing({"writer": "one"})


@cache
def still(way, dtype=torch.float32, most=10**9):
    """A learner for what must not move it; it is made once."""
    return learner_of(way, dtype=dtype, most=most)


def learner_of(way, routing=ROUTING, *, steps=2, dtype=torch.float32, most=10**9):
    """A learner that has taken some steps, so that momentum would move it."""
    table = {"model": {"forward": way}, "learner": {"max_tokens_per_micro_batch": most}}
    made = Peft(fresh_model().to(dtype), routing.policies, tiny_config(tiny_folder(), table))
    for step in range(1, steps + 1):
        made.step(made.backward(samples(routing, seed=20 + step), Loss(clip, token)), step=step)
    return made


def samples(routing, seed=0, **options):
    return tiny_samples(tiny_calls(BASE.chat, routing, seed=seed, **options), seed=seed)


def equal_replies(seed, advantages, routing=ROUTING, role="writer"):
    """As many equal calls of a role, each with its advantage."""
    one = next(sample for sample in samples(routing, seed) if sample.call.key.role == role)
    return [replace(one, advantage=advantage, signal=True, in_loss=True) for advantage in advantages]


def norms(contributions):
    return {source.role: one.gradient.norm() for source, one in contributions.items()}


CANCELLING = (
    (1.0, -1.0),
    (-1.0, 1.0) * 4,
    (2.5, -0.5, -0.5, -0.5, -0.5, -0.5),
    (1 / 3, 1 / 3, -2 / 3),
    (7.0, -3.0, -4.0),
    (0.0, 0.0, 0.0),
    (1e-9, -1e-9),
    (1e6, -1e6),
    (1.7, -1.7, 0.0),
    (2.4748737, *(-0.3535534,) * 7),
)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("advantages", CANCELLING)
def test_equal_replies_whose_advantages_cancel_move_nothing(way, advantages):
    learner = still(way)
    before = learner.digests()
    for seed, aggregation in ((0, token), (1, call)):
        contributions = learner.backward(equal_replies(seed, advantages), Loss(clip, aggregation))
        assert norms(contributions) == {"writer": 0.0}
        assert learner.step(contributions, step=3) == {}
    assert learner.digests() == before


@pytest.mark.parametrize("token_loss", [reinforce, clip, gspo, cispo, sapo])
@pytest.mark.parametrize("way", WAYS)
def test_they_do_so_under_every_loss_and_in_later_updates(way, token_loss):
    learner = still(way)
    made = equal_replies(3, (1.0, -1.0, -1.0, 1.0))
    rows = learner.logprobs([one.call for one in made])
    # A ratio at which no loss clips, and SAPO's gate is another for either sign: there the two do not cancel.
    off = {gspo: 1e-4, sapo: 0.5}.get(token_loss, 0.01)
    later = [replace(one, old=tuple(value + off for value in row)) for one, row in zip(made, rows, strict=True)]
    found = [norms(learner.backward(part, Loss(token_loss, call)))["writer"] for part in (made, later)]
    assert (found[0], found[1] > 0.0) == (0.0, token_loss is sapo)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("most", [10**9, 150, 40])
def test_they_do_so_however_memory_cuts_them_and_in_bfloat16(way, most):
    for dtype in (torch.float32, torch.bfloat16):
        learner = still(way, dtype, most)
        made = equal_replies(0, (1.0, -1.0) * 4) + equal_replies(5, (2.0, -1.0, -1.0))
        assert norms(learner.backward(made, Loss(clip, call))) == {"writer": 0.0}


def test_with_a_correction_that_differs_by_the_samplers_rounding_they_still_cancel():
    learner = still("packed")
    made = equal_replies(0, (1.0, -1.0))
    (one, other), off = made, random.Random(0)
    noisy = replace(other.call, logprobs=tuple(value + off.gauss(0.0, 5e-6) for value in other.call.logprobs))
    loss = Loss(clip, call, truncated)
    assert norms(learner.backward([one, replace(other, call=noisy)], loss)) == {"writer": 0.0}


@pytest.mark.parametrize("way", WAYS)
def test_a_gradient_that_is_small_is_not_zero(way):
    """A step of Adam does not depend on the size of a gradient: what is real must be taken."""
    learner = learner_of(way)
    (one,) = equal_replies(0, (1.0,))
    others = equal_replies(5, (1.0, -1.0))
    for made in (
        [replace(one, advantage=1e-12)],
        [replace(one, advantage=1e-9), *others],
        equal_replies(0, (1.0, -1.0 + 1e-4)),
        equal_replies(0, (1.0,) * 40 + (-1.0,) * 39),
    ):
        contributions = learner.backward(made, Loss(clip, call))
        assert norms(contributions)["writer"] > 0.0
        assert learner.step(contributions, step=3)["shared"].change > 0.0


def test_replies_that_differ_in_their_last_token_alone_do_not_cancel():
    learner = still("packed")
    one, other = equal_replies(0, (1.0, -1.0))
    changed = replace(other.call, completion_ids=(*other.call.completion_ids[:-1], other.call.completion_ids[-1] ^ 1))
    contributions = learner.backward([one, replace(other, call=changed)], Loss(clip, call))
    assert norms(contributions)["writer"] > 0.0


def test_the_same_reply_to_another_prompt_or_at_another_temperature_does_not_cancel():
    learner = still("packed")
    one, other = equal_replies(0, (1.0, -1.0))
    for changed in (
        replace(other.call, temperature=0.5),
        replace(other.call, prompt_ids=(*other.call.prompt_ids, other.call.prompt_ids[-1])),
    ):
        assert norms(learner.backward([one, replace(other, call=changed)], Loss(clip, call)))["writer"] > 0.0


def test_tokens_behind_the_clip_have_no_gradient_and_their_calls_move_nothing():
    learner = still("packed")
    made = equal_replies(0, (1.0, 1.0))
    rows = learner.logprobs([one.call for one in made])
    clipped = [replace(one, old=tuple(value - 1.0 for value in row)) for one, row in zip(made, rows, strict=True)]
    contributions = learner.backward(clipped, Loss(clip, call))
    assert norms(contributions) == {"writer": 0.0}
    assert learner.step(contributions, step=3) == {}
    # One token within the clip is enough.
    inside = (rows[0][0], *clipped[0].old[1:])
    assert norms(learner.backward([replace(made[0], old=inside)], Loss(clip, call)))["writer"] > 0.0


def test_a_kl_is_a_gradient_of_its_own():
    learner = still("packed")
    loss = Loss(clip, call, kl=lambda now, base: k3(now, base, weight=0.1))
    assert norms(learner.backward(equal_replies(0, (1.0, -1.0)), loss))["writer"] > 0.0


def test_a_role_that_cancels_leaves_the_other_alone():
    learner, alone = learner_of("plain"), learner_of("plain")
    cancels, real = equal_replies(0, (1.0, -1.0)), equal_replies(1, (0.5,), role="critic")
    contributions = learner.backward([*cancels, *real], Loss(reinforce, lambda made: [0.1] * len(made)))
    assert contributions[Source("shared", "writer")].gradient.norm() == 0.0
    learner.step(contributions, step=3)
    alone.step(alone.backward(real, Loss(reinforce, lambda made: [0.1] * len(made))), step=3)
    assert learner.digests() == alone.digests()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("routing", [ROUTING, ISOLATED], ids=["shared", "isolated"])
def test_packed_and_plain_take_the_same_steps(seed, routing):
    """The study's mini-batches, of which some hold nothing but equal replies with opposite advantages."""
    source = random.Random(seed)
    made = []
    for group in range(6):
        role = source.choice(("writer", "critic"))
        size = source.choice((2, 4, 8))
        signs = (1.0, -1.0) * (size // 2) if group % 3 else (1.0,) * size
        made += equal_replies(100 * seed + group, source.sample(signs, size), routing, role)
    batches = by_calls(made, "", calls=8)
    loss = Loss(clip, lambda part: nominal(part, call, calls=8))
    steps, learners = {}, {}
    for way in WAYS:
        learner = learner_of(way, routing)
        parts = anchored(learner, batches, loss)
        moves = [learner.step(learner.backward(part, loss), step=3) for part in parts]
        steps[way] = [sorted(moved) for moved in moves]
        learners[way] = torch.cat([tensor.reshape(-1) for one in learner.adapters() for tensor in one.tensors.values()])
    assert steps["packed"] == steps["plain"]
    apart = (learners["packed"] - learners["plain"]).norm() / learners["plain"].norm()
    assert apart < 1e-4


def test_a_look_at_the_slots_does_not_change_whether_a_role_is_zero():
    learner = still("plain")
    one, other = equal_replies(0, (1.0, -1.0))
    other = replace(other, call=replace(other.call, key=other.call.key._replace(slot=1)))
    for made, zero in (([one, other], True), ([one, replace(other, advantage=-0.5)], False)):
        whole, apart = (learner.backward(made, Loss(clip, call), slots_apart=flag) for flag in (False, True))
        (whole_one,), (apart_one,) = whole.values(), apart.values()
        assert (whole_one.gradient.norm() == 0.0) is (apart_one.gradient.norm() == 0.0) is zero
        assert all(slot.norm() > 0.0 for slot in apart_one.slots.values())


def test_roles_that_cancel_each_other_move_nothing():
    learner = still("plain")
    before = learner.digests()
    one, other = equal_replies(0, (1.0, -1.0))
    other = replace(other, call=replace(other.call, key=other.call.key._replace(role="critic")))
    contributions = learner.backward([one, other], Loss(clip, call))
    assert min(norms(contributions).values()) > 0.0
    assert learner.step(contributions, step=3) == {}
    assert learner.digests() == before


def test_a_gradient_that_is_not_finite_is_not_taken_for_zero():
    learner = still("packed")
    for value in (math.nan, math.inf):
        made = equal_replies(0, (value, -value))
        with pytest.raises(LearnerError, match="not finite"):
            learner.step(learner.backward(made, Loss(reinforce, call)), step=3)


def flat(*values):
    return FlatGradient(torch.tensor(values))


@pytest.mark.parametrize("scale", [1e-20, 1e-9, 1.0, 1e12])
def test_a_sum_is_zero_relative_to_its_parts_and_never_in_itself(scale):
    for left, zero in ((0.0, True), (1e-8, True), (3e-6, True), (1e-4, False), (1e-2, False)):
        found = added([flat(scale, 0.0), flat(-scale, left * scale)])
        assert (found.norm() == 0.0) is zero, left
    alone = flat(1e-30, 0.0)
    assert added([alone]) is alone
    assert settled(alone, alone.norm()) is alone
    assert cosine(added([flat(scale), flat(-scale)]), flat(1.0)) is None
    assert coherence([flat(scale, 0.0), flat(-scale, 1e-8 * scale)]) == 0.0


def test_what_is_not_finite_stays_what_it_is():
    assert math.isnan(added([flat(math.nan), flat(1.0)]).norm())
    assert added([flat(math.inf), flat(1.0)]).norm() == math.inf


def slow_cancel(calls, slopes, errors):
    """Token by token, with the whole beginning as key."""
    sums, limits = defaultdict(float), defaultdict(float)
    for one, row, error in zip(calls, slopes, errors, strict=True):
        for place, slope in enumerate(row):
            key = (one.temperature, one.prompt_ids, one.completion_ids[: place + 1])
            sums[key] += slope
            limits[key] += (error * slope) ** 2
    return all(abs(value) <= math.sqrt(limits[key]) for key, value in sums.items())


@pytest.mark.parametrize("seed", range(10))
def test_terms_cancel_as_a_slow_reference_says(seed):
    source, found = random.Random(seed), set()
    for _ in range(60):
        calls, slopes = [], []
        for _ in range(source.randint(1, 3)):
            ids = tuple(source.choices((5, 6), k=source.randint(1, 3)))
            one = make_call(prompt_ids=(1, source.randint(2, 3)), completion_ids=ids)
            row = [source.choice((0.0, 1.0, -1.0, 0.5)) for _ in ids]
            pair = source.random() < 0.8
            calls += [one, one] if pair else [one]
            slopes += [row, [-value for value in row]] if pair else [row]
        order = source.sample(range(len(calls)), len(calls))
        calls, slopes = [calls[at] for at in order], [slopes[at] for at in order]
        errors = (1e-6,) * len(calls)
        terms = Terms(tuple(calls), tuple(np.array(row) for row in slopes), errors)
        assert terms.cancel() == slow_cancel(calls, slopes, errors)
        found.add(terms.cancel())
    assert found == {True, False}


def test_a_beginning_is_shared_by_replies_of_other_lengths():
    short, long = (make_call(completion_ids=ids) for ids in ((5, 6), (5, 6, 7)))
    rows = (np.array([1.0, 2.0]), np.array([-1.0, -2.0, 0.0]))
    assert Terms((short, long), rows, (EXACT, EXACT)).cancel()
    assert not Terms((short, long), (rows[0], np.array([-1.0, -2.0, 1e-9])), (EXACT, EXACT)).cancel()
    assert Terms().cancel()


def test_the_errors_of_slopes_follow_from_ratio_correction_and_precision():
    plain, later = equal_replies(0, (1.0, 1.0))
    later = replace(later, old=plain.call.logprobs)
    assert errors_of([plain, later], torch.float32, corrected=False) == (EXACT, INEXACT)
    assert errors_of([plain, later], torch.float32, corrected=True) == (INEXACT, INEXACT)
    assert errors_of([plain, later], torch.bfloat16, corrected=False) == (EXACT, INEXACT_HALF)
    assert not build_loss(config_from({})).corrects
    assert build_loss(config_from({"algorithm": {"correction": "sequence"}})).corrects


def test_new_learners_cancel_too():
    made = equal_replies(0, (1.0, -1.0), ALONE)
    assert norms(new_learner(ALONE).backward(made, Loss(clip, call))) == {"writer": 0.0}
