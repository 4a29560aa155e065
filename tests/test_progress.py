"""What the live line says."""

from io import StringIO

import pytest
from rich.console import Console

from counterpoint.analysis.intervals import Interval
from counterpoint.analysis.summary import Course, Summary
from counterpoint.cli.tables import print_outcome
from counterpoint.progress import step_line

NUMBERS = {"episode/score": 0.5, "episode/errors": 0.0, "episode/not_judged": 0.0, "time/step": 1.0}


def test_a_warning_stands_on_the_line_of_its_step():
    quiet = step_line(7, 30, [], {**NUMBERS, "warning/cliff": 0.0, "warning/capture/shared": 0.0})
    assert quiet == "step  7/30 | team  50% | 1.0 s"
    loud = step_line(7, 30, [], {**NUMBERS, "warning/cliff": 1.0, "warning/capture/shared": 1.0})
    assert loud == "step  7/30 | team  50% | WARNING: cliff, capture/shared | 1.0 s"


def course(value):
    one = Interval(value, value - 0.05, value + 0.05, 256)
    return Course(base=one, peak=one, terminal=one, gain=one, drop=one)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_summary_has_every_number_however_narrow_the_console(width):
    roles = {role: course(0.1 * place) for place, role in enumerate(("orchestrator", "worker", "synthesizer", "x"), 2)}
    found = Summary(
        peak_step=100, terminal_steps=[1], team=course(0.95), cliff=False, slope=None, roles=roles, behaviour={}
    )
    console = Console(file=StringIO(), width=width)
    print_outcome(console, found)
    text = console.file.getvalue()
    assert "…" not in text
    for value in (95.0, 20.0, 30.0, 40.0, 50.0):
        assert text.count(f"{value:.1f} [{value - 5:.1f}, {value + 5:.1f}]") == 5, text
