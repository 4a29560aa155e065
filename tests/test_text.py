"""The report as text: planted effects are said, and nothing is said where there is nothing."""

import re
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from collected_by_chance import AXES, study
from markdown_it import MarkdownIt
from scipy.integrate import quad
from scipy.stats import chi2, norm
from scipy.stats import t as student
from studies_by_chance import answers, contrasts, difficulties

from counterpoint.analysis.contrast import estimate
from counterpoint.analysis.factors import CellOutcomes, Change, seeds_for
from counterpoint.analysis.falls import McNemar
from counterpoint.analysis.power import components, needed
from counterpoint.errors import ConfigError, RunError
from counterpoint.experiments.collected_files import write
from counterpoint.reports.front import report
from counterpoint.reports.gather import gather
from counterpoint.reports.text import zeng2026
from counterpoint.reports.text.captured import capture, cost, shared_cells
from counterpoint.reports.text.cells import accuracies, confounded, missing
from counterpoint.reports.text.cells import cost as costs
from counterpoint.reports.text.claims import claims_of
from counterpoint.reports.text.failures import failures
from counterpoint.reports.text.falling import falling, seeds_to_decide
from counterpoint.reports.text.first import came_first
from counterpoint.reports.text.higher import contrasted, higher
from counterpoint.reports.text.jointly import between, dependences, jointly
from counterpoint.reports.text.single_agents import single_agents
from counterpoint.reports.text.statement import is_higher
from counterpoint.reports.text.write import parts_of

ROOT = Path(__file__).parent.parent
SMALL = {"workflow": ("voting", "evaluator"), "sharing": ("shared", "isolated")}


RECORDED = Path(__file__).parent / "recorded" / "falls_voting"
OWN = ("em_open", "em_close", "link_open", "link_close", "image")
"""Markup of the page's own, beside bold."""
PUBLISHED = sorted(path.parent for path in (ROOT / "docs" / "studies").glob("*/runs.jsonl"))


@pytest.fixture(autouse=True)
def without_drawing(request, monkeypatch):
    """Figures are empty, except in tests that are about them: drawing takes most of the time."""
    if "drawing" not in request.fixturenames:
        monkeypatch.setattr("counterpoint.reports.text.write.drawn", lambda figure: "<svg/>\n<!-- vl-convert 0 -->\n")


@pytest.fixture
def drawing():
    """Figures are drawn."""


def gathered(folder, collected):
    write(collected, folder / "collected")
    return gather([folder / "collected"], collected_alone=True)


