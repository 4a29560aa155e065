"""What the live line says."""

from io import StringIO

import pytest
from rich.console import Console

from counterpoint.analysis.intervals import Interval
from counterpoint.analysis.summary import Course, RoleCourse, Summary
from counterpoint.cli.tables import print_outcome
from counterpoint.progress import comparable_shares, step_line

NUMBERS = {"episode/score": 0.5, "episode/errors": 0.0, "episode/not_judged": 0.0, "time/step": 1.0}


def test_a_warning_stands_on_the_line_of_its_step():
    quiet = step_line(7, 30, [], {**NUMBERS, "warning/cliff": 0.0, "warning/capture/shared": 0.0})
    assert quiet == "step  7/30 | team  50% | 1.0 s"
    loud = step_line(7, 30, [], {**NUMBERS, "warning/cliff": 1.0, "warning/capture/shared": 1.0})
    assert loud == "step  7/30 | team  50% | WARNING: cliff, capture/shared | 1.0 s"


def test_gradient_shares_are_shown_only_for_roles_that_share_a_policy():
    apart = {"gradient/one/one/share": 1.0, "gradient/other/other/share": 1.0}
    assert comparable_shares(apart) == {}
    together = {"gradient/team/one/share": 0.75, "gradient/team/other/share": 0.25, "gradient/mine/third/share": 1.0}
    assert comparable_shares(together) == {"one": 0.75, "other": 0.25}
    isolated = {f"role/{role}/gradient_share": 0.5 for role in ("one", "other")}
    assert "gradient" not in step_line(1, 2, ["one", "other"], {**NUMBERS, **isolated, **apart})
    assert "one   - (gradient  75%) | other   - (gradient  25%)" in step_line(
        1, 2, ["one", "other"], NUMBERS | together
    )


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
