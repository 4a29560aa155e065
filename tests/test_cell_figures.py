"""The figures of a cell: they show what was recorded, whatever was recorded."""

import json
import re
from itertools import pairwise
from math import inf, nan

import pytest
import vl_convert
from cells_by_hand import FINISHED, ISOLATED, cell_of, finished, outcomes_of, run_of, trained

from counterpoint.reports.drawing import packed, svg, themed
from counterpoint.reports.figures.cell import figures_of_cell
from counterpoint.reports.figures.lines import apart
from counterpoint.reports.figures.recorded import POINTS
from counterpoint.reports.looks import SMALLEST

TWELVE = tuple(f"role{place:02}" for place in range(12))
STRANGE = ("a b", "<script>", "\u202eright to left", 'q"uote', "x" * 300, "rôle\x00")


def figures(cell, roles=("generator", "aggregator")):
    return {figure.name.removeprefix(f"{cell.name}-"): figure for figure in figures_of_cell(cell, roles)}


def values(figure, who, name="value"):
    return figure.data["rows"].filter(who=who).sort("step")[name].to_list()


def test_a_run_with_every_number_has_every_figure():
    found = figures(cell_of(finished()))
    assert list(found) == [
        "curves",
        "role-accuracies",
        "shares-shared",
        "cosines",
        "amplification",
        "persistence",
        "lengths",
        "entropy",
        "distance",
        "signal",
        "transitions",
        "first-answers",
    ]


def test_lines_have_the_recorded_numbers():
    found = figures(cell_of(finished()))
    assert values(found["entropy"], "generator") == [1.0, 1 / 2, 1 / 3, 1 / 4]
    assert values(found["distance"], "aggregator") == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert values(found["signal"], "generator") == [0.75] * 4
    assert values(found["persistence"], "aggregator") == pytest.approx([0.05] * 3)
    assert values(found["cosines"], "aggregator + generator") == [-0.2] * 4
    assert values(found["role-accuracies"], "generator") == pytest.approx([0.3, 0.32, 0.34, 0.36, 0.38])
    lengths = found["lengths"].data["rows"].filter(who="aggregator")
    assert lengths.row(0) == ("aggregator", 1, 11.0, 21.0, 31.0, 41.0)


def test_over_seeds_a_line_is_the_mean_and_its_band_reaches_from_least_to_most():
    numbers = [{"role/generator/entropy": {1: value}} for value in (1.0, 2.0, 6.0)]
    cell = cell_of(*(run_of(own, seed=seed) for seed, own in enumerate(numbers)))
    rows = figures(cell)["entropy"].data["rows"]
    assert rows.rows() == [("generator", 1, 3.0, 1.0, 6.0)]
    assert "Lines are means over 3 seeds, bands reach from least to most." in figures(cell)["entropy"].says


def test_a_run_that_has_recorded_nothing_is_not_counted_among_the_seeds_of_a_figure():
    found = figures(cell_of(finished(0), finished(1), run_of({}, seed=2)))
    assert "means over 2 seeds" in found["entropy"].says
    assert found["curves"].says.startswith("2 seeds.")


def stacked(spec):
    return "stack" in json.dumps(spec)


def areas(spec):
    return [layer for layer in spec["layer"] if layer["mark"]["type"] in ("area", "bar")]


def test_norms_of_different_policies_are_never_stacked():
    numbers = trained(policies=("generator", "aggregator"))
    found = figures(cell_of(run_of(numbers, routing=ISOLATED, sharing="isolated")))
    assert not [name for name in found if name.startswith("shares")]
    assert not [name for name, figure in found.items() if stacked(figure.spec)]
    assert areas(found["norms"].spec) == []
    assert values(found["norms"], "generator") == pytest.approx([0.7, 1.4, 2.1, 2.8])
    assert "compare a line with itself" in found["norms"].says


def test_shares_of_a_shared_policy_are_stacked_and_add_up_to_one():
    numbers = trained()
    numbers["gradient/shared/generator/share"] = {1: 0.8, 2: 0.7, 3: 1.0}
    numbers["gradient/shared/aggregator/share"] = {1: 0.2, 2: 0.3}
    found = figures(cell_of(run_of(numbers)))
    assert "norms" not in found
    assert stacked(found["shares-shared"].spec)
    assert values(found["shares-shared"], "generator") == pytest.approx([0.8, 0.7, 1.0])
    assert values(found["shares-shared"], "aggregator") == pytest.approx([0.2, 0.3])


