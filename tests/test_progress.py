"""What the live line says."""

from io import StringIO

import pytest
from rich.console import Console

from counterpoint.analysis.intervals import Interval
from counterpoint.analysis.summary import Course, RoleCourse, Summary
from counterpoint.cli.tables import print_outcome
from counterpoint.policy import Routing
from counterpoint.progress import Progress, evaluation_line, step_line

NUMBERS = {"episode/score": 0.5, "episode/errors": 0.0, "episode/not_judged": 0.0, "time/step": 1.0}


def test_a_warning_stands_on_the_line_of_its_step():
    nobody = Routing({})
    quiet = step_line(7, 30, nobody, {**NUMBERS, "warning/cliff": 0.0, "warning/capture/shared": 0.0})
    assert quiet == "step  7/30 | team  50% | 1.0 s"
    raised = {"warning/cliff": 1.0, "warning/capture/shared": 1.0, "warning/unreadable_replies/my_critic": 1.0}
    loud = step_line(7, 30, nobody, {**NUMBERS, **raised})
    assert loud == ("step  7/30 | team  50% | WARNING: cliff, capture (shared), unreadable replies (my_critic) | 1.0 s")


def test_the_gradient_is_shown_for_roles_that_share_a_policy_and_is_that_in_the_policy():
    routing = Routing({"planner": "plans", "solver": "both", "judge": "both", "voter": ("left", "right")})
    shares = {f"role/{role}/gradient_share": 0.25 for role in routing.policy_of}
    within = {"plans/planner": 1.0, "both/solver": 0.75, "both/judge": 0.25}
    shares |= {f"gradient/{source}/share": share for source, share in within.items()}
    assert step_line(1, 9, routing, {**NUMBERS, **shares}) == (
        "step 1/9 | team  50% | planner   - | solver   - (gradient  75%) | judge   - (gradient  25%) | voter   -"
        " | 1.0 s"
    )


def evaluated(**numbers):
    known = {"accuracy": 0.5, "episode/oracle": 0.75}
    table = {f"eval/{split}/{name}": value for split in ("validation", "test") for name, value in known.items()}
    return {**table, **numbers}


def test_an_evaluation_says_how_many_answers_its_accuracy_leaves_out():
    lost = {"eval/test/episode/not_judged": 3.0, "eval/test/episode/errors/endpoint": 1.0}
    lost |= {"eval/validation/episode/errors": 4.0}
    assert evaluation_line(0, ["solver"], evaluated(**lost)) == (
        "eval at 0: test  50% | validation  50% | solver   - | any answer right  75% | test: 2 not judged"
        " | validation: 4 failed"
    )


def test_what_to_try_is_said_once_per_warning():
    console = Console(file=StringIO(), width=500)
    progress = Progress(console, Routing({"solver": "solver", "critic": "critic"}), 0, 9)
    progress(0, evaluated(**{"warning/unreadable_replies/critic": 1.0, "warning/unreadable_replies/solver": 1.0}))
    progress(1, {**NUMBERS, "warning/unreadable_replies/critic": 1.0, "warning/cut_off_replies/solver": 1.0})
    lines = console.file.getvalue().splitlines()
    assert lines[0].endswith("WARNING: unreadable replies (critic, solver)")
    assert lines[1].startswith("  unreadable replies, to try: Read some replies")
    assert [line[:30] for line in lines[3:]] == ["  cut-off replies, to try: Rai"]
    assert len(lines) == 4


def test_a_terminal_that_cannot_move_its_cursor_gets_a_line_per_step(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    console = Console(file=StringIO(), width=500, force_terminal=True)
    with Progress(console, Routing({}), 0, 9) as progress:
        progress(1, NUMBERS)
        progress(2, NUMBERS)
    assert [line[:8] for line in console.file.getvalue().splitlines()] == ["step 1/9", "step 2/9"]


def test_final_evaluations_are_announced_and_have_a_line_each():
    console = Console(file=StringIO(), width=500)
    progress = Progress(console, Routing({"solver": "solver", "critic": "critic"}), 0, 9)
    progress(9, {"final/samples": 4.0})
    numbers = {name.replace("eval/test", "final/test"): value for name, value in evaluated().items()}
    progress(3, {**numbers, "final/test/role/solver/task_accuracy": 0.25, "final/test/episode/errors": 2.0})
    assert console.file.getvalue().splitlines() == [
        "evaluating base, peak and the end, 4 episodes per task ...",
        "final at 3: test  50% | solver  25% | critic   - | any answer right  75% | test: 2 failed",
    ]


def course(value, kind=RoleCourse):
    one = Interval(value, value - 0.05, value + 0.05, 256)
    return kind(base=one, peak=one, terminal=one, gain=one, drop=one)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_summary_has_every_number_however_narrow_the_console(width):
    roles = {role: course(0.1 * place) for place, role in enumerate(("orchestrator", "worker", "synthesizer", "x"), 2)}
    found = Summary(
        peak_step=100,
        terminal_steps=[200],
        team=course(0.95, Course),
        cliff=False,
        slope=None,
        roles=roles,
        behaviour={},
    )
    console = Console(file=StringIO(), width=width)
    print_outcome(console, found)
    text = console.file.getvalue()
    assert "…" not in text
    for value in (95.0, 20.0, 30.0, 40.0, 50.0):
        assert text.count(f"{value:.1f} [{value - 5:.1f}, {value + 5:.1f}]") == 5, text
