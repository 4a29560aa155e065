"""The figures of a study: their numbers are those of the comparison, and every odd study draws or says nothing."""

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import groupby, pairwise, product
from xml.etree import ElementTree

import altair as alt
import numpy as np
import polars as pl
import pytest
import vl_convert
from runs_by_hand import six_by_hand

from counterpoint.analysis.contrast import contrast
from counterpoint.analysis.falls import rate_of
from counterpoint.analysis.survival import Duration, kaplan_meier
from counterpoint.errors import ConfigError, RunError
from counterpoint.experiments.against_controls import against_controls, on_average
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.collected_files import frame_of
from counterpoint.experiments.compare import cells_of, compare_runs
from counterpoint.experiments.matrices import matrix
from counterpoint.reports.before_falls import differences
from counterpoint.reports.drawing import packed, slim, svg, themed
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures import files as files_module
from counterpoint.reports.figures.controls import control_differences, controls
from counterpoint.reports.figures.factors import factor_shares, factors
from counterpoint.reports.figures.falls import fall_rates, survival
from counterpoint.reports.figures.files import write_figures
from counterpoint.reports.figures.forest import about_cut, domain_of, forest
from counterpoint.reports.figures.groups import OTHER_SHAPES, labels, ordered, shapes, ticks
from counterpoint.reports.figures.map import map_of
from counterpoint.reports.figures.signatures import signature_counts, signatures
from counterpoint.reports.figures.study import figures_of
from counterpoint.reports.looks import PALETTES, config
from counterpoint.reports.seen import CellSeen, Gathered, Seen
from counterpoint.reports.static import static_svg
from counterpoint.reports.table import latex_table, latex_text

AXES = {"workflow": ("voting", "debate"), "rate": ("x1", "x3"), "sharing": ("shared", "isolated")}
HOSTILE = "</script><b>\"x\" & 'y'\u202e$_%{}\\"
KEYS = {"map", "differences", "factors", "falls", "before_falls", "signatures", "controls", "taught"}


def study(axes=AXES, *, seeds=3, tasks=24, by="sharing", without=(), every=None):
    """Collected runs of every combination of labels: isolated is better, and the first seed of x3 falls."""
    runs, rows = [], []
    for place, combination in enumerate(product(*axes.values())):
        own = dict(zip(axes, combination, strict=True))
        if any(all(own[axis] == label for axis, label in where.items()) for where in without):
            continue
        for seed in range(seeds):
            chance = np.random.default_rng([place, seed])
            name = f"{'-'.join(combination)}-s{seed}"
            fell = own.get("rate") == "x3" and seed == 0
            more = {"state": "finished", "peak_step": 20, "steps": 40, "terminal_steps": (30, 35, 40)}
            more |= {"fell": "fell" if fell else "held", "onset": 25 if fell else None, "compare": by}
            more |= {"signatures": ("cliff: team", "capture: a", "capture: b") if fell else ()}
            runs.append(RunRecord(run=name, path=name, seed=seed, labels=own, **{**more, **(every or {})}))
            gain = 0.2 * ("isolated" in combination)
            for milestone, accuracy in (("base", 0.3), ("peak", 0.5 + gain), ("terminal", 0.2 if fell else 0.5)):
                right = (chance.random(tasks) < accuracy).astype(float)
                rows += [(name, milestone, None, f"t{one}", float(value), 1) for one, value in enumerate(right)]
    return Collected(runs=tuple(runs), outcomes=frame_of("outcomes.parquet", rows), metrics=frame_of("x", []))


def metrics(run):
    """One diagnostic at every second step, which is high in runs that fell."""
    steps, evaluated = [*range(2, 41, 2)], [0, 10, 20, 30]
    names = ["gradient/p/a/coherence"] * len(steps) + ["eval/test/accuracy"] * len(evaluated)
    value = (0.95 if run.fell == "fell" else 0.4) + 0.001 * (run.seed + run.run.count("a"))
    values = [value] * len(steps) + [0.5] * len(evaluated)
    return pl.DataFrame({"step": steps + evaluated, "name": names, "value": values})