def test_a_role_that_some_seeds_lack_has_the_share_zero_there():
    one = {"gradient/shared/a/share": {1: 0.5}, "gradient/shared/b/share": {1: 0.5}}
    other = {"gradient/shared/a/share": {1: 1.0}}
    figure = figures(cell_of(run_of(one), run_of(other, seed=1)), ("a", "b"))["shares-shared"]
    assert (values(figure, "a"), values(figure, "b")) == ([0.75], [0.25])


def test_a_map_of_roles_to_policies_has_shares_of_each_shared_one_and_the_norms_of_all():
    routing = {"a": ["one"], "b": ["one"], "c": ["two"]}
    numbers = {f"gradient/one/{role}/share": {1: 0.5, 2: 0.5} for role in "ab"}
    numbers |= {"gradient/two/c/share": {1: 1.0}, "gradient/one/norm": {1: 2.0}, "gradient/two/norm": {1: 3.0}}
    found = figures(cell_of(run_of(numbers, routing=routing, sharing="{}")), ("a", "b", "c"))
    assert list(found) == ["shares-one", "norms"]
    assert stacked(found["shares-one"].spec)
    assert not stacked(found["norms"].spec)
    assert (values(found["norms"], "one"), values(found["norms"], "two")) == ([2.0], [3.0])


def marks(figure):
    return {row["kind"]: row for row in figure.data["marks"].to_dicts()}


def test_the_curve_marks_base_peak_and_end_with_intervals_over_tasks_or_over_seeds():
    alone = figures(cell_of(finished()))["curves"]
    found = marks(alone)
    assert {kind: row["value"] for kind, row in found.items()} == {"base": 0.25, "peak": 0.75, "end": 0.5}
    assert (found["peak"]["step"], found["end"]["step"]) == (2.0, 4.0)
    assert found["peak"]["low"] < 0.75 < found["peak"]["high"]
    assert "over tasks alone (4 tasks)" in alone.says
    other = outcomes_of([1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0])
    second = run_of(trained(), seed=1, outcomes=other, peak=4, last=(3, 4))
    both = figures(cell_of(finished(), second))["curves"]
    assert marks(both)["peak"]["value"] == pytest.approx(0.625)
    assert marks(both)["peak"]["step"] == 3.0
    assert "over seeds and tasks" in both.says
    assert "peak 62.5 % [" in both.says


def test_a_run_that_trains_has_its_base_and_no_peak():
    figure = figures(cell_of(run_of(trained(2))))["curves"]
    assert [(row["kind"], row["value"], row["low"]) for row in marks(figure).values()] == [("base", 0.4, None)]
    assert "no peak yet" in figure.says


def test_a_stopped_run_is_in_no_mean_and_in_no_end():
    stopped = finished(1, steps=2, stopped="cliff", shift=0.3)
    figure = figures(cell_of(finished(0), stopped))["curves"]
    assert figure.data["mean"]["value"].to_list() == pytest.approx([0.4, 0.45, 0.5, 0.55, 0.6])
    assert set(figure.data["rows"]["seed"].to_list()) == {0, 1}
    assert "1 run stopped early" in figure.says
    lagging = run_of(trained(1), seed=2)
    assert figures(cell_of(finished(0), lagging))["curves"].data["mean"]["step"].to_list() == [0, 1]


def test_bars_have_the_tasks_that_changed():
    rows = figures(cell_of(finished()))["transitions"].rows()
    assert dict(rows.filter(row="base → peak")["change", "share"].iter_rows()) == {
        "kept right": 0.25,
        "recovered": 0.5,
        "spoiled": 0.0,
        "kept wrong": 0.25,
    }
    assert dict(rows.filter(row="peak → end")["change", "share"].iter_rows())["spoiled"] == 0.25
    first = figures(cell_of(finished()))["first-answers"].rows()
    assert dict(first.filter(row="base")["change", "share"].iter_rows()) == pytest.approx(
        {"kept right": 0.3, "recovered": 0.1, "spoiled": 0.05, "kept wrong": 0.55}
    )


def test_votes_are_drawn_against_a_majority_where_every_episode_has_as_many():
    answers = [2 / 3, 1 / 3, 1.0, 0.0]
    outcomes = [*FINISHED]
    for milestone in ("base", "peak"):
        outcomes += [(milestone, "generator", f"task{place}", value, 3) for place, value in enumerate(answers)]
    numbers = trained() | {"eval/test/role/generator/calls": {0: 3.0, 2: 3.0}}
    numbers["eval/test/role/generator/agreement"] = {0: 0.5, 2: 0.5}
    cell = cell_of(run_of(numbers, outcomes=outcomes, peak=2, last=(3, 4)))
    figure = figures(cell)["agreement-generator"]
    peak = figure.data["rows"].filter(kind="peak")
    assert peak["right", "value", "episodes"].rows() == [(0, 0.0, 1), (1, 1.0, 1), (2, 1.0, 1), (3, 1.0, 1)]
    assert figure.data["majority"]["value"].to_list() == [0.0, 0.0, 1.0, 1.0]
    numbers["eval/test/role/generator/calls"] = {0: 3.0, 2: 2.5}
    cell = cell_of(run_of(numbers, outcomes=outcomes, peak=2, last=(3, 4)))
    assert "agreement-generator" not in figures(cell)


