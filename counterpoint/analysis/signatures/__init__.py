"""Failure signatures: what a run's recorded numbers tell about why it fell apart.

A member is a `Signature`, or a function that makes one from its keyword-only options. A recipe names the user's
own signatures: `signatures = ["my_module:MY_SIGNATURE"]`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Finding, Signature, Thresholds
from counterpoint.errors import ConfigError, RunError
from counterpoint.family import Family
from counterpoint.options import Spec

_HERE = "counterpoint.analysis.signatures"
SIGNATURES: Family[Signature] = Family(
    kind="signature",
    takes=Signature,
    members={
        name: f"{_HERE}.{module}:{module.upper()}"
        for name, module in {
            "failed episodes": "failed_episodes",
            "unjudged answers": "unjudged_answers",
            "cut-off replies": "cut_off_replies",
            "unreadable replies": "unreadable_replies",
            "constant reward": "constant_reward",
            "silent role": "silent_role",
            "cliff": "cliff",
            "fallen role": "fallen_role",
            "certain and wrong": "certain_and_wrong",
            "grown random": "grown_random",
            "capture": "capture",
            "amplified drift": "amplified_drift",
            "length takeover": "length_takeover",
            "echo": "echo",
            "rubber stamp": "rubber_stamp",
            "over-rejection": "over_rejection",
            "selection blindness": "selection_blindness",
            "voter collapse": "voter_collapse",
            "entropy collapse": "entropy_collapse",
            "lazy role": "lazy_role",
            "no signal": "no_signal",
            "silent no-op": "silent_no_op",
        }.items()
    },
)


EARLY = (
    "failed episodes",
    "unjudged answers",
    "cut-off replies",
    "unreadable replies",
    "constant reward",
    "silent role",
    "no signal",
)
"""The signatures that need few episodes: they are looked for from the first evaluation on, while a run trains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The result of looking for every signature in a history."""

    signatures: Mapping[str, Signature]
    """Name -> every signature that was looked for: the shipped ones, then the user's own."""
    findings: Sequence[Finding]
    errors: Mapping[str, str]
    """Name -> the message about a signature that could not be looked for, because it raised."""
    lacking: Mapping[str, str]
    """Name -> the part that is missing in the history for a signature to be looked for, as "10 training steps"."""

    def check(self) -> None:
        """Raises RunError if a signature could not be looked for."""
        if self.errors:
            raise RunError("; ".join(self.errors.values()))


def build_signatures(extra: Sequence[Spec] = ()) -> dict[str, Signature]:
    """Name -> the shipped signatures and those that `extra` names.

    Raises ConfigError if there is no such signature, an option is wrong, or two have the same name.
    """
    found = {name: SIGNATURES.build(Spec(name=name)) for name in SIGNATURES.members}
    for spec in extra:
        made = SIGNATURES.build(spec, where="signatures")
        if not isinstance(made, Signature):
            raise ConfigError(f"signatures: {spec.name!r} makes a {type(made).__name__}, which is not a Signature")
        if made.name in found:
            raise ConfigError(f"signatures: {spec.name!r} has the name {made.name!r}, which another signature has")
        found[made.name] = made
    return found


def examine(history: History, limits: Thresholds | None = None, extra: Sequence[Spec] = ()) -> Diagnosis:
    """Look for every shipped signature, those that the run's recipe names, and `extra`.

    A signature that raises does not keep the others from being looked for. Raises ConfigError as `build_signatures`.
    """
    limits = limits or Thresholds()
    signatures = build_signatures((*history.signatures, *extra))
    findings: list[Finding] = []
    errors: dict[str, str] = {}
    lacking: dict[str, str] = {}
    for name, signature in signatures.items():
        try:
            if missing := signature.lacks(history, limits):
                lacking[name] = missing
            findings += _findings(signature, history, limits)
        except Exception as error:  # whatever the user's function raises
            errors[name] = f"signature {name!r} raised {type(error).__name__}: {error}"
    return Diagnosis(signatures=signatures, findings=findings, errors=errors, lacking=lacking)


def diagnose(history: History, limits: Thresholds | None = None, extra: Sequence[Spec] = ()) -> list[Finding]:
    """Every finding of `examine`, in the order of the signatures. Raises RunError if a signature raised."""
    found = examine(history, limits, extra)
    found.check()
    return list(found.findings)


def _findings(signature: Signature, history: History, limits: Thresholds) -> list[Finding]:
    found = list(signature.find(history, limits))
    for one in found:
        if not isinstance(one, Finding) or one.signature != signature.name:
            raise TypeError(f"its `find` must return findings of {signature.name!r}; it returned {one!r}")
    return found
