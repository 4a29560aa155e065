"""Effects over the cells of a study: by hand, with cells left out, and in simulated studies."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import f_oneway
from scipy.stats import t as student
from studies_by_chance import answers, contrasts, difficulties, shift_of

from counterpoint.analysis.contrast import contrast, weighted_sum
from counterpoint.analysis.factors import (
    CellOutcomes,
    Change,
    axes_of,
    by_context,
    changes_of,
    effect,
    effects,
    shares,
    weigh,
)
from counterpoint.analysis.multiplicity import primary
from counterpoint.errors import RunError

WORKFLOWS = ("voting", "orchestrator", "evaluator")
SHARINGS = ("shared", "isolated")
ISOLATED = Change(axis="sharing", to="isolated", against=("shared",))


def cell(labels, values, seeds=None, tasks="one"):
    seeds = tuple(range(len(values))) if seeds is None else seeds
    return CellOutcomes(labels=labels, seeds=seeds, values=np.asarray(values, dtype=float), tasks=tasks)


def some_cells(axes, seeds=4, tasks=9, mean=lambda **labels: 0.0, families=()):
    """A full design: every combination of labels, with noise; an axis in `families` decides the tasks."""
    source = np.random.default_rng(11)
    return [
        cell(
            labels := dict(zip(axes, combination, strict=True)),
            mean(**labels) + source.normal(0, 0.1, (seeds, 1)) + source.normal(0, 0.2, (seeds, tasks)),
            tasks="-".join(labels[axis] for axis in families),
        )
        for combination in product(*axes.values())
    ]


def same(found, theirs):
    return (found.value, found.error, found.freedom, found.low) == pytest.approx(
        (theirs.value, theirs.error, theirs.freedom, theirs.low)
    )


def pair_of(cells, **labels):
    return found_in(cells, **labels, sharing="isolated").values - found_in(cells, **labels, sharing="shared").values


def found_in(cells, **labels):
    return next(one for one in cells if all(one.labels[axis] == label for axis, label in labels.items()))


def test_the_main_effect_of_two_levels_is_the_mean_of_paired_cells():
    cells = some_cells({"workflow": WORKFLOWS, "sharing": SHARINGS})
    pairs = [pair_of(cells, workflow=one) for one in WORKFLOWS]
    found = effect(cells, [ISOLATED], paired="sharing")
    assert same(found.estimate, contrast([(1 / 3, pair) for pair in pairs]))
    assert (found.contexts, found.left_out) == (WORKFLOWS, ())
    assert str(found) == "sharing: isolated - shared"


def test_a_level_is_compared_with_the_mean_of_the_rest_and_its_pairs_are_added_seed_by_seed():
    cells = some_cells({"workflow": WORKFLOWS, "sharing": SHARINGS})
    both = {
        one: (found_in(cells, workflow=one, sharing="shared").values
              + found_in(cells, workflow=one, sharing="isolated").values) / 2
        for one in WORKFLOWS
    }  # fmt: skip
    change = changes_of("workflow", WORKFLOWS)[1]
    found = effect(cells, [change], paired="sharing").estimate
    theirs = contrast([(1.0, both["orchestrator"]), (-0.5, both["voting"]), (-0.5, both["evaluator"])])
    assert same(found, theirs)
    assert str(change) == "workflow: orchestrator - the rest"


def test_an_interaction_is_a_difference_of_differences():
    cells = some_cells({"workflow": WORKFLOWS, "sharing": SHARINGS})
    pair = {one: pair_of(cells, workflow=one) for one in WORKFLOWS}
    found = effect(cells, [ISOLATED, changes_of("workflow", WORKFLOWS)[0]], paired="sharing").estimate
    theirs = contrast([(1.0, pair["voting"]), (-0.5, pair["orchestrator"]), (-0.5, pair["evaluator"])])
    assert same(found, theirs)


def test_families_of_tasks_add_up_in_an_effect():
    axes = {"workflow": WORKFLOWS, "task": ("arithmetic", "functions"), "sharing": SHARINGS}
    cells = some_cells(axes, families=("task",))
    found = effect(cells, [ISOLATED], paired="sharing").estimate
    each = [effect(cells, [ISOLATED], paired="sharing", where={"task": task}).estimate for task in axes["task"]]
    theirs = weighted_sum(each, [0.5, 0.5])
    assert same(found, theirs)
    assert found.tasks == 18
    task = effect(cells, changes_of("task", axes["task"]), paired="sharing").estimate
    assert task.value == pytest.approx(
        np.mean([one.values.mean() * (1 if one.labels["task"] == "functions" else -1) for one in cells]) * 2
    )


def test_a_cell_that_a_study_leaves_out_takes_its_context_with_it():
    whole = some_cells(
        {"workflow": WORKFLOWS, "sharing": SHARINGS}, mean=lambda workflow, sharing: 0.3 * (workflow == "voting")
    )
    cells = [one for one in whole if one.labels != {"workflow": "voting", "sharing": "isolated"}]
    found = effect(cells, [ISOLATED], paired="sharing")
    assert (found.contexts, found.left_out) == (("orchestrator", "evaluator"), ("voting",))
    kept = [one for one in whole if one.labels["workflow"] != "voting"]
    assert found.estimate == effect(kept, [ISOLATED], paired="sharing").estimate
    nothing = effect(cells, [ISOLATED], paired="sharing", where={"workflow": "voting"})
    assert (nothing.estimate, nothing.left_out) == (None, ("voting",))
    assert list(by_context(cells, ISOLATED)) == [("orchestrator",), ("evaluator",)]


def test_a_level_against_the_rest_is_compared_with_those_that_exist_there():
    axes = {"sharing": SHARINGS, "help": ("nothing", "anchor", "balance")}
    whole = some_cells(axes, mean=lambda sharing, help: 0.3 * (help == "anchor"))
    cells = [one for one in whole if one.labels != {"sharing": "isolated", "help": "balance"}]
    anchor, balance = changes_of("help", axes["help"])[1:]
    found = effect(cells, [anchor], paired="help")
    assert (found.contexts, found.left_out) == (SHARINGS, ())
    means = {tuple(one.labels.values()): one.values.mean() for one in cells}
    shared = means["shared", "anchor"] - (means["shared", "nothing"] + means["shared", "balance"]) / 2
    isolated = means["isolated", "anchor"] - means["isolated", "nothing"]
    assert found.estimate.value == pytest.approx((shared + isolated) / 2)
    assert effect(cells, [balance], paired="help").left_out == ("isolated",)
    alone = effect(cells, [anchor, ISOLATED], paired="help").estimate.value
    assert alone == pytest.approx(isolated - (means["shared", "anchor"] - means["shared", "nothing"]))


def test_a_cell_with_one_seed_takes_its_context_with_it():
    cells = some_cells({"workflow": WORKFLOWS, "sharing": SHARINGS})
    cells[0] = cell(cells[0].labels, cells[0].values[:1])
    assert effect(cells, [ISOLATED], paired="sharing").left_out == ("voting",)
    assert ("voting",) not in by_context(cells, ISOLATED)


def test_cells_with_other_seeds_are_parts_of_their_own():
    source = np.random.default_rng(0)
    shared = cell({"sharing": "shared"}, source.random((4, 6)), seeds=(0, 1, 2, 3))
    turned = cell({"sharing": "isolated"}, source.random((4, 6)), seeds=(3, 2, 1, 0))
    other = cell({"sharing": "isolated"}, turned.values, seeds=(4, 5, 6, 7))
    paired = contrast([(1.0, turned.values[::-1] - shared.values)])
    assert same(by_context([shared, turned], ISOLATED)[()], paired)
    apart = contrast([(1.0, other.values), (-1.0, shared.values)])
    assert same(by_context([shared, other], ISOLATED)[()], apart)


def test_all_effects_have_the_main_ones_and_those_of_the_comparison_with_every_other_axis():
    axes = {"workflow": WORKFLOWS, "rate": ("x1", "x3"), "sharing": SHARINGS, "scale": ("small",)}
    names = [str(one) for one in effects(some_cells(axes), "sharing", {"rate": ("x3", "x1")})]
    assert names == [
        "workflow: voting - the rest",
        "workflow: orchestrator - the rest",
        "workflow: evaluator - the rest",
        "rate: x1 - x3",
        "sharing: isolated - shared",
        "sharing: isolated - shared by workflow: voting - the rest",
        "sharing: isolated - shared by workflow: orchestrator - the rest",
        "sharing: isolated - shared by workflow: evaluator - the rest",
        "sharing: isolated - shared by rate: x1 - x3",
    ]
    assert effects([], "sharing") == []
    assert effects(some_cells({"sharing": ("shared",)}), "sharing") == []


def test_what_is_no_design_is_refused_in_one_line():
    one, other = cell({"a": "1"}, np.zeros((2, 2))), cell({"b": "1"}, np.zeros((2, 2)))
    for wrong, message in (([one, other], "different axes cannot be averaged: a and b"), ([one, one], "labels 1")):
        with pytest.raises(RunError, match=message):
            axes_of(wrong)
    with pytest.raises(RunError, match="no cell has a = 3; known: 1"):
        effect([one], [Change(axis="a", to="1", against=("3",))])
    with pytest.raises(RunError, match="no cell has c = 1; known: no label of this axis"):
        effect([one], [Change(axis="a", to="1", against=("1",))], where={"c": "1"})
    with pytest.raises(ValueError, match="same tasks in every part, not 2 and 3"):
        weigh([one, cell({"a": "2"}, np.zeros((2, 3)))], [1.0, -1.0])
    with pytest.raises(RunError, match="no cell has two seeds and two tasks"):
        shares([cell({"a": label}, np.zeros((1, 2))) for label in "12"])


def test_omega_squared_of_one_factor_is_that_of_an_analysis_of_variance():
    """Each run has one accuracy: w^2 of the means of n runs is (SS_f - df MS_E) / (SS_f + MS_E), over n."""
    runs = np.random.default_rng(2).normal(0, 1, (3, 6)) + np.array([[0.0], [1.0], [3.0]])
    cells = [
        cell({"a": label, "b": "x"}, np.tile(accuracies[:, None], (1, 4)))
        for label, accuracies in zip("pqr", runs, strict=True)
    ]
    within = runs.var(axis=1, ddof=1).mean()
    between = 6 * np.square(runs.mean(axis=1) - runs.mean()).sum()
    assert between / 2 / within == pytest.approx(f_oneway(*runs).statistic)
    (found,) = shares(cells)
    assert (found.axes, found.freedom) == (("a",), 2)
    assert found.omega_squared == pytest.approx((between - 2 * within) / (between + within))


def test_omega_squared_finds_the_factors_that_made_the_means():
    def mean(workflow, sharing, rate):
        return 0.4 * (workflow == "voting") + 0.8 * (sharing == "isolated") * (workflow == "orchestrator")

    cells = some_cells({"workflow": WORKFLOWS, "sharing": SHARINGS, "rate": ("x1", "x3")}, seeds=8, mean=mean)
    found = {one.axes: one.omega_squared for one in shares(cells)}
    assert found["rate",] == pytest.approx(0.0, abs=0.02)
    assert found["sharing", "rate"] == pytest.approx(0.0, abs=0.02)
    assert found["workflow", "sharing"] > 0.3
    assert 0.9 < sum(found.values()) < 1.05
    empty = cell({"workflow": "voting", "sharing": "mixed", "rate": "x1"}, np.zeros((0, 9)), tasks="")
    assert {one.axes: one.omega_squared for one in shares([*cells, empty])} == found
    assert effect([*cells, empty], [Change(axis="sharing", to="mixed", against=("shared",))]).estimate is None
    partial = {one.axes: one for one in shares(cells[:2] + cells[4:])}
    assert partial["workflow", "sharing"].freedom == 1  # the excluded cells leave one of its two differences
    confounded = shares([found_in(cells, workflow=one, sharing=two, rate="x1")
                         for one, two in (("voting", "shared"), ("orchestrator", "isolated"))])  # fmt: skip
    assert [(one.freedom, one.omega_squared) for one in confounded] == [(0, 0.0)] * 3


SPREADS = (0.6, 0.6, 0.2, 0.2, 0.2, 0.2)


def test_the_main_effect_over_six_cells_of_unequal_spread_covers_the_truth():
    source, rates = np.random.default_rng(6), []
    for _ in range(4):
        easy = difficulties(source, 400)
        drawn = [[answers(source, 400, 3, spread, easy) for spread in SPREADS] for _ in SHARINGS]
        pairs = [isolated - shared for shared, isolated in zip(*drawn, strict=True)]
        value, error, freedom = contrasts([(1 / 6, pair) for pair in pairs])
        rates.append(np.mean(np.abs(value) <= student.ppf(0.975, freedom) * error))
    assert 0.93 <= np.mean(rates) <= 0.975
    cells = [
        cell({"workflow": str(place), "sharing": name}, values[0])
        for name, found in zip(SHARINGS, drawn, strict=True)
        for place, values in enumerate(found)
    ]
    found = effect(cells, [ISOLATED], paired="sharing").estimate
    assert (found.value, found.error, found.freedom) == pytest.approx((value[0], error[0], freedom[0]))


def test_a_planted_interaction_is_found_where_it_is_and_nowhere_else():
    """Isolated policies are 6 points ahead in one of three workflows, on two sets of tasks: 5 seeds, 4 samples."""
    source, studies, more = np.random.default_rng(3), 100, shift_of(0.06, 0.1)
    drawn = {}
    for task in ("arithmetic", "functions"):
        easy = difficulties(source, studies)
        for workflow, sharing in product(WORKFLOWS, SHARINGS):
            ability = 1.5 + more * (workflow == "orchestrator" and sharing == "isolated")
            drawn[workflow, task, sharing] = answers(source, studies, 5, 0.1, easy, ability, samples=4)
    alone = interacts = 0
    by_workflow = changes_of("workflow", WORKFLOWS)[1]
    for study in range(studies):
        cells = [
            cell(dict(zip(("workflow", "task", "sharing"), labels, strict=True)), values[study], tasks=labels[1])
            for labels, values in drawn.items()
        ]
        family = {
            one: effect(cells, [ISOLATED], paired="sharing", where={"workflow": one}).estimate for one in WORKFLOWS
        }
        alone += [one for one, found in primary(family).items() if found.rejected] == ["orchestrator"]
        interacts += effect(cells, [ISOLATED, by_workflow], paired="sharing").estimate.low > 0
    assert alone / studies >= 0.9
    assert interacts / studies >= 0.9