def gathered(collected, compared=None, **more):
    """What a report would be made from."""
    outcomes = pl.DataFrame()
    cells = [
        CellSeen(
            name="-".join(label for _, label in key[0]),
            labels=dict(key[0]),
            control=key[1],
            runs=[
                Seen(record=run, roles=["a"], routing={"a": ("p",)}, metrics=metrics(run), outcomes=outcomes)
                for run in runs
            ],
        )
        for key, runs in groupby(collected.runs, key=lambda run: (tuple(run.labels.items()), run.control))
    ]
    return Gathered(title="x", cells=cells, collected=collected, compared=compared or compare_runs(collected), **more)


@pytest.fixture(scope="module")
def collected():
    return study()


@pytest.fixture(scope="module")
def found(collected):
    return compare_runs(collected)


@pytest.fixture(scope="module")
def all_figures(collected, found):
    return [one for own in figures_of(gathered(collected, found)).values() for one in own]


def test_the_map_has_the_accuracies_of_the_comparison(found):
    rows = map_of(found).data["rows"].filter(pl.col("base").is_not_null())
    drawn = sorted(zip(*(rows[name] for name in ("base", "peak", "peak_low", "terminal_high")), strict=True))
    expected = []
    for (_, _), own in found.accuracies().group_by(["block", "group"]):
        amounts = {row["amount"]: row for row in own.iter_rows(named=True)}
        ends = amounts["peak"]["low"], amounts["terminal"]["high"]
        expected.append((amounts["base"]["value"], amounts["peak"]["value"], *ends))
    assert np.array(drawn) == pytest.approx(np.array(sorted(expected)))
    assert len(drawn) == 8


def test_the_map_has_a_row_per_workflow_and_a_column_per_rate_and_says_verdicts_and_falls(found):
    drawn = map_of(found)
    assert drawn.data["rows"]["row"].unique().sort().to_list() == ["debate", "voting"]
    assert drawn.data["rows"]["column"].unique().sort().to_list() == ["x1", "x3"]
    assert set(drawn.data["rows"]["fell"]) == {"fell 0/3", "fell 1/3"}
    words = [text for text in drawn.data["rows"]["words"] if text]
    verdicts = {one.found.verdict for one in found.team}
    assert len(words) == 4
    assert {"cannot tell"} <= verdicts
    assert all(text.startswith("peak: ") and "\nend: " in text for text in words)
    assert drawn.rows().height == 8


def test_a_cell_that_a_study_leaves_out_says_why_and_one_without_runs_says_so(collected):
    runs = study(without=[{"workflow": "debate", "rate": "x3"}])
    notes = map_of(compare_runs(runs), {"workflow = debate, rate = x3": "too slow"}).data["rows"]["note"]
    assert set(notes) == {"", "left out: too slow"}
    assert "not in the study" in set(map_of(compare_runs(runs)).data["rows"]["note"])
    lost = replace(
        collected,
        runs=tuple(
            replace(run, state="failed", peak_step=None) if run.run.startswith("debate-x3-shared") else run
            for run in collected.runs
        ),
    )
    rows = map_of(compare_runs(lost)).data["rows"].filter(fell="no finished run")
    assert rows["group"].to_list() == ["shared"]


def test_the_name_of_a_cell_is_whole_in_lines_that_are_no_wider_than_the_cell():
    axes = {"workflow": ("orchestrator", "voting"), "task": ("arithmetic", "functions"), "scale": ("small", "medium")}
    axes |= {"rate": ("x1", "x3"), "sharing": AXES["sharing"]}
    drawn = map_of(compare_runs(study(axes, tasks=8)))
    names = set(drawn.data["rows"]["cell"])
    assert {" ".join(name.split()) for name in names} >= {"orchestrator, arithmetic, small, x1"}
    assert max(len(line) for name in names for line in name.splitlines()) * 6 <= drawn.spec["spec"]["width"]
    assert set(drawn.spec["facet"]["sort"]) == names
    assert "labelLimit" not in drawn.spec["facet"]["header"]


