"""What the live line says."""

from counterpoint.cli.progress import step_line

NUMBERS = {"episode/score": 0.5, "episode/errors": 0.0, "episode/not_judged": 0.0, "time/step": 1.0}


def test_a_warning_stands_on_the_line_of_its_step():
    quiet = step_line(7, 30, [], {**NUMBERS, "warning/cliff": 0.0, "warning/capture/shared": 0.0})
    assert quiet == "step  7/30 | team  50% | 1.0 s"
    loud = step_line(7, 30, [], {**NUMBERS, "warning/cliff": 1.0, "warning/capture/shared": 1.0})
    assert loud == "step  7/30 | team  50% | WARNING: cliff, capture/shared | 1.0 s"
