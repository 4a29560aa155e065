"""The report as text on what a study makes besides its runs: what was taught, who fell first, what prevents falls."""

import re
from dataclasses import replace

import pytest
from collected_by_chance import study
from test_text import SMALL, gathered, words

from counterpoint.analysis.fallen import Changed, Explained, RoleFall
from counterpoint.analysis.falls import Onset
from counterpoint.analysis.intervals import Interval
from counterpoint.analysis.stood_out import Change
from counterpoint.analysis.tries import BEFORE, SORTING
from counterpoint.experiments.compare import compare_runs
from counterpoint.experiments.measured import TAUGHT, TRAINED
from counterpoint.reports.text.cells import cost
from counterpoint.reports.text.claims import Judged
from counterpoint.reports.text.failures import failures
from counterpoint.reports.text.falling import falling
from counterpoint.reports.text.further import fell_first, mended, taught
from counterpoint.reports.text.jointly import between, jointly
from counterpoint.reports.text.write import parts_of, write_page
from counterpoint.reports.text.zeng2026 import ZENG2026


def with_tries(found, after, spread=1):
    """Every run was tried 8 times on 40 problems that its base never solved in 64 tries."""
    problems = [f"p{number:02}" for number in range(40)]

    def tries(share, count):
        return {
            "team": {
                "accuracy": 0.0,
                "outcomes": dict.fromkeys(problems, share),
                "samples": dict.fromkeys(problems, count),
            }
        }

    controls = {
        f"{TAUGHT}: {SORTING}": tries(0.0, 64),
        f"{TAUGHT}: {BEFORE}": tries(0.0, 8),
    }
    runs = [
        replace(
            run,
            controls={**controls, f"{TAUGHT}: {TRAINED}": tries((after + spread * (run.seed % 2)) / 8, 8)},
            base_sha256="b",
        )
        for run in found.runs
    ]
    return replace(found, runs=tuple(runs))


def test_what_the_base_never_solves_and_training_does_is_new(tmp_path):
    part = taught(gathered(tmp_path / "new", with_tries(study(axes=SMALL, seeds=4), after=4)))
    assert part.answer.verdict == "yes"
    assert "40 problems that the base never solved in 64 tries" in part.answer.text
    part = taught(gathered(tmp_path / "none", study(axes=SMALL, seeds=2)))
    assert part.answer.verdict == "not run yet"


def test_seeds_without_any_spread_are_no_proof(tmp_path):
    part = taught(gathered(tmp_path, with_tries(study(axes=SMALL, seeds=2), after=1, spread=0)))
    assert part.answer.verdict == "cannot tell"
    assert "an interval over problems alone" in part.answer.text
    assert "Holm" not in part.answer.text


def test_roles_that_fell_at_one_evaluation_answer_nothing(tmp_path):
    found = study(axes=SMALL, falls=lambda labels, seed: labels["sharing"] == "isolated")
    one = explained("generator")
    both = replace(one, roles=(*one.roles, replace(one.roles[0], role="voter")))
    named = [replace(run, explained=both) if run.fell == "fell" else run for run in found.runs]
    part = fell_first(gathered(tmp_path, replace(found, runs=tuple(named))))
    assert part.answer.verdict == "cannot tell"


def explained(first):
    interval = Interval(0.2, 0.1, 0.3, 64)
    onset = Onset(30, 25, 35, 0.0)
    change = Change(metric=f"role/{first}/entropy", before=1.0, after=0.1, step=22, size=3.0)
    return Explained(
        peak_step=20,
        onset=onset,
        last=40,
        drop=interval,
        roles=(RoleFall(role=first, peak_step=20, peak=interval, drop=interval, onset=onset),),
        changed=(Changed(where=first, earlier=(), before=(change,), later=()),),
        lost_answers=None,
    )