def test_many_columns_become_rows_so_that_the_map_stays_narrow():
    axes = {"workflow": ("a", "b", "c"), "scale": ("s", "m", "l"), "rate": ("x1", "x3"), "sharing": AXES["sharing"]}
    drawn = map_of(compare_runs(study(axes, tasks=8)))
    assert drawn.data["rows"]["column"].n_unique() == 3
    width = float(re.search(r'width="([0-9.]+)"', svg(drawn))[1])
    assert width < 800


def test_a_picture_has_room_for_labels_that_are_wider_than_they_were_measured(found):
    drawn = ElementTree.fromstring(svg(map_of(found)))
    left, top, width, height = map(float, drawn.attrib["viewBox"].split())
    assert (left, top) == (-16.0, 0.0)
    assert (width, height) == (float(drawn.attrib["width"]), float(drawn.attrib["height"]))
    ground = drawn[0].attrib
    assert (ground["x"], ground["width"], ground["height"]) == ("-16", f"{width:g}", f"{height:g}")
    bare = vl_convert.vegalite_to_svg(themed(map_of(found), "light"))
    assert width == float(re.search(r'width="([0-9.]+)"', bare)[1]) + 32.0


def test_the_forest_has_the_differences_of_the_comparison_the_largest_first(found):
    drawn = forest(found)
    for one in found.team:
        amount = {"peak": "at the peak", "kept": "at the end, over the base"}[one.amount]
        row = drawn.data["rows"].filter(of=one.block, amount=amount).row(0, named=True)
        assert [row[end] / 100 for end in ("value", "low", "high")] == pytest.approx(one.found.shown)
        assert row["wide_low"] < row["low"] < row["high"] < row["wide_high"]
        visible = one.found.visible
        assert row["visible"] == (None if visible > one.found.bound else pytest.approx(100 * visible))
    order = next(layer["encoding"]["y"]["sort"] for layer in drawn.spec["layer"] if "y" in layer["encoding"])
    peaks = {row["of"]: row["value"] for row in drawn.data["rows"].filter(amount="at the peak").iter_rows(named=True)}
    assert [peaks[name] for name in order] == sorted(peaks.values(), reverse=True)


def test_one_seed_has_no_simultaneous_interval_and_no_bracket():
    drawn = forest(compare_runs(study(seeds=1)))
    assert drawn.data["rows"]["wide_low"].is_null().all()
    assert drawn.data["rows"]["visible"].is_null().all()
    assert "1 seed, 24 test tasks, 95 % intervals over tasks alone" in drawn.says


def test_factors_have_the_effects_of_the_comparison(found):
    drawn = factors(found)
    effects = [effect for own in found.effects.values() for effect in own]
    assert drawn.data["rows"].height == len(effects) == 6
    for row, effect in zip(drawn.data["rows"].iter_rows(named=True), effects, strict=True):
        assert (row["value"] / 100, row["low"] / 100) == pytest.approx((effect.estimate.value, effect.estimate.low))
    assert "sharing" in factor_shares(found, study()).says


def test_cells_for_shares_are_those_that_effects_are_made_of(collected, found):
    cells = cells_of(collected, found, "peak")
    assert [cell.values.shape for cell in cells] == [(3, 24)] * 8
    main = next(effect for effect in found.effects["peak"] if len(effect.changes) == 1)
    by_label = {
        name: np.mean([cell.values.mean() for cell in cells if cell.labels["sharing"] == name])
        for name in AXES["sharing"]
    }
    assert main.estimate.value == pytest.approx(by_label["isolated"] - by_label["shared"])


def test_rates_of_falls_are_those_of_the_comparison_and_over_all_cells(found):
    rows = fall_rates(found).data["rows"]
    for group in AXES["sharing"]:
        total = rate_of(["fell"] * 2 + ["held"] * 10)
        every = rows.filter(cell="all cells", group=group).row(0, named=True)
        assert (every["rate"], every["low"], every["high"]) == pytest.approx((2 / 12, total.low, total.high))
    assert set(rows["cell"]) == {"all cells", "voting-x3", "debate-x3"}
    assert "McNemar" in fall_rates(found).says