def test_amplification_has_a_dot_per_seed_and_step_and_the_lines_of_its_slots():
    figure = figures(cell_of(finished(0), finished(1)))["amplification"]
    assert figure.data["rows"].sort("seed", "step")["value"].to_list() == pytest.approx([2.1] * 8)
    assert figure.data["limits"]["words"].to_list() == ["n = 3", "√3"]
    assert figure.data["limits"]["value"].to_list() == pytest.approx([3.0, 3**0.5])
    assert figure.data["chance"]["value"].to_list() == pytest.approx([3**0.5] * 4)


def test_more_than_three_pairs_are_a_map_at_start_peak_and_end():
    roles = ("a", "b", "c", "d")
    routing = {role: ["shared"] for role in roles}
    numbers = trained(20, roles=roles)
    numbers["gradient/shared/a+b/cosine"] = {step: step / 100 for step in range(1, 21)}
    cell = cell_of(run_of(numbers, routing=routing, outcomes=FINISHED, peak=10, last=(19, 20)))
    figure = figures(cell, roles)["cosines"]
    rows = figure.data["rows"].filter(one="a", other="b")
    assert dict(rows["moment", "value"].iter_rows()) == pytest.approx({"start": 0.015, "peak": 0.1, "end": 0.195})
    assert len(figure.data["rows"]) == 3 * 6
    assert figures(cell_of(run_of(trained(3, roles=("a", "b", "c")))), "abc")["cosines"].spec["height"] == 190


def test_a_long_run_has_few_points_that_are_means_of_neighbours():
    numbers = {"role/generator/entropy": {step: float(step) for step in range(1, 601)}}
    figure = figures(cell_of(run_of(numbers)))["entropy"]
    rows = figure.data["rows"]
    assert len(rows) == POINTS
    assert rows["value"].to_list()[:2] == [5.5, 15.5]
    assert "A point is the mean over 10 steps." in figure.says


def test_names_at_the_ends_of_lines_do_not_cover_each_other():
    placed = apart([0.5, 0.5, 0.51, 1.0], 0.0, 1.0)
    assert all(later - earlier > 0.06 for earlier, later in pairwise(placed))
    assert max(placed) <= 1.0
    assert apart([0.1, 0.9], 0.0, 1.0) == [0.1, 0.9]
    assert apart([2.0], 2.0, 2.0) == [2.0]


def test_many_or_long_names_have_a_legend_in_place_of_labels():
    few = figures(cell_of(run_of(trained())))["entropy"]
    assert few.data["ends"]["who"].sort().to_list() == ["aggregator", "generator"]
    many = figures(cell_of(run_of(trained(roles=TWELVE))), TWELVE)["entropy"]
    assert len(many.data["ends"]) == 0
    line = next(layer for layer in many.spec["layer"] if layer["mark"]["type"] == "line")
    assert line["encoding"]["color"]["legend"]["values"] == list(TWELVE)
    assert not areas(many.spec)
    patterns = line["encoding"]["strokeDash"]["scale"]["range"]
    assert (patterns[0], patterns[6]) == ([1, 0], [6, 3])


def test_a_role_has_the_same_colour_in_every_figure_and_cell():
    roles = ("generator", "evaluator", "aggregator")
    domains = set()
    for figure in figures_of_cell(cell_of(finished()), roles):
        for layer in figure.spec["layer"]:
            colour = layer["encoding"].get("color", {})
            if colour.get("field") == "who" and figure.name != "cell-cosines":
                domains.add(tuple(colour["scale"]["domain"]))
    assert domains == {(*roles, "shared")}


def test_cells_of_equal_form_share_their_specifications():
    one, other = (figures(cell_of(finished(seed), name=name)) for seed, name in enumerate("ab"))
    assert list(one) == list(other)
    assert all(one[name].spec is other[name].spec for name in one)