def test_the_role_that_fell_first_is_named_with_what_left_its_range(tmp_path):
    found = study(axes=SMALL, falls=lambda labels, seed: labels["sharing"] == "isolated" and seed < 3)
    named = [replace(run, explained=explained("generator")) if run.fell == "fell" else run for run in found.runs]
    part = fell_first(gathered(tmp_path, replace(found, runs=tuple(named))))
    assert part.answer.text == "voting, isolated: of 3 falls, first fell generator in 3"
    assert "the number that first left its usual range was entropy of generator in 3" in words(part)
    assert not any(row[0] == "cliff" for table in part.tables for row in table.rows), "a fall is a cliff by definition"
    once = [replace(run, explained=None) if run.seed else run for run in named]
    assert fell_first(gathered(tmp_path / "once", replace(found, runs=tuple(once)))).answer.verdict == "cannot tell"
    older = fell_first(gathered(tmp_path / "older", found))
    assert older.answer.verdict == "not run yet"
    calm = fell_first(gathered(tmp_path / "calm", study(axes=SMALL, seeds=1)))
    assert calm.answer.text == "no run is known to have fallen"


def test_an_intervention_that_prevents_falls_is_named(tmp_path):
    axes = {"workflow": ("voting",), "sharing": ("isolated",), "intervention": ("nothing", "anchor", "balance")}
    found = study(
        axes=axes,
        seeds=5,
        peak=lambda labels: 0.5 * (labels["intervention"] == "anchor"),
        falls=lambda labels, seed: labels["intervention"] != "anchor",
    )
    part = mended(gathered(tmp_path, found))
    assert part.answer.verdict == "yes"
    assert part.answer.text.startswith("anchor prevents the fall")
    assert part.tables[0].rows[0][0] == "anchor"
    nothing = mended(gathered(tmp_path / "none", study(axes=axes, seeds=3)))
    assert nothing.answer.verdict == "cannot tell"
    assert re.search(r"; at the end differences of [\d.]+ to [\d.]+ points would be found in 80 %", nothing.answer.text)
    assert mended(gathered(tmp_path / "other", study(axes=SMALL, seeds=1))).answer.verdict == "not run yet"


def test_where_interventions_are_compared_the_page_begins_with_them(tmp_path):
    axes = {"sharing": ("shared", "isolated"), "intervention": ("nothing", "anchor", "balance")}
    found = study(axes=axes, seeds=2)
    asked = replace(found, runs=tuple(replace(run, compare="intervention") for run in found.runs))
    titles = [one.title for one in parts_of(gathered(tmp_path / "asked", asked))]
    assert titles[:2] == ["Which interventions prevent falls?", "Which intervention peaks highest?"]
    other = [one.title for one in parts_of(gathered(tmp_path / "other", found))]
    assert other[-1] == "Which interventions prevent falls?"


@pytest.fixture(scope="module")
def first_of_many(tmp_path_factory):
    """Four cells, of which one has two seeds: there, isolated policies are far better. Nothing is shown to fail."""
    seconds = [f"{cell}-s1" for cell in ("voting-isolated", "evaluator-shared", "evaluator-isolated")]
    axes = {"scale": ("small", "large"), **SMALL}
    states = {f"large-{name}": "absent" for name in ("voting-shared-s1", *seconds)}
    states |= {f"small-{name}": "absent" for name in seconds[1:]}
    found = study(axes=axes, seeds=2, states=states, peak=lambda labels: 2.0 * (labels["sharing"] == "isolated"))
    return gathered(tmp_path_factory.mktemp("first"), found)


def claim(found, word):
    return next(one.judge(found) for one in ZENG2026.claims if word in one.says)


def test_one_cell_of_many_agrees_with_no_claim_about_all(first_of_many, monkeypatch):
    ahead = Judged(judgement="agrees", because="the mean over 1 cell")
    monkeypatch.setattr("counterpoint.reports.text.zeng2026._as_answered", lambda gathered, part: ahead)
    told = claim(first_of_many, "higher peaks")
    assert told == Judged(judgement="cannot tell", because="the mean over 1 cell; that is 1 of 4 cells")
    improves = claim(first_of_many, "usually improves")
    assert improves.judgement == "cannot tell"
    assert improves.because.endswith("; of 8 cells, 6 have fewer than two finished seeds")


def test_few_runs_without_a_signature_are_no_proof_that_none_occurs(first_of_many):
    answer = failures(first_of_many).answer
    assert answer.verdict == "cannot tell"
    assert "none of 10 finished runs shows a failure signature; a rate of up to 26 % is still possible" in answer.text


