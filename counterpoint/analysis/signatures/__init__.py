"""Failure signatures: what can be read from a run about why it fell apart."""

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.amplified_drift import AMPLIFIED_DRIFT
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds
from counterpoint.analysis.signatures.capture import CAPTURE
from counterpoint.analysis.signatures.cliff import CLIFF
from counterpoint.analysis.signatures.echo import ECHO
from counterpoint.analysis.signatures.entropy_collapse import ENTROPY_COLLAPSE
from counterpoint.analysis.signatures.lazy_role import LAZY_ROLE
from counterpoint.analysis.signatures.length_takeover import LENGTH_TAKEOVER
from counterpoint.analysis.signatures.no_signal import NO_SIGNAL
from counterpoint.analysis.signatures.over_rejection import OVER_REJECTION
from counterpoint.analysis.signatures.rubber_stamp import RUBBER_STAMP
from counterpoint.analysis.signatures.selection_blindness import SELECTION_BLINDNESS
from counterpoint.analysis.signatures.silent_no_op import SILENT_NO_OP
from counterpoint.analysis.signatures.voter_collapse import VOTER_COLLAPSE

SIGNATURES: dict[str, Signature] = {
    member.name: member
    for member in (
        CLIFF,
        CAPTURE,
        AMPLIFIED_DRIFT,
        LENGTH_TAKEOVER,
        ECHO,
        RUBBER_STAMP,
        OVER_REJECTION,
        SELECTION_BLINDNESS,
        VOTER_COLLAPSE,
        ENTROPY_COLLAPSE,
        LAZY_ROLE,
        NO_SIGNAL,
        SILENT_NO_OP,
    )
}


def diagnose(history: History, limits: Thresholds | None = None) -> list[Finding]:
    """Every signature that shows in what a run has recorded, in the order of `SIGNATURES`."""
    limits = limits or Thresholds()
    return [finding for signature in SIGNATURES.values() for finding in signature.find(history, limits)]