def test_the_steps_of_survival_are_those_of_kaplan_and_meier(found):
    drawn = survival(found)
    expected = kaplan_meier([Duration(25, True)] * 2 + [Duration(40, False)] * 10)
    own = drawn.data["rows"].filter(group="shared")
    assert own["step"].to_list() == [0, *expected.steps]
    assert own["surviving"].to_list()[1:] == pytest.approx(list(expected.surviving))
    assert survival(compare_runs(study(every={"fell": "held", "onset": None}))) is None


def test_the_curves_of_many_groups_have_a_legend_and_no_two_look_alike():
    names = [f"method-{place}" for place in range(12)]
    table = study(axes={"sharing": tuple(names)}, every={"fell": "fell", "onset": 20})
    many = survival(compare_runs(table))
    assert many.data["ends"].is_empty()
    shown = next(one["encoding"] for one in many.spec["layer"] if one["mark"]["type"] == "line")
    assert shown["color"]["legend"] == shown["strokeDash"]["legend"]
    assert shown["color"]["legend"]["values"] == names
    patterns = shown["strokeDash"]["scale"]["range"][2:]
    looks = {(place % len(OTHER_SHAPES), tuple(pattern)) for place, pattern in enumerate(patterns)}
    assert len(looks) == 12


def test_names_at_the_ends_of_curves_stay_inside_the_figure():
    table = study(axes={"sharing": ("a", "b", "c", "d")}, every={"fell": "fell", "onset": 20})
    ends = survival(compare_runs(table)).data["ends"]["surviving"].to_list()
    assert len(ends) == 4
    assert min(ends) >= 0
    assert all(later - before >= 0.08 - 1e-9 for before, later in pairwise(sorted(ends)))


def test_signatures_are_counted_by_run_and_not_by_role(collected, found):
    counts = signature_counts(gathered(collected, found).cells)
    assert counts.filter(signature="capture", cell="voting-x3-shared")["runs"].to_list() == [1]
    assert counts.filter(signature="capture", cell="voting-x1-shared")["runs"].to_list() == [0]
    assert set(counts["of"]) == {3}
    assert signatures([]) is None


def test_marks_and_diagnostics_before_falls_are_those_of_the_runs(collected, found):
    drawn = figures_of(gathered(collected, found))["before_falls"]
    marks, diagnostics = drawn
    onsets = marks.data["rows"].filter(kind="onset")
    assert onsets["step"].to_list() == [25] * 4
    assert marks.data["rows"]["of"].n_unique() == 24
    assert marks.spec["encoding"]["y"]["sort"][0].endswith("fell")
    values = diagnostics.data["rows"]
    assert values.filter(side="fell")["value"].to_list() == pytest.approx(
        [0.951] * values.filter(side="fell").height, abs=0.002
    )
    assert values.filter(side="held")["value"].to_list() == pytest.approx(
        [0.402] * values.filter(side="held").height, abs=0.002
    )
    assert "None could be tested" in diagnostics.says  # one run of each kind fell: their spread is unknown


def test_a_diagnostic_that_was_higher_before_falls_of_one_kind_is_named():
    again, four = {"fell": "fell", "onset": 25}, study(seeds=4)
    runs = [replace(run, **again) if run.labels["rate"] == "x3" and run.seed == 1 else run for run in four.runs]
    _, diagnostics = figures_of(gathered(replace(four, runs=tuple(runs))))["before_falls"]
    assert "amplification per call (higher)" in diagnostics.says


def outcomes(value, tasks=24):
    return {"team": {"accuracy": value, "outcomes": {f"t{one}": value for one in range(tasks)}}}


