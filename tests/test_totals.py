"""Numbers of a step with several updates: everything is added over the updates first, and ratios are formed then."""

import math
import random
from collections.abc import Mapping, Sequence

import pytest
import torch
from facts import make_step

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Thresholds
from counterpoint.analysis.signatures.capture import captor_of
from counterpoint.diagnostics.build import build_diagnostics
from counterpoint.diagnostics.persistence import Persistence
from counterpoint.diagnostics.role_gradients import role_gradients
from counterpoint.learn import Total
from counterpoint.learners.base import Contribution, Source
from counterpoint.learners.gradient import FlatGradient
from counterpoint.policy import Routing
from counterpoint.recipe import config_from

G, A = Source("all", "generator"), Source("all", "aggregator")
Update = Mapping[Source, Contribution]


def part(row: Sequence[float], *, weight: float = 0.5, loss: float = 0.0, facts=None, slots=None) -> Contribution:
    return Contribution(
        gradient=FlatGradient(torch.tensor([float(value) for value in row])),
        weight=weight,
        loss=loss,
        facts=facts or {},
        slots={slot: FlatGradient(torch.tensor(values)) for slot, values in (slots or {}).items()},
    )


def total(updates: Sequence[Update]) -> Total:
    found = Total()
    for update in updates:
        found = found.plus(update)
    return found


def numbers(*updates: Update):
    found = total(updates)
    return role_gradients(make_step(contributions=found.contributions, updates=found.updates, norms=found.norms))


def by_hand(updates: Sequence[Update]):
    """Share of each source, and cosine of its summed gradient with the summed joint gradient, in float64."""
    sources = list(dict.fromkeys(source for update in updates for source in update))
    rows = {
        source: [update[source].gradient.flat.double() for update in updates if source in update] for source in sources
    }
    mass = {source: sum(float(row.norm()) for row in rows[source]) for source in sources}
    sums = {source: torch.stack(rows[source]).sum(0) for source in sources}
    joint = torch.stack(list(sums.values())).sum(0)
    return (
        {source: mass[source] / sum(mass.values()) for source in sources},
        {source: float(torch.cosine_similarity(sums[source], joint, dim=0)) for source in sources},
    )


def test_the_studys_mini_batches_by_hand():
    """g, a + g, a + g, g: sorted by length, the first and the last hold generators alone."""
    g, a = part([3.0, 0.0], weight=0.5), part([0.0, 1.0], weight=0.25)
    found = numbers({G: g}, {A: a, G: g}, {A: a, G: g}, {G: g})
    assert found["gradient/all/generator/share"] == pytest.approx(12 / 14)
    assert found["gradient/all/aggregator/share"] == pytest.approx(2 / 14)
    assert found["gradient/all/dominance"] == pytest.approx(12 / 14)
    assert found["role/generator/gradient_share"] == pytest.approx(12 / 14)
    # The sums are (12, 0), (0, 2) and (12, 2).
    assert found["gradient/all/generator/alignment"] == pytest.approx(12 / math.hypot(12, 2))
    assert found["gradient/all/aggregator/alignment"] == pytest.approx(2 / math.hypot(12, 2))
    assert found["gradient/all/aggregator+generator/cosine"] == 0.0
    # Norms are means over the four updates of the policy, and per call over the weight of all four.
    assert found["gradient/all/generator/norm"] == pytest.approx(3.0)
    assert found["gradient/all/aggregator/norm"] == pytest.approx(0.5)
    assert found["gradient/all/norm"] == pytest.approx((3 + 2 * math.hypot(3, 1) + 3) / 4)
    assert found["gradient/all/generator/per_call_norm"] == pytest.approx(12 / 2)
    assert found["gradient/all/aggregator/per_call_norm"] == pytest.approx(2 / 0.5)


@pytest.mark.parametrize("seed", range(12))
def test_shares_add_up_to_one_whatever_the_mini_batches_hold(seed):
    source, roles = random.Random(seed), ["a", "b", "c"][: 2 + seed % 2]
    torch.manual_seed(seed)
    updates = []
    for _ in range(source.randint(2, 7)):
        there = source.sample(roles, source.randint(1, len(roles)))
        updates.append({Source("all", role): part((source.uniform(0, 5) * torch.randn(40)).tolist()) for role in there})
    found, (shares, alignments) = numbers(*updates), by_hand(updates)
    for one in shares:
        assert found[f"gradient/all/{one.role}/share"] == pytest.approx(shares[one], rel=1e-6)
        assert found[f"role/{one.role}/gradient_share"] == pytest.approx(shares[one], rel=1e-6)
        assert found[f"gradient/all/{one.role}/alignment"] == pytest.approx(alignments[one], abs=1e-5)
    assert math.fsum(found[f"gradient/all/{one.role}/share"] for one in shares) == pytest.approx(1.0)
    assert found["gradient/all/dominance"] == pytest.approx(max(shares.values()))


def test_isolated_policies_with_unequal_numbers_of_updates_share_all_the_mass():
    mine, other = Source("g", "generator"), Source("a", "aggregator")
    found = numbers({mine: part([2.0]), other: part([3.0])}, {mine: part([2.0])}, {mine: part([2.0])})
    assert found["role/generator/gradient_share"] == pytest.approx(6 / 9)
    assert found["role/aggregator/gradient_share"] == pytest.approx(3 / 9)
    assert (found["gradient/g/norm"], found["gradient/a/norm"]) == (2.0, 3.0)
    for policy, role in (("g", "generator"), ("a", "aggregator")):
        assert found[f"gradient/{policy}/{role}/share"] == found[f"gradient/{policy}/dominance"] == 1.0
        assert found[f"gradient/{policy}/{role}/alignment"] == pytest.approx(1.0)


