"""`counterpoint diagnose`."""

from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from counterpoint.analysis.history import History, history_of
from counterpoint.analysis.signatures import SIGNATURES, diagnose
from counterpoint.analysis.signatures.base import Finding, Thresholds
from counterpoint.analysis.summary import outcome
from counterpoint.cli.out import check_out, write_out
from counterpoint.run import Run


def report(path: Path, out: Path | None) -> None:
    """Print which failure signatures a run shows, with evidence, meaning and advice; write them to `out` if given."""
    check_out(out)
    history = history_of(Run.read(path))
    findings = diagnose(history)
    console = Console(highlight=False)
    for line in (*_told(history), *_found(findings)):
        console.print(line, markup=False, soft_wrap=True)
    found = {"last_step": history.last, "thresholds": asdict(Thresholds()), "findings": list(map(asdict, findings))}
    write_out(out, found)


def _told(history: History) -> list[str]:
    """What there is to read from."""
    evaluations = len({row["step"] for row in history.evaluations})
    lines = [f"{history.last} training steps and {evaluations} evaluations were read"]
    found = outcome(history.evaluations)
    if found is not None:
        base, peak, terminal = (100 * part.value for part in (found.team.base, found.team.peak, found.team.terminal))
        lines.append(f"test: base {base:.1f} %, peak {peak:.1f} % (step {found.peak_step}), terminal {terminal:.1f} %")
    if history.last < Thresholds().least:
        lines.append(f"most signatures need {Thresholds().least} training steps, capture {Thresholds().window}")
    return lines


def _found(findings: list[Finding]) -> list[str]:
    if not findings:
        return ["", f"none found of: {', '.join(SIGNATURES)}"]
    lines = []
    for finding in findings:
        signature = SIGNATURES[finding.signature]
        first, last = finding.steps
        lines += ["", f"{finding.signature}: {finding.where} (steps {first} to {last})"]
        lines += [f"  evidence: {text}" for text in finding.evidence]
        lines += [f"  meaning:  {signature.meaning}", f"  to try:   {signature.advice}"]
    others = [name for name in SIGNATURES if name not in {finding.signature for finding in findings}]
    return [*lines, "", f"none found of: {', '.join(others)}"]