def test_a_control_is_subtracted_from_the_run_as_it_was_evaluated_beside_it(collected):
    measured = {"swap-a-b": outcomes(0.25), "swap-a-b: run": outcomes(0.75), "solo": outcomes(0.0)}
    runs = tuple(replace(run, controls=measured) if run.labels["rate"] == "x1" else run for run in collected.runs)
    found = {(one.cell, one.control): one for one in control_differences(replace(collected, runs=runs))}
    assert {control for _, control in found} == {"swap-a-b", "solo"}
    assert found["voting-x1-shared", "swap-a-b"].shown[0] == pytest.approx(0.5)
    peaks = collected.outcomes.filter(pl.col("run").str.starts_with("voting-x1-shared"), milestone="peak")
    assert found["voting-x1-shared", "solo"].shown[0] == pytest.approx(peaks["value"].mean())


BESIDE = ("single-s", *(f"{one}-x1-{sharing}-s" for one in AXES["workflow"] for sharing in AXES["sharing"]))


def test_a_single_agent_is_the_control_of_the_cells_that_have_its_labels(collected):
    agents = []
    for seed in range(3):
        base = next(run for run in collected.runs if run.run == f"voting-x1-shared-s{seed}")
        more = {"transfer-voting-shared": outcomes(0.125), "transfer-debate-shared": outcomes(0.0)}
        agents.append(replace(base, run=f"single-s{seed}", labels={"rate": "x1"}, control="single", controls=more))
    rows = collected.outcomes.filter(pl.col("run").str.starts_with("voting-x1-shared"))
    rows = rows.with_columns((pl.lit("single-s") + pl.col("run").str.slice(-1)).alias("run"))
    whole = replace(collected, runs=(*collected.runs, *agents), outcomes=pl.concat([collected.outcomes, rows]))
    found = {(one.cell, one.control): one for one in control_differences(whole)}
    assert {cell for cell, control in found if control == "single"} == {
        f"{workflow}-x1-{sharing}" for workflow in AXES["workflow"] for sharing in AXES["sharing"]
    }
    assert found["voting-x1-shared", "single"].shown[0] == pytest.approx(0.0)
    peaks = collected.outcomes.filter(pl.col("run").str.starts_with("voting-x1-shared"), milestone="peak")
    transferred = found["voting-x1-shared", "single, transfer"]
    assert transferred.shown[0] == pytest.approx(peaks["value"].mean() - 0.125)
    one_by_one = [one.found for one in against_controls(whole, 0.03) if one.amount == "peak"]
    mean = on_average(whole, "peak")
    assert (mean.pairs, mean.below + mean.above, mean.estimate.seeds) == (4, 3, 3), "one team is its own single agent"
    assert mean.estimate.value == pytest.approx(sum(one.shown[0] for one in one_by_one) / 4)
    sides = [matrix(whole, [run for run in whole.runs if run.run.startswith(name)], "peak").values for name in BESIDE]
    slow = contrast([(1.0, sum(sides[1:]) / 4 - sides[0])])
    assert (mean.estimate.error, mean.estimate.freedom) == pytest.approx((slow.error, slow.freedom))
    expected = [one for one in against_controls(whole, 0.03) if one.block == "voting-x1-isolated"]
    drawn = controls(whole)
    rows = drawn.data["rows"].filter(pl.col("of").str.replace_all("\n", " ") == "voting-x1-isolated - single")
    assert rows["value"].to_list() == pytest.approx([100 * one.found.shown[0] for one in expected])
    assert rows["amount"].to_list() == ["at the peak", "at the end"]


