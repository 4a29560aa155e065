"""Terminal accuracy cliff."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds
from counterpoint.analysis.summary import CLIFF_DROP, outcome


def find(history: History, limits: Thresholds) -> list[Finding]:
    found = outcome(history.evaluations)
    if found is None or not found.cliff:
        return []
    peak, terminal, drop = found.team.peak, found.team.terminal, found.team.drop
    last = found.terminal_steps
    return [
        Finding(
            signature="cliff",
            where="team",
            steps=(found.peak_step, last[-1]),
            evidence=(
                f"test accuracy {peak.value:.3f} at the peak (step {found.peak_step}, picked by validation),"
                f" {terminal.value:.3f} over the evaluations at {', '.join(map(str, last))}",
                f"drop {drop.value:.3f} [{drop.low:.3f}, {drop.high:.3f}], threshold {CLIFF_DROP}, paired over tasks",
                f"each of the last {len(last)} evaluations is below the peak's interval, from {peak.low:.3f} on",
            ),
        )
    ]


CLIFF = Signature(
    name="cliff",
    find=find,
    meaning=(
        "The run ends well below its best. The study found this more often with isolated policies, which also peak"
        " higher: what a role gained is lost when the roles it depends on drift."
    ),
    advice=(
        "Use the checkpoint of the peak. Stop on the cliff warning, lower the learning rate or let it decay, hold the"
        " drifting role near the base (a KL anchor); the summary says which role fell most from its peak."
    ),
)