def test_with_one_update_nothing_is_computed_anew():
    update = {G: part([3.0, 1.0], slots={0: [1.0, 1.0], 1: [2.0, 0.0]}), A: part([0.1, 0.7])}
    found = total([update])
    assert all(found.contributions[source] is one for source, one in update.items())
    assert (found.updates, list(found.contributions)) == ({"all": 1}, [G, A])
    plain = role_gradients(make_step(contributions=update))
    assert numbers(update) == plain


def test_an_update_without_samples_counts_for_nobody():
    assert numbers({}) == {}
    assert numbers({}, {G: part([1.0])}, {}) == numbers({G: part([1.0])})


def test_losses_are_means_over_the_policys_updates_and_facts_over_its_tokens():
    found = numbers(
        {G: part([1.0], weight=0.75, loss=0.4, facts={"clipped": 0.1}), A: part([1.0], weight=0.25, loss=0.2)},
        {G: part([1.0], weight=0.25, loss=0.2, facts={"clipped": 0.5})},
    )
    assert found["loss/all/generator/value"] == pytest.approx(0.3)
    assert found["loss/all/aggregator/value"] == pytest.approx(0.1), "it adds up with the generator's to the mean loss"
    assert found["loss/all/generator/clipped"] == pytest.approx(0.75 * 0.1 + 0.25 * 0.5)


def test_slots_are_compared_by_what_they_push_in_the_whole_step():
    one = {G: part([1.0, 0.0], slots={0: [1.0, 0.0]})}
    other = {G: part([0.0, 1.0], slots={1: [0.0, 1.0]})}
    found = numbers(one, other)
    assert found["gradient/all/generator/coherence"] == pytest.approx(math.sqrt(0.5))
    assert found["gradient/all/generator/amplification"] == pytest.approx(math.sqrt(2))
    assert found["gradient/all/generator/amplification_by_chance"] == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("left", [0.0, 1e-9, 2e-7, -5e-6])
def test_updates_that_undo_each_other_have_mass_and_no_direction(left):
    found = numbers({G: part([1.0, 2.0]), A: part([0.0, 1.0])}, {G: part([-1.0 + left, -2.0])})
    mass = 2 * math.sqrt(5)
    assert found["gradient/all/generator/share"] == pytest.approx(mass / (mass + 1), rel=1e-5)
    assert "gradient/all/generator/alignment" not in found
    assert "gradient/all/aggregator+generator/cosine" not in found
    assert found["gradient/all/aggregator/alignment"] == pytest.approx(1.0)


def test_a_gradient_of_zero_in_one_update_of_four_changes_no_share():
    """There, a policy of one role had dominance, share and alignment 0.75."""
    real, nothing = {G: part([2.0, 1.0])}, {G: part([0.0, 0.0])}
    found = numbers(real, nothing, real, real)
    names = ("generator/share", "generator/alignment", "dominance")
    assert [found[f"gradient/all/{name}"] for name in names] == pytest.approx([1.0, 1.0, 1.0])
    assert found["gradient/all/norm"] == pytest.approx(0.75 * math.sqrt(5))


def test_persistence_compares_whole_steps():
    diagnostic = Persistence(memory=0.5)
    steps = ([[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [-1.0, 1.0]], [[0.0, 1.0]])
    found = []
    for index, rows in enumerate(steps, start=1):
        contributions = total([{G: part(row)} for row in rows]).contributions
        found.append(diagnostic.look(make_step(index=index, contributions=contributions)))
    # The sums are (1, 1), (1, 1) and (0, 1); m is (1, 1) all the time.
    assert [one.get("gradient/all/generator/persistence") for one in found] == [
        None,
        pytest.approx(1.0),
        pytest.approx(math.sqrt(0.5)),
    ]


def test_every_diagnostic_looks_once_at_the_whole_step():
    seen = []
    diagnostics = build_diagnostics(config_from({"diagnostics": ["role_gradients", "persistence"]}).diagnostics)
    found = total([{G: part([1.0])}, {G: part([2.0]), A: part([1.0])}])
    step = make_step(contributions=found.contributions, updates=found.updates, norms=found.norms)
    seen.append(diagnostics.look(step))
    assert seen[0]["gradient/all/generator/share"] == pytest.approx(3 / 4)
    assert step.contributions[G].gradient.flat.tolist() == [3.0]
    assert (step.contributions[G].mass, step.contributions[A].mass) == (3.0, 1.0)


def studied(generator: float, aggregator: float, seed: int):
    """The numbers of a step whose mini-batches are the study's, of two roles with these lengths of gradients."""
    torch.manual_seed(seed)
    drift, other = torch.randn(200), torch.randn(200)

    def noisy(direction, length):
        return part((length * (direction + 0.3 * torch.randn(200))).tolist())

    return numbers(
        {G: noisy(drift, generator)},
        {A: noisy(other, aggregator), G: noisy(drift, generator)},
        {A: noisy(other, aggregator), G: noisy(drift, generator)},
        {G: noisy(drift, generator)},
    )


@pytest.mark.parametrize(("aggregator", "captured"), [(0.3, True), (3.0, False)])
def test_capture_is_seen_in_the_recipe_that_is_to_show_it(aggregator, captured):
    limits = Thresholds()
    rows = [{"step": index, **studied(1.0, aggregator, index)} for index in range(1, limits.window + 1)]
    routing = Routing({"generator": "all", "aggregator": "all"})
    history = History(metrics=rows, evaluations=[], routing=routing, claims={})
    found = captor_of(history, limits, "all", limits.window)
    assert (found is not None and found.role == "generator") is captured
