"""The report as text on what a study makes besides its runs: what was taught, who fell first, what prevents falls."""

from dataclasses import replace

from collected_by_chance import study
from test_text import SMALL, gathered, words

from counterpoint.analysis.fallen import Changed, Explained, RoleFall
from counterpoint.analysis.falls import Onset
from counterpoint.analysis.intervals import Interval
from counterpoint.analysis.stood_out import Change
from counterpoint.analysis.tries import BEFORE, SORTING
from counterpoint.experiments.measured import TAUGHT, TRAINED
from counterpoint.reports.text.further import fell_first, mended, taught


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
    assert any(row[0] == "cliff" for row in part.tables[0].rows)
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
    assert mended(gathered(tmp_path / "other", study(axes=SMALL, seeds=1))).answer.verdict == "not run yet"