@pytest.fixture(scope="module")
def nothing(tmp_path_factory):
    """Five seeds of twelve cells in which nothing differs and nothing falls."""
    return gathered(tmp_path_factory.mktemp("nothing"), study())


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Isolated policies are better in voting, and fall in three of five seeds where calls are parallel."""
    found = study(
        peak=lambda labels: 0.6 * (labels["workflow"] == "voting" and labels["sharing"] == "isolated"),
        falls=lambda labels, seed: labels["sharing"] == "isolated" and labels["workflow"] != "evaluator" and seed < 3,
        captured=lambda labels, seed: labels["sharing"] == "shared" and labels["workflow"] == "voting" and seed < 3,
        control=3,
    )
    return gathered(tmp_path_factory.mktemp("planted"), found)


def judged(found):
    return {one.says: one.judge(found) for one in zeng2026.ZENG2026.claims}


def claim(found, word):
    return next(own for says, own in judged(found).items() if word in says)


def words(part):
    return " | ".join(one.text for one in part.statements)


def test_an_advantage_in_one_workflow_is_said_of_this_workflow_alone(planted):
    own = {one.place.label: one for one in contrasted(planted) if one.amount == "peak"}
    assert own["voting"].verdict == "yes"
    assert 4 < 100 * own["voting"].found.estimate.value < 16
    assert own["evaluator"].verdict != "yes"
    assert own["orchestrator"].verdict != "yes"
    assert "workflow = voting, at the peak: isolated minus shared is +" in words(higher(planted, "peak"))
    assert "workflow by sharing" in words(jointly(planted)) or "workflow and sharing" in words(jointly(planted))


def found_in(size, freedom, confidence):
    """The power of a t test at a noncentrality, by integration over the error that a study estimates."""
    limit = student.ppf(0.5 + confidence / 2, freedom)

    def at(share):
        error = limit * (chi2.ppf(share, freedom) / freedom) ** 0.5
        return norm.sf(error - size) + norm.cdf(-error - size)

    return quad(at, 0.0, 1.0, limit=500)[0]


def test_the_difference_that_is_visible_is_that_of_the_strictest_comparison(planted):
    for one in (*contrasted(planted), *dependences(planted)):
        found, confidence = one.found.estimate, 1 - 0.05 / one.family
        assert found_in(one.visible / found.error, found.freedom, confidence) == pytest.approx(0.8, abs=1e-4)
        assert one.visible > found.visible or one.family == 1
    assert max(one.family for one in contrasted(planted)) > 2
    row = next(row for row in higher(planted, "peak").tables[0].rows if row[0] == "workflow = evaluator")
    own = next(one for one in contrasted(planted) if (one.amount, one.place.label) == ("peak", "evaluator"))
    assert row[5] == f"{100 * own.visible:.1f}"


def test_of_several_methods_those_above_the_rest_are_said_first(tmp_path):
    axes = {"sharing": ("shared", "isolated", "pairs", "solo"), "workflow": ("voting", "evaluator")}
    lift = {"pairs": 0.9, "solo": 0.45}
    found = gathered(tmp_path, study(axes=axes, peak=lambda labels: lift.get(labels["sharing"], -0.1)))
    part = higher(found, "peak")
    assert part.title == "Which sharing peaks highest?"
    assert part.answer.verdict == "yes"
    assert part.statements[0].text.startswith("at the peak: pairs minus the rest is +")
    assert {one.verdict for one in part.statements if " minus the rest is -" in one.text} == {None}


def test_the_methods_of_which_nothing_can_be_told_are_one_sentence(tmp_path):
    axes = {"sharing": ("shared", "isolated", "pairs"), "workflow": ("voting", "evaluator")}
    found = gathered(tmp_path, study(axes=axes))
    part = higher(found, "peak")
    unknown = [one for one in part.statements if one.verdict == "cannot tell"]
    assert len(unknown) == 1
    assert "at the peak, it cannot be told if shared, isolated and pairs differ from the rest" in unknown[0].text
    family = [one for one in contrasted(found) if one.amount == "peak" and not one.place.axis]
    low, high = (f"{100 * pick(one.visible for one in family):.1f}" for pick in (min, max))
    assert f"for 3 of them {low} to {high} points would be found" in unknown[0].text
    places = [one.text for one in part.statements if "it cannot be told within" in one.text]
    assert len(places) == len({text.partition(" if ")[0] for text in places}) == 2


def test_of_several_methods_with_one_seed_the_pairs_are_counted(tmp_path):
    axes = {"sharing": ("shared", "isolated", "pairs", "solo")}
    part = higher(gathered(tmp_path, study(axes=axes, seeds=1)), "peak")
    assert part.answer.verdict == "cannot tell"
    assert "cell by cell, after Holm over" in part.answer.text
    assert len(part.statements) <= 3


def test_runs_that_were_stopped_leave_the_ends_of_other_methods_compared(tmp_path):
    axes = {"sharing": ("shared", "isolated", "pairs"), "workflow": ("voting", "evaluator")}
    found = study(axes=axes, seeds=3)
    is_stopped = {"sharing": "pairs", "workflow": "voting"}
    runs = [replace(run, stopped="at a cliff" if run.labels == is_stopped else "") for run in found.runs]
    ends = [one for one in contrasted(gathered(tmp_path, replace(found, runs=tuple(runs)))) if one.amount == "kept"]
    contexts = {one.change.to: one.found.contexts for one in ends if not one.place.axis}
    assert contexts == {"shared": ("voting", "evaluator"), "isolated": ("voting", "evaluator"), "pairs": ("evaluator",)}


def test_no_difference_is_visible_that_there_cannot_be(planted):
    one = next(one for one in contrasted(planted) if one.verdict == "cannot tell" and one.amount == "peak")
    wide = replace(one, found=replace(one.found, estimate=replace(one.found.estimate, error=0.5, freedom=1.1)))
    assert not one.is_blind
    assert wide.sentence.endswith("; no difference that there can be would be found in 80 % of such studies")


def test_where_nothing_differs_nothing_is_said_to(nothing):
    for amount in ("peak", "kept"):
        part = higher(nothing, amount)
        assert part.answer.verdict in ("no", "cannot tell")
        assert "is ahead" not in words(part)
    assert {one.verdict for one in contrasted(nothing)} <= {"no", "cannot tell"}
    assert falling(nothing).answer.verdict == "cannot tell"
    assert "no run is known to have fallen: 60 held" in words(falling(nothing))
    assert "none of 60 finished runs fell" in words(came_first(nothing))
    assert failures(nothing).answer.verdict == "no"
    assert capture(nothing).answer.verdict == "no"
    found = judged(nothing)
    assert [says for says, own in found.items() if own.judgement == "agrees"] == [zeng2026.ZENG2026.claims[0].says]


def test_falls_of_one_side_alone_are_said_with_their_place(planted):
    part = falling(planted)
    assert part.answer.verdict == "yes"
    assert "isolated: 12 of 30 fell" in part.answer.text
    assert "in 0 of 30 pairs only shared fell, in 12 only isolated" in part.answer.text
    assert "falls are in 4 of 12 cells: voting-small, isolated 3 of 5" in words(part)
    assert "workflow = evaluator" in next(one.text for one in part.statements if "cannot be told within" in one.text)
    assert claim(planted, "cliff").judgement == "agrees"


def test_falls_of_the_other_side_are_a_no(tmp_path):
    found = gathered(tmp_path, study(axes=SMALL, falls=lambda labels, seed: labels["sharing"] == "shared"))
    assert falling(found).answer.verdict == "no"
    assert claim(found, "cliff").judgement == "disagrees"


@pytest.mark.slow
def test_amplification_that_rises_before_falls_is_said_and_otherwise_not(planted, tmp_path):
    part = came_first(planted)
    assert part.answer.verdict == "yes"
    assert "before falls, amplification per call was higher" in words(part)
    assert "entropy" in next(one.text for one in part.statements if one.verdict == "cannot tell")
    assert "the first mark in 12 runs that fell: amplification (generator) in 6, amplification (worker) in 6" in words(
        part
    )
    assert ("amplification", "12 of 12", "0 of 48") in part.tables[0].rows
    assert claim(planted, "amplify").judgement == "agrees"
    flat = study(axes=SMALL, falls=lambda labels, seed: labels["sharing"] == "isolated" and seed < 3, amplified=False)
    found = gathered(tmp_path, flat)
    assert "amplification per call was" not in words(came_first(found))
    assert claim(found, "amplify").judgement == "cannot tell"


def test_a_captured_policy_is_said_with_its_captor_and_its_cost(planted):
    part = capture(planted)
    assert part.statements[0].text.startswith("a shared policy was captured by one role in 6 of 30 runs [10 %, 37 %]")
    assert "captured by: the generator of voting in 6" in words(part)
    found = cost(shared_cells(planted))
    assert (found.falls, found.holds, found.kinds) == (6, 4, 2)
    assert found.high < 0
    assert tuple(part.tables[0].rows[0][place] for place in (0, 1, 3, 4)) == ("voting", "generator", "6", "10")
    assert claim(planted, "captured").judgement == "agrees"


def test_the_cost_of_capture_is_not_told_where_all_runs_of_a_cell_are_captured(tmp_path):
    caught = study(axes=SMALL, captured=lambda labels, seed: labels["sharing"] == "shared")
    part = capture(gathered(tmp_path, caught))
    assert "no cell has both runs that were captured and runs that were not" in words(part)
    assert cost(shared_cells(gather([tmp_path / "collected"]))) is None


def test_one_captured_run_of_few_does_not_say_that_policies_are_captured(tmp_path):
    once = study(
        axes=SMALL, captured=lambda labels, seed: labels == {"workflow": "voting", "sharing": "shared"} and not seed
    )
    part = capture(gathered(tmp_path, once))
    assert "captured by one role in 1 of 10 runs" in part.answer.text
    assert part.answer.verdict == "cannot tell"


def test_a_signature_of_all_runs_of_a_workflow_is_said_of_that_workflow(tmp_path):
    found = study(axes=SMALL)
    runs = [
        replace(run, signatures=("rubber stamp: critic",)) if run.labels["workflow"] == "evaluator" else run
        for run in found.runs
    ]
    part = failures(gathered(tmp_path, replace(found, runs=tuple(runs))))
    assert "rubber stamp shows in all 10 runs of evaluator" in words(part)
    assert part.tables[0].rows[0][-1] == "evaluator 10 of 10"


def test_signatures_of_one_side_are_another_way_to_fail(planted):
    assert failures(planted).answer.verdict == "yes"
    assert "cliff: shared 0 of 30, isolated 12 of 30 (p < 0.001)" in failures(planted).answer.text
    assert claim(planted, "other ways").judgement == "cannot tell"
    assert zeng2026.fisher((0, 5), (5, 5)) == pytest.approx(2 / 252)


def test_a_team_is_compared_with_its_single_agents(planted, nothing):
    assert "the team minus the single agent is" in single_agents(planted).answer.text
    assert "cell by cell, of 12 comparisons the team is ahead in" in words(single_agents(planted))
    ratios = {}
    agents = [run for run in planted.collected.runs if run.control]
    for run in planted.collected.runs:
        for agent in agents if not run.control else ():
            if agent.labels.items() <= run.labels.items() and agent.seed == run.seed:
                ratios.setdefault(run.labels["workflow"], set()).add(f"{agent.tokens / run.tokens:.1f}")
    told = ", ".join(f"{name} {' to '.join(sorted(own))}" for name, own in ratios.items())
    assert f"generated in training for each of its team: {told}" in words(single_agents(planted))
    assert single_agents(nothing).answer.verdict == "not run yet"


def test_a_further_axis_is_compared_where_it_is(tmp_path, nothing):
    axes = {"settings": ("study", "matched"), **SMALL}
    found = gathered(tmp_path, study(axes=axes, peak=lambda labels: 1.0 * (labels["settings"] == "matched")))
    part = between(found, "settings", "What differs?", "nothing")
    assert part.answer.verdict == "yes"
    assert "matched is ahead in 4" in words(part)
    assert between(nothing, "settings", "What differs?", "the cells are missing").answer.text == "the cells are missing"


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_few_seeds_decide_nothing_and_say_so(tmp_path, seeds):
    every = study(axes=SMALL, seeds=max(seeds, 1), falls=lambda labels, seed: labels["sharing"] == "isolated")
    if not seeds:
        every = study(axes=SMALL, seeds=1, states={run.run: "absent" for run in every.runs})
    found = gathered(tmp_path, every)
    parts = parts_of(found, claims_of("zeng2026"))
    assert falling(found).answer.verdict == ("not run yet" if not seeds else "cannot tell")
    assert higher(found, "peak").answer.verdict in (("not run yet",), ("cannot tell",), ("cannot tell", "no"))[seeds]
    assert not [says for says, own in judged(found).items() if own.judgement == "agrees" and "usually" not in says]
    out = report(tmp_path / "collected", out=tmp_path / "page" / "index.md", claims="zeng2026")
    text = out.read_text(encoding="utf-8")
    assert all(part.title in text for part in parts)
    assert ("fewer than 3 seeds" in text) == (seeds > 0)
    if seeds == 1:
        assert "marked with *, are over tasks alone" in words(accuracies(found))


def test_cells_and_runs_that_are_missing_are_named(tmp_path):
    states = {
        "evaluator-isolated-s1": "failed",
        "voting-shared-s2": "absent",
        "voting-isolated-s2": "absent",
        **{f"evaluator-shared-s{seed}": "absent" for seed in range(3)},
    }
    found = gathered(tmp_path, study(axes=SMALL, seeds=3, states=states))
    told = words(missing(found))
    assert "6 of 12 runs of 4 cells are finished: 0 to 2 seeds per cell, of 3 that are asked for" in told
    assert "seed 2 absent in 2 cells: voting-shared, voting-isolated" in told
    assert "seed 1 failed in 1 cell: evaluator-isolated" in told
    assert "no single agent was trained" in told
    report(tmp_path / "collected", out=tmp_path / "index.md")


def test_time_and_tokens_are_told_per_cell(planted):
    part = costs(planted)
    assert ("voting-small-shared", "5", "2.0", "1.5", "100.0") in part.tables[0].rows
    assert part.statements[0].text.startswith("69 finished runs, with those of controls: 2.3 hours of wall-clock time")


def test_every_cell_has_its_accuracies(planted):
    part = accuracies(planted)
    assert len(part.tables[0].rows) == 15
    assert part.answer is None
    assert "the team gained over its base, at the peak, in 12 of 12 cells" in words(part)


def test_axes_along_which_runs_have_different_lengths_are_named(planted):
    runs = [replace(run, planned=80 if run.labels.get("scale") == "large" else 40) for run in planted.collected.runs]
    found = replace(planted, collected=replace(planted.collected, runs=tuple(runs)))
    assert [text[:61] for text in confounded(found)] == [
        "Runs differ in length with scale: small 40 and large 80 steps"
    ]
    assert confounded(planted) == []


def test_a_study_of_one_axis_and_one_of_none_are_read_too(tmp_path):
    one = gathered(tmp_path / "one", study(axes={"sharing": AXES["sharing"]}))
    assert higher(one, "peak").title == "Does isolated peak higher than shared?"
    assert "paired seeds" in higher(one, "peak").answer.text
    assert jointly(one).answer is None or jointly(one).answer.verdict in ("cannot tell", "not run yet")
    report(tmp_path / "one" / "collected", out=tmp_path / "one.md", claims="zeng2026")
    none = gathered(tmp_path / "none", study(axes={"workflow": ("voting",)}))
    assert higher(none, "peak").answer.verdict == "not run yet"
    assert claim(none, "higher peaks").judgement == "not run yet"
    report(tmp_path / "none" / "collected", out=tmp_path / "none.md", claims="zeng2026")


def test_labels_are_text_beside_verdicts_that_are_bold(tmp_path):
    labels = ("*a* `b`", "[c](http://d)")
    write(study(axes={"arm": labels, "sharing": ("shared", "isolated")}, seeds=2), tmp_path / "collected")
    title = "a `b`\n```\n<b>"
    page = report(tmp_path / "collected", out=tmp_path / "index.md", title=title).read_text(encoding="utf-8")
    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    inline = [part for token in tokens if token.type == "inline" for part in token.children]
    bold = {one.content for before, one in pairwise(inline) if before.type == "strong_open"}
    assert bold <= {"yes", "no", "cannot tell", "not run yet", "Some cells have fewer than 3 seeds."}
    assert bold >= {"cannot tell", "not run yet"}
    assert {part.type for part in inline} <= {"text", "text_special", "strong_open", "strong_close", *OWN}
    assert all(part.attrs["href"].startswith("figures/") for part in inline if part.type == "link_open")
    told = " ".join(part.content for part in inline)
    assert all(label in told.replace("  ", "") for label in ("arm = *a* `b`", "arm = [c](http://d)"))


def test_runs_that_are_all_alike_have_a_page(tmp_path):
    found = study(axes=SMALL, seeds=2)
    import polars as pl

    same = found.outcomes.with_columns(pl.lit(0.5).alias("value"))
    write(replace(found, outcomes=same), tmp_path / "collected")
    text = report(tmp_path / "collected", out=tmp_path / "index.md").read_text(encoding="utf-8")
    assert "nan" not in text.lower().replace("nanny", "")


def test_labels_with_odd_characters_stay_text(tmp_path):
    axes = {"workflow": ("voting",), "scale": ("<b>|small|", "lar\nge"), "sharing": AXES["sharing"]}
    write(study(axes=axes, seeds=2), tmp_path / "collected")
    text = report(tmp_path / "collected", out=tmp_path / "index.md").read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "lar ge" in text
    for table in re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("drawing")
def test_the_page_is_the_same_each_time_and_has_no_other_figures(tmp_path):
    write(study(axes=SMALL, seeds=2, falls=lambda labels, seed: seed == 0), tmp_path / "mine" / "collected")
    pages = [tmp_path / "a" / "index.md", tmp_path / "b" / "index.md"]
    stale = tmp_path / "a" / "figures" / "old.svg"
    stale.parent.mkdir(parents=True)
    stale.write_text("<svg/>\n<!-- vl-convert 1 -->\n")
    own = tmp_path / "a" / "figures" / "own.svg"
    own.write_text("<svg/>")
    for page in pages:
        report(tmp_path / "mine" / "collected", out=page, claims="zeng2026")
    assert not stale.exists()
    own.unlink()
    names = {path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert len(names) > 8
    assert [
        name for name in names if (tmp_path / "a" / name).read_bytes() != (tmp_path / "b" / name).read_bytes()
    ] == []
    text = pages[0].read_text(encoding="utf-8")
    assert text.startswith("# mine: what was found\n")
    assert set(re.findall(r"\(figures/([\w-]+\.\w+)\)", text)) == {path.name for path in names if path.parent.name}
    assert "counterpoint report mine/collected --out mine/index.md --claims zeng2026" in text


def test_seeds_to_decide_are_those_of_the_exact_test():
    pairs = McNemar(first=0, second=2, both=0, neither=2, left_out=0, p_value=0.5)
    assert seeds_to_decide(pairs, 2) == 6  # 6 of 6 one way: p = 1/32
    assert seeds_to_decide(replace(pairs, first=2), 2) is None
    assert seeds_to_decide(replace(pairs, second=0), 2) is None


def test_seeds_for_an_effect_of_one_pair_of_cells_are_those_of_the_paired_comparison():
    chance = np.random.default_rng(0)
    values = {name: np.clip(chance.normal(0.5, 0.2, (4, 64)) + chance.normal(0, 0.04, (4, 1)), 0, 1) for name in "ab"}
    cells = [CellOutcomes(labels={"x": name}, seeds=(0, 1, 2, 3), values=own) for name, own in values.items()]
    change = Change(axis="x", to="b", against=("a",))
    found = seeds_for(cells, [change], 0.03, paired="x")
    parts = components([(1.0, values["b"] - values["a"])])
    assert found == needed(parts, 0.03, 4, 64).seeds
    assert seeds_for(cells, [change], 0.03, paired="x", confidence=0.99) > found
    one = [replace(cell, seeds=(0,), values=cell.values[:1]) for cell in cells]
    assert seeds_for(one, [change], 0.03, paired="x") is None


def test_two_seeds_of_one_cell_err_more_often_than_they_say_and_of_six_cells_do_not():
    source = np.random.default_rng(0)
    difficulty = difficulties(source, 400)

    def null(cells):
        sides = [[answers(source, 400, 2, 0.3, difficulty, samples=4) for _ in "ab"] for _ in range(cells)]
        value, error, freedom = contrasts([(1 / cells, one - other) for one, other in sides])
        return float(np.mean(np.abs(value) > student.ppf(0.975, freedom) * error))

    assert 0.07 < null(1) < 0.17
    assert null(6) < 0.05


def test_a_verdict_needs_the_corrected_test_or_the_margin():
    def judged(value, error, p_value, comparisons=1):
        found = estimate(value, error, 200.0, seeds=5, tasks=100)
        return is_higher(found, p_value, 0.03, comparisons)

    assert judged(0.1, 0.025, 0.01) == "yes"
    assert judged(-0.1, 0.025, 0.01) == "no"
    assert judged(0.005, 0.01, 0.4) == "no"
    assert judged(0.005, 0.01, 0.4, comparisons=20) == "cannot tell", "its corrected interval is not within the margin"
    assert judged(0.02, 0.005, 0.06, comparisons=20) == "cannot tell", "its own interval is above 0"
    assert judged(0.1, 0.045, 0.06) == "cannot tell"


def test_what_is_wrong_is_one_line(tmp_path):
    write(study(axes=SMALL, seeds=1), tmp_path / "collected")
    with pytest.raises(ConfigError, match=r"unknown set of claims 'zeng'.*zeng2026"):
        report(tmp_path / "collected", out=tmp_path / "index.md", claims="zeng")
    with pytest.raises(ConfigError, match=r"ends in \.md"):
        report(tmp_path / "collected", out=tmp_path / "index.html", claims="zeng2026")
    (tmp_path / "mine.md").write_text("# My own notes\n")
    with pytest.raises(RunError, match="is not a report"):
        report(tmp_path / "collected", out=tmp_path / "mine.md")
    assert Path(tmp_path / "mine.md").read_text() == "# My own notes\n"


def regenerated(folder, out):
    """The files of a page that were written again, with the command that the page names."""
    page = (folder / "index.md").read_text(encoding="utf-8")
    words = shlex.split(re.search(r"```bash\n(counterpoint report .*)\n```", page)[1])
    options = dict(zip(words[3::2], words[4::2], strict=True))
    report(folder, out=out, claims=options.get("--claims", ""), title=options.get("--title", ""))
    return {path.relative_to(out.parent): path for path in out.parent.rglob("*") if path.is_file()}


def without_version(drawn):
    return drawn.rpartition("<!-- vl-convert ")


def test_the_page_of_the_recorded_runs_is_written_again_to_the_byte(tmp_path):
    regenerated(RECORDED, tmp_path / "index.md")
    assert (tmp_path / "index.md").read_text(encoding="utf-8") == (RECORDED / "index.md").read_text(encoding="utf-8"), (
        "if the words were changed on purpose: counterpoint report tests/recorded/falls_voting --claims zeng2026 --out"
        " tests/recorded/falls_voting/index.md, without the figures"
    )


@pytest.mark.usefixtures("drawing")
@pytest.mark.slow
@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_the_page_of_every_published_study_is_written_again_with_its_figures(folder, tmp_path):
    found = regenerated(folder, tmp_path / "index.md")
    assert {path for path in found if path.parts[0] == "figures"} == {
        path.relative_to(folder) for path in (folder / "figures").glob("*")
    }
    for path, own in found.items():
        new, old = own.read_text(encoding="utf-8"), (folder / path).read_text(encoding="utf-8")
        if path.suffix != ".svg" or without_version(new)[2] == without_version(old)[2]:
            assert new == old, f"write it again: counterpoint report {folder} --out {folder}/index.md"


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_every_published_study_has_a_page_that_the_site_lists(folder):
    assert (folder / "index.md").is_file(), f"counterpoint report {folder} --out {folder}/index.md"
    assert f"\nstudies/{folder.name}/index\n" in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("drawing")
@pytest.mark.slow
def test_figures_are_drawn_with_their_program_named(tmp_path):
    write(study(axes=SMALL, seeds=2), tmp_path / "collected")
    report(tmp_path / "collected", out=tmp_path / "index.md")
    drawn = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "figures").glob("*.svg")}
    assert re.match(r'<svg [^>]*viewBox="-16 0 [0-9.]+ [0-9.]+"><rect x="-16" width="[0-9.]+"', drawn["map.svg"])
    assert all(text.startswith("<svg") and "<!-- vl-convert 1" in text for text in drawn.values())
    assert not any(re.search(r"[0-9]\.[0-9]{3}", text) for text in drawn.values())
