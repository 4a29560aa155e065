"""Failure signatures: what can be read from a run about why it fell apart."""

from counterpoint.history import History
from counterpoint.signatures.amplified_drift import AMPLIFIED_DRIFT
from counterpoint.signatures.base import Finding, Signature, Thresholds
from counterpoint.signatures.capture import CAPTURE
from counterpoint.signatures.cliff import CLIFF
from counterpoint.signatures.echo import ECHO
from counterpoint.signatures.entropy_collapse import ENTROPY_COLLAPSE
from counterpoint.signatures.lazy_role import LAZY_ROLE
from counterpoint.signatures.length_takeover import LENGTH_TAKEOVER
from counterpoint.signatures.no_signal import NO_SIGNAL
from counterpoint.signatures.over_rejection import OVER_REJECTION
from counterpoint.signatures.rubber_stamp import RUBBER_STAMP
from counterpoint.signatures.selection_blindness import SELECTION_BLINDNESS
from counterpoint.signatures.silent_no_op import SILENT_NO_OP
from counterpoint.signatures.voter_collapse import VOTER_COLLAPSE

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