def test_gains_that_depend_on_the_rate_are_no_claim_about_workflow_task_and_scale(tmp_path):
    axes = {"workflow": SMALL["workflow"], "rate": ("x1", "x3"), "sharing": SMALL["sharing"]}
    found = study(axes=axes, peak=lambda labels: 2.0 * (labels["workflow"] == "voting" and labels["rate"] == "x3"))
    runs = [replace(run, planned=100 if run.labels["rate"] == "x3" else 60) for run in found.runs]
    own = gathered(tmp_path, replace(found, runs=tuple(runs)))
    part = jointly(own)
    assert part.answer.verdict == "yes"
    assert "the effects of rate are also those of the length of training: x1 60 and x3 100 steps" in words(part)
    assert claim(own, "depend jointly").judgement == "not run yet"


def test_sums_of_times_that_some_runs_lack_are_the_least(first_of_many):
    first, *others = first_of_many.cells[0].runs
    without = replace(first, record=replace(first.record, cpu_seconds=None))
    cells = [replace(first_of_many.cells[0], runs=[without, *others]), *first_of_many.cells[1:]]
    text = words(cost(replace(first_of_many, cells=cells)))
    assert "at least 0.2 hours of CPU time" in text
    assert ": 0.3 hours of wall-clock time" in text


def test_falls_in_which_no_role_fell_answer_nothing(tmp_path):
    found = study(axes=SMALL, seeds=1, falls=lambda labels, seed: labels["sharing"] == "isolated")
    unnamed = replace(explained("generator"), roles=())
    named = [replace(run, explained=unnamed) if run.fell == "fell" else run for run in found.runs]
    answer = fell_first(gathered(tmp_path, replace(found, runs=tuple(named)))).answer
    assert answer.verdict == "cannot tell"
    assert "no role by its own measure" in answer.text


def test_figures_that_others_put_beside_the_page_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("counterpoint.reports.text.write.figures_of", lambda gathered: {})
    monkeypatch.setattr("counterpoint.reports.text.write.parts_of", lambda gathered, claims: [])
    figures = tmp_path / "figures"
    figures.mkdir()
    for name, text in (("old.svg", "<!-- vl-convert 1 -->"), ("old.csv", ""), ("mine.csv", "a"), ("its.svg", "<svg/>")):
        (figures / name).write_text(text, encoding="utf-8")
    (figures / "its.csv").write_text("b", encoding="utf-8")
    write_page(gathered(tmp_path / "runs", study(axes=SMALL, seeds=1)), tmp_path / "index.md", command="")
    assert {file.name for file in figures.iterdir()} == {"mine.csv", "its.svg", "its.csv"}


@pytest.mark.parametrize(("alike", "verdict"), [(1, "cannot tell"), (8, "no")])
def test_one_pair_that_is_alike_says_nothing_of_the_others(tmp_path, monkeypatch, alike, verdict):
    def some_alike(collected, by):
        found = compare_runs(collected, by=by)
        verdicts = ["alike" if place < alike else "cannot tell" for place in range(len(found.differences))]
        told = [
            replace(one, found=replace(one.found, verdict=own))
            for one, own in zip(found.differences, verdicts, strict=True)
        ]
        return replace(found, differences=tuple(told))

    monkeypatch.setattr("counterpoint.reports.text.jointly.compare_runs", some_alike)
    own = gathered(tmp_path, study(axes={**SMALL, "settings": ("study", "matched")}, seeds=1))
    assert between(own, "settings", "What differs?", "").answer.verdict == verdict


@pytest.mark.parametrize(("seeds", "verdict"), [(1, "cannot tell"), (2, "yes")])
def test_one_seed_decides_nothing_over_however_many_cells(tmp_path, seeds, verdict):
    axes = {"workflow": SMALL["workflow"], "scale": tuple("abcd"), "sharing": SMALL["sharing"]}
    own = gathered(tmp_path, study(axes=axes, seeds=seeds, falls=lambda labels, seed: labels["sharing"] == "isolated"))
    assert falling(own).answer.verdict == verdict
    assert claim(own, "cliff").judgement == {"yes": "agrees"}.get(verdict, verdict)
    assert [one.verdict for one in failures(own).statements][:1] == ([None] if seeds == 1 else ["yes"])