ODD = {
    "one run": lambda: study({"sharing": ("shared",)}, seeds=1),
    "one group": lambda: study({"sharing": ("shared",)}),
    "one seed": lambda: study(seeds=1),
    "one task": lambda: study(tasks=1),
    "two tasks": lambda: study(tasks=2),
    "twelve groups": lambda: study({"arm": tuple(f"g{one}" for one in range(12))}, by="arm"),
    "three groups": lambda: study({**AXES, "sharing": ("shared", "isolated", "slots")}),
    "long and hostile labels": lambda: study({**AXES, "rate": (HOSTILE, "y" * 300, "y" * 301, "\u05d0\u05d1", "")}),
    "runs that were stopped": lambda: study(every={"stopped": "cliff"}),
    "nothing can be told": lambda: study(every={"fell": "cannot tell", "onset": None}),
    "a fall without an onset": lambda: study(every={"fell": "fell", "onset": None}),
    "no fate at all": lambda: study(every={"fell": None, "onset": None, "terminal_steps": ()}),
    "a missing cell": lambda: study(without=[{"workflow": "debate", "rate": "x3", "sharing": "shared"}]),
    "everything is the same": lambda: replace(
        study(), outcomes=study().outcomes.with_columns(pl.lit(1.0).alias("value"))
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_every_odd_study_is_drawn_or_left_out(name):
    collected = ODD[name]()
    found = figures_of(gathered(collected))
    assert found.keys() == KEYS
    for figure in (one for own in found.values() for one in own):
        assert vl_convert.vegalite_to_vega(figure.whole())
        assert figure.says
        assert figure.rows().height
        assert "NaN" not in packed(figure)
        for frame in figure.data.values():
            assert not any(frame[column].is_nan().any() for column in frame.columns if frame[column].dtype.is_float())


@pytest.mark.parametrize("name", ["one seed", "long and hostile labels"])
def test_what_is_drawn_of_odd_studies_is_text_and_numbers(name):
    collected = ODD[name]()
    found = compare_runs(collected)
    for figure in (map_of(found), forest(found), fall_rates(found)):
        drawn = svg(figure)
        assert "NaN" not in drawn
        assert "undefined" not in re.sub(r"<[^<>]*>", "", drawn)
        assert "<script" not in drawn


def test_without_a_comparison_runs_are_drawn_and_groups_are_not(collected):
    found = figures_of(replace(gathered(collected), compared=None))
    assert {name for name, figures in found.items() if figures} == {"signatures", "before_falls"}


def test_every_specification_is_vega_lite(all_figures):
    for figure in all_figures:
        spec = json.loads(json.dumps(figure.spec).replace('"groups"', '"category"'))
        alt.Chart.from_dict(spec)


def test_every_caption_names_its_numbers_and_what_intervals_are_over(all_figures):
    assert {figure.name for figure in all_figures} >= {"map", "differences", "factors", "falls", "survival"}
    for figure in all_figures:
        assert re.search(r"\d+ (paired )?(seed|run|group)|of \d+ (run|fell)|\d+ of \d+", figure.says), figure.name
        assert re.search(r"intervals? over|no interval|without intervals", figure.says), figure.name


def test_rows_have_labels_of_their_own_and_groups_marks_of_their_own():
    names = ["y" * 300, "y" * 301, "a\u202eb", "a b", ""]
    assert len(set(labels(names).values())) == len(names)
    groups = [f"g{one}" for one in range(30)]
    colours = config("light")["range"]["groups"]
    marks = list(zip(colours, shapes(groups), strict=False))[: len(ordered(groups))]
    assert len(set(marks)) == 32
    assert marks[0] == (PALETTES["light"].sharing["shared"], "circle")
    assert config("dark")["range"]["groups"][1] == PALETTES["dark"].sharing["isolated"]


def test_ticks_are_round_and_fit():
    assert ticks(0.18, 0.83, 4) == [0.2, 0.4, 0.6, 0.8]
    assert ticks(0.18, 0.83, 3) == [0.25, 0.5, 0.75]
    assert ticks(0.41, 0.43, 4) == [0.41, 0.42, 0.43]
    assert ticks(0.412, 0.418, 4) == []


def test_a_slim_drawing_looks_the_same(all_figures):
    whole = svg(all_figures[0])
    drawn = slim(whole)
    assert len(drawn) < 0.7 * len(whole)
    assert not re.search(r" (class|role|aria-label)=", drawn)
    texts = [re.findall(r">([^<>]+)<", one) for one in (whole, drawn)]
    assert texts[0] == texts[1]
    fills = [Counter(re.findall(r'<path[^<>]* (fill="#[0-9a-f]+")', one)) for one in (whole, drawn)]
    assert fills[0] == fills[1]


def test_text_in_a_drawing_for_a_page_is_text():
    text = '</text><script>alert(1)</script> fill="#fe0001"'
    spec = {"data": {"name": "rows"}, "mark": "text", "encoding": {"text": {"field": "of"}}}
    drawn = static_svg(Figure(name="x", title="x", says="x", spec=spec, data={"rows": pl.DataFrame({"of": [text]})}))
    assert "<script" not in drawn
    assert "&lt;script&gt;" in drawn


def test_files_have_the_names_of_figures_in_every_format(tmp_path):
    given = gathered(study({"sharing": ("shared", "isolated")}))
    written = write_figures(given, tmp_path)
    names = {str(one.relative_to(tmp_path)) for one in written}
    assert {"map.svg", "differences.pdf", "falls.png", "tables/map.csv", "tables/compared.tex"} <= names
    assert (tmp_path / "differences.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "falls.png").read_bytes().startswith(b"\x89PNG")
    assert PALETTES["light"].background in (tmp_path / "map.svg").read_text(encoding="utf-8")
    assert set(write_figures(given, tmp_path, ("svg",))) < set(written)


def test_one_figure_that_fails_names_itself_and_the_others_are_written(collected, found, tmp_path):
    broken = Figure(name="broken", title="x", says="x", spec={"mark": 3}, data={"rows": pl.DataFrame({"a": [1]})})
    says = r"^not every figure could be drawn: broken\.svg: .* failed: \S.*; map: two figures have"
    with pytest.raises(RunError, match=says):
        write_figures(gathered(collected, found), tmp_path, ("svg",), [broken, map_of(found)])
    assert (tmp_path / "controls.svg").exists() == bool(controls(collected))
    assert (tmp_path / "differences.svg").exists()
    assert (tmp_path / "tables" / "differences.csv").exists()


def test_wrong_formats_and_folders_are_one_line(collected, found, tmp_path):
    with pytest.raises(ConfigError, match="unknown format of figures 'gif'"):
        write_figures(gathered(collected, found), tmp_path, ("gif",))
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"--figures .*file cannot be written to"):
        write_figures(gathered(collected, found), tmp_path / "file", ("svg",))
    assert files_module.DRAWN.keys() == {"svg", "pdf", "png"}


def test_latex_is_escaped_and_has_the_rules_of_booktabs():
    assert latex_text("a_b & 50 % #1 $x$ {y} ~^\\ <z>\n|") == (
        r"a\_b \& 50 \% \#1 \$x\$ \{y\} \textasciitilde{}\textasciicircum{}\textbackslash{} \textless{}z\textgreater{}"
        r" \textbar{}"
    )
    told = latex_table(["group", "points"], [["shared", "+1.0"]], "a % title")
    assert r"\caption{a \% title}" in told
    assert "\\begin{tabular}{@{}lr@{}}\n\\toprule\ngroup & points \\\\\n\\midrule\nshared & +1.0 \\\\" in told


def test_the_figures_and_the_differences_before_falls_are_made_once(collected, found):
    given = gathered(collected, found)
    assert figures_of(given) is figures_of(given)
    assert differences(given) is differences(given)
    assert figures_of(replace(given, compared=None))["map"] == []


def test_runs_by_hand_are_drawn_with_their_roles(tmp_path):
    from counterpoint.experiments.comparing import compare_paths

    found = compare_paths(six_by_hand(tmp_path, gap=0.3, tasks=40))
    assert map_of(found).data["rows"]["row"].unique().len() > 1
    assert forest(found).data["rows"]["of"].unique().len() > 1


def test_the_axis_of_differences_holds_every_interval_and_no_bracket_that_would_make_them_unreadable():
    near = {"low": -4.0, "high": 8.0, "visible": 10.0, "wide_low": -90.0, "wide_high": 90.0}
    far = {**near, "visible": 60.0}
    assert domain_of([near], 3.0) == pytest.approx((-11.2, 11.2))  # 10, and 6 % of 20 beyond
    assert domain_of([near, far], 3.0) == domain_of([near], 3.0)
    assert domain_of([far], 3.0) == pytest.approx((-4.72, 8.72))
    assert about_cut([near], domain_of([near], 3.0)) == ""
    assert about_cut([near, far], domain_of([near, far], 3.0)) == " Brackets farther out than the axis are not drawn."
