"""Terminal accuracy cliff: test accuracy at the end of the run is well below its peak."""

from counterpoint.analysis.falls import CLIFF_DROP, fate_of
from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds, lacks_evaluations
from counterpoint.analysis.verdict import begun


def find(history: History, limits: Thresholds) -> list[Finding]:
    found = history.summary()
    if found is None or not found.cliff:
        return []
    fate = fate_of(history.evaluations, history.final)
    if fate is None or fate.onset is None:
        return []
    peak, terminal, drop = found.team.peak, found.team.terminal, found.team.drop
    last = found.terminal_steps
    return [
        Finding(
            signature="cliff",
            where="team",
            steps=(found.peak_step, last[-1]),
            evidence=(
                f"test accuracy {peak.value:.3f} at the peak (step {found.peak_step}, chosen by validation accuracy),"
                f" {terminal.value:.3f} over the evaluations at {', '.join(map(str, last))}",
                f"drop {drop.value:.3f} [{drop.low:.3f}, {drop.high:.3f}], threshold {CLIFF_DROP}, paired over tasks",
                f"each of the last {len(last)} evaluations is below the peak's interval, from {peak.low:.3f} up;"
                f" so are all {begun(fate.onset)}",
            ),
        )
    ]


CLIFF = Signature(
    name="cliff",
    find=find,
    meaning=(
        "The run ends well below its best accuracy. The study found this more often with isolated policies, which also"
        " reach a higher peak: what a role gained is lost when the roles that it depends on drift."
    ),
    advice=(
        "Use the checkpoint of the peak. Stop at the warning (the intervention `stop_at_cliff`), use a lower or a"
        " decaying learning rate, or hold the drifting role near the base with a KL penalty (the intervention"
        " `anchor_roles`); the summary shows which role fell most from its peak."
    ),
    lacks=lacks_evaluations(4),
)
