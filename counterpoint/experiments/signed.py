"""The rates of failure signatures in runs that fell and in runs that held, from collected results."""

from collections.abc import Iterable

from counterpoint.analysis.signature_rates import Looked, SignatureRate, signature_rates
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.groups import printable


def rates_of(collected: Collected, *, controls: bool = False) -> tuple[SignatureRate, ...]:
    """The rates over the finished runs whose fate was judged; those trained as controls only if asked for.

    Most signatures are about several roles, which a single agent that was trained as a control does not have: among
    the runs that held, it would make false alarms look rarer than they are.
    """
    return signature_rates(looked_of(collected.runs, controls=controls))


def looked_of(runs: Iterable[RunRecord], *, controls: bool = False) -> list[Looked]:
    """The finished runs, each with its fate and the names of its signatures."""
    return [
        Looked(fell=run.fell, signatures=frozenset(printable(text.partition(": ")[0]) for text in run.signatures))
        for run in runs
        if run.state == "finished" and run.fell is not None and (controls or not run.control)
    ]
