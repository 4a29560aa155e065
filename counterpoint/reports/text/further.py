"""Parts about what a study makes besides its runs: each says what is missing until it is there."""

from counterpoint.reports.seen import Gathered
from counterpoint.reports.text.statement import Part, not_run


def taught(gathered: Gathered) -> Part:
    """The answer to whether training taught something new, or made certain what was known."""
    return Part(
        title="Did training teach something new?",
        statements=[not_run("the problems that the base never solves were not looked for in these runs")],
    )


def fell_first(gathered: Gathered) -> Part:
    """Which roles fell first, and what changed in them before."""
    return Part(
        title="Which role fell first, and what had changed in it?",
        statements=[not_run("the roles of the runs that fell were not looked at one by one")],
    )


def mended(gathered: Gathered) -> Part:
    """Which interventions prevent falls without a cost at the peak."""
    return Part(
        title="Which interventions prevent falls?",
        statements=[not_run("no run with an intervention is beside one without")],
    )