def odd_cells():
    numbers = trained()
    yield "nothing recorded", cell_of(run_of({})), ()
    yield "one step", cell_of(run_of(trained(1))), ("generator", "aggregator")
    yield "twelve roles", cell_of(run_of(trained(roles=TWELVE), routing={role: ["p"] for role in TWELVE})), TWELVE
    isolated = trained(roles=TWELVE, policies=TWELVE)
    yield "twelve policies", cell_of(run_of(isolated, routing={role: [role] for role in TWELVE})), TWELVE
    strange = tuple(name.replace("/", "") for name in STRANGE)
    yield "strange names", cell_of(run_of(trained(roles=strange, policies=strange)), name=STRANGE[1]), strange
    yield "strange names, shared", cell_of(run_of(trained(roles=strange)), name=STRANGE[2]), strange
    broken = {name: {**own, 2: nan, 3: inf} for name, own in numbers.items()}
    yield "not finite", cell_of(run_of(broken)), ("generator", "aggregator")
    none = {name: dict.fromkeys(own, nan) for name, own in numbers.items()}
    yield "nothing finite", cell_of(run_of(none)), ()
    flat = {name: dict.fromkeys(own, 0.0) for name, own in numbers.items()}
    yield "all zero", cell_of(run_of(flat, outcomes=outcomes_of([0], [0], [0]), peak=4, last=(4,))), ()
    frozen = {name: own for name, own in numbers.items() if not name.startswith("gradient/shared/aggregator")}
    yield "a frozen policy", cell_of(run_of(frozen)), ("generator", "aggregator")
    slots = {"generator": ["g0", "g1", "g2"], "aggregator": ["aggregator"]}
    own = trained(roles=("generator",) * 3, policies=("g0", "g1", "g2"))
    yield "slots", cell_of(run_of(own, routing=slots, sharing="slots")), ("generator", "aggregator")
    yield "all stopped", cell_of(finished(0, stopped="cliff"), finished(1, stopped="cliff")), ("generator",)
    yield "no outcomes", cell_of(run_of(numbers, peak=2, last=(4,))), ("generator", "aggregator")
    unlike = outcomes_of([1], [1], [1])
    other = [(milestone, role, "else", value, n) for milestone, role, _, value, n in unlike]
    runs = [run_of(numbers, seed=seed, outcomes=found, peak=2, last=(4,)) for seed, found in enumerate((unlike, other))]
    yield "no task in common", cell_of(*runs), ("generator", "aggregator")
    yield "a seed without numbers", cell_of(finished(), run_of({}, seed=1)), ("generator", "aggregator")
    yield "base alone", cell_of(run_of({"eval/test/accuracy": {0: 0.5}})), ()
    yield "validation alone", cell_of(run_of({"eval/validation/accuracy": {0: 0.5, 5: 0.6}})), ()
    wide = trained() | {"role/aggregator/tokens_median": dict.fromkeys(range(1, 5), 4000.0)}
    yield "lengths far apart", cell_of(run_of(wide)), ("generator", "aggregator")


@pytest.mark.parametrize(("cell", "roles"), [pytest.param(*one[1:], id=one[0]) for one in odd_cells()])
def test_whatever_was_recorded_is_drawn(cell, roles):
    found = figures_of_cell(cell, roles)
    names = [figure.name for figure in found]
    assert len(set(names)) == len(names)
    for figure in found:
        assert re.fullmatch(r"[\w.-]+", figure.name, re.ASCII)
        assert figure.title
        assert len(figure.says) > 20
        assert "nan" not in figure.says
        assert len(figure.rows())
        assert json.loads(packed(figure))["spec"] == json.loads(json.dumps(figure.spec))
        vl_convert.vegalite_to_vega(json.loads(json.dumps(themed(figure, "dark"))))


def test_nothing_recorded_has_no_figure():
    assert figures_of_cell(cell_of(run_of({})), ()) == []
    assert figures_of_cell(cell_of(), ()) == []


def sizes(spec):
    if isinstance(spec, dict):
        for key, value in spec.items():
            if key.endswith("ontSize"):
                yield value
            yield from sizes(value)
    elif isinstance(spec, list):
        for one in spec:
            yield from sizes(one)


def test_every_figure_is_as_wide_as_its_place_and_has_no_small_text():
    roles = ("a", "b", "c", "d")
    for cell in (cell_of(finished()), cell_of(run_of(trained(roles=roles)))):
        for figure in figures_of_cell(cell, roles):
            assert figure.spec["width"] == "container"
            assert min(sizes(figure.spec), default=SMALLEST) >= SMALLEST


def test_drawn_figures_show_their_words():
    found = figures(cell_of(finished(sharing="shared")))
    drawn = svg(found["curves"])
    assert "peak 75.0 %" in drawn
    assert "base 25.0 %" in drawn
    assert "#0072b2" in drawn
    assert "generator" in svg(found["entropy"], "dark")
