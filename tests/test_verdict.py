"""What a summary says in words: each sentence from a course made for it, and none stronger than its interval."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from test_outcome import course

from counterpoint.analysis.intervals import Interval
from counterpoint.analysis.recorded import BEST, RecordedControl
from counterpoint.analysis.summary import Summary, summarize
from counterpoint.analysis.verdict import control_sentences
from counterpoint.cli.tables import print_outcome, print_summary_controls


def right(count, of=100):
    """Outcomes of `of` tasks, the first `count` of them right."""
    return {str(task): float(task < count) for task in range(of)}


def run(validation, test, tasks=100):
    """The summary of a run with this accuracy, in %, on validation tasks and on 100 test tasks."""
    rows = course(validation, [right(count) for count in test])
    for row in rows:
        if row["split"] == "validation":
            row["outcomes"] = right(round(tasks * row["accuracy"]), tasks)
    return summarize(rows)


def printed(found):
    console = Console(file=StringIO(), width=100)
    print_outcome(console, found)
    return console.file.getvalue()


def test_a_run_that_only_rises_has_not_dropped():
    found = run([0.4, 0.5, 0.6, 0.9], [40, 50, 60, 90])
    assert found.peak_step == 30
    assert found.drop.value == pytest.approx(0.9 - (0.5 + 0.6 + 0.9) / 3)  # as defined, for statistics
    assert found.fall is None
    (sentence,) = found.verdict
    assert sentence.startswith("team: improved by 50.0 points [38.9, 59.1]")
    assert "; still rising at the end (40.0 points [29." in sentence
    assert sentence.endswith(" since step 10): train longer")
    assert "fell" not in sentence
    assert "lost" not in sentence
    assert [line.split() for line in printed(found).splitlines() if line.strip().startswith("drop")] == [["drop", "-"]]


def test_a_run_whose_best_evaluation_is_its_last_by_a_little_is_not_called_rising():
    found = run([0.4, 0.8, 0.8, 0.82], [40, 79, 80, 80])
    assert found.verdict[0].endswith("; its peak is its last evaluation")


def test_a_run_without_a_better_evaluation_says_so_and_has_no_gain():
    found = run([0.9, 0.7, 0.7, 0.7], [88, 86, 87, 88])
    assert found.peak_step == 0
    assert found.gain == Interval(0.0, 0.0, 0.0, 100)  # an evaluation does not differ from itself
    assert found.verdict == ("team: no improvement: no evaluation was better than the base on the validation split",)
    assert ["gain", "-"] in [line.split() for line in printed(found).splitlines()]


def test_a_run_that_rose_where_validation_saw_nothing_has_no_negative_drop():
    found = run([0.5, 0.5, 0.5, 0.5], [60, 66, 68, 70], tasks=4)
    assert found.drop.value == pytest.approx(-0.08)
    assert ["drop", "-"] in [line.split() for line in printed(found).splitlines()]
    fell = printed(run([0.8, 0.3, 0.2, 0.1], [80, 30, 20, 10]))
    assert "drop" in fell
    assert "+60.0 [49." in fell


def test_a_role_that_was_silent_has_a_dash():
    roles = [{"judge": {"0": [1.0]}, "solver": {"0": [1.0]}}, {"solver": {"0": [1.0]}}]
    rows = course([0.1, 0.5], [right(40), right(60)], roles)
    lines = [line.split() for line in printed(summarize(rows)).splitlines()]
    assert ["", *next(line for line in lines if line[:1] == ["team"])] == ["", "team", "judge", "solver"]
    (peak,) = [line for line in lines if line[:1] == ["peak"]]
    assert peak.count("-") == 1


def test_a_run_that_validation_did_not_see_improve_says_what_the_test_split_says():
    found = run([0.5, 0.5, 0.5, 0.5], [60, 88, 89, 90], tasks=4)
    team, chosen = found.verdict
    assert (
        "no evaluation was better than the base on the validation split, and on the test split the end is 29.0" in team
    )
    assert team.endswith("above it")
    assert chosen == "the peak was chosen on 4 validation tasks, too few to tell evaluations apart"


def test_a_cliff_says_where_the_good_weights_are():
    found = run([0.4, 0.8, 0.9, 0.8, 0.5, 0.4, 0.4], [40, 80, 90, 80, 50, 40, 40])
    assert found.cliff
    assert found.verdict[0].startswith("team: improved by 50.0 points [38.9, 59.1]")
    assert "fell by 46.7 points [36." in found.verdict[0]
    assert found.verdict[0].endswith(
        "from its peak at step 20: a terminal accuracy cliff; the peak's weights: --step peak"
    )


def test_a_collapse_from_the_base_is_no_improvement_and_a_cliff():
    (sentence,) = run([0.8, 0.3, 0.2, 0.1], [80, 30, 20, 10]).verdict
    assert sentence.startswith("team: no improvement: no evaluation was better than the base")
    assert "below it; fell by 60.0 points" in sentence
    assert "from the base: a terminal accuracy cliff" in sentence


def test_a_small_loss_is_a_loss_and_no_cliff():
    found = run([0.4, 0.8, 0.9, 0.8, 0.8, 0.8], [40, 80, 95, 89, 87, 86])
    assert not found.cliff
    assert "lost 7.7 points [1.9, 13.1]" in found.verdict[0]
    assert "cliff" not in found.verdict[0]


def test_keeping_a_gain_is_said_only_where_the_interval_excludes_a_cliff():
    many = summarize(course([0.4, 0.8, 0.9, 0.8, 0.8], [right(count, 1000) for count in (400, 800, 900, 898, 899)]))
    assert "; kept it: since the peak at step 20 it lost at most 0." in many.verdict[0]
    few = summarize(course([0.4, 0.8, 0.9, 0.8, 0.8], [right(count, 20) for count in (4, 18, 18, 18, 18)]))
    assert "; it cannot be told whether it kept that: since the peak at step 20 it lost 0.0 points [" in few.verdict[0]


@pytest.mark.parametrize(
    ("test", "back", "words"),
    [
        ([40, 80, 90, 60, 50, 40, 40], 90, "went back to the weights of its peak at step 20"),
        ([80, 30, 20, 10], 80, "went back to the weights of the base"),
    ],
)
def test_a_run_that_was_rolled_back_kept_nothing_and_lost_nothing(test, back, words):
    rows = course([count / 100 for count in test], [right(count) for count in test])
    for made in course([0.0] * len(test) + [back / 100], [right(back)] * (len(test) + 1))[-2:]:
        rows.append({**made, "rolled_back": True})
    found = summarize(rows)
    assert found.rolled_back
    assert found.verdict[0].endswith(f"; {words}")
    assert "kept" not in found.verdict[0]
    assert "lost" not in found.verdict[0]
    plain = found.as_dict()
    assert Summary.from_dict(plain) == found
    del plain["rolled_back"]  # as earlier versions wrote it
    assert not Summary.from_dict(plain).rolled_back


def test_a_gain_that_chance_can_explain_is_none():
    found = run([0.4, 0.5, 0.6, 0.5, 0.5], [40, 42, 41, 41, 41])
    assert found.verdict == ("team: no improvement can be told: the gain is +1.0 points [-2.3, 4.3]",)


def test_a_role_that_got_worse_is_named():
    roles = [{"judge": right(count), "solver": right(50)} for count in (80, 60, 40)]
    rows = course([0.1, 0.5, 0.9], [right(40), right(60), right(90)], roles)
    for row in rows:
        row["roles"] = {role: {task: [value] for task, value in made.items()} for role, made in row["roles"].items()}
    found = summarize(rows)
    assert any(
        sentence.startswith("judge: 40.0 points [") and "worse at the peak" in sentence for sentence in found.verdict
    )
    assert not any(sentence.startswith("solver") for sentence in found.verdict)


def control(name, value, low, high):
    return RecordedControl(
        name=name, tokens=22.0, accuracy=Interval(0.875, 0.83, 0.91, 256), difference=Interval(value, low, high, 256)
    )


def test_a_team_that_is_no_better_than_one_of_its_calls_says_so():
    controls = [
        control("one answer of generator", -0.012, -0.055, 0.031),
        control("the majority of 3 answers of generator", -0.07, -0.109, -0.035),
        control("one answer of other", 0.082, 0.04, 0.123),
        control(BEST, -0.1, -0.2, -0.05),
    ]
    assert control_sentences(controls) == [
        "the team is not better than one answer of generator, as far as 256 tasks can tell: -1.2 points [-5.5, 3.1]",
        "the team is worse than the majority of 3 answers of generator, by 7.0 points [3.5, 10.9]",
        "the team is better than one answer of other, by 8.2 points [4.0, 12.3]",
    ]


def test_the_controls_are_printed_with_the_command_for_the_others(tmp_path):
    rows = course([0.1, 0.5], [right(40), right(60)])
    rows[-1]["controls"] = {"one answer of solver": {"tokens": 21.6, "outcomes": {t: [1.0] for t in right(60)}}}
    console = Console(file=StringIO(), width=80)
    print_summary_controls(console, summarize(rows), tmp_path)
    text = console.file.getvalue()
    assert "the team and parts of it on 100 test tasks at step 10, %; tokens per episode" in text
    assert "one answer of solver   100.0 [96.3, 100.0]   -40.0 [-49." in text
    assert "the team is worse than one answer of solver, by 40.0 points" in text
    assert f"counterpoint evaluate {tmp_path} --solo" in text
    silent = Console(file=StringIO())
    print_summary_controls(silent, summarize(course([0.1, 0.5], [right(40), right(60)])), tmp_path)
    assert silent.file.getvalue() == ""


def test_the_readme_shows_what_the_demo_prints():
    """The summary of the demo is kept beside this file: `make demo`, seed 0."""
    demo = Summary.from_dict(json.loads((Path(__file__).parent / "demo_summary.json").read_text()))
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    console = Console(file=StringIO(), width=80)
    print_outcome(console, demo)
    print_summary_controls(console, demo, Path("RUN"))
    text = "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())
    shown = readme.split("```text\n")[1].split("\n```")[0]
    assert shown in text
    assert demo.verdict[0] in shown
    draft = demo.controls[0]
    assert draft.name == "one answer of generator"
    low, high = (f"{100 * bound:.1f}" for bound in draft.difference[1:3])
    difference = f"{100 * draft.difference.value:+.1f} points [{low}, {high}]"
    assert f"not better than one draft of its generator ({difference})" in " ".join(readme.split())
    assert "train evaluator_optimizer_lab" in (Path(__file__).parent.parent / "Makefile").read_text()
