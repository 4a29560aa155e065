"""`counterpoint diagnose`."""

from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from counterpoint.analysis.history import History, history_of
from counterpoint.analysis.signatures import Diagnosis, examine
from counterpoint.analysis.signatures.base import Thresholds
from counterpoint.analysis.summary import summarize
from counterpoint.cli.out import check_out, write_out
from counterpoint.pins import executed
from counterpoint.run import Run


def report(path: Path, out: Path | None) -> None:
    """Print which failure signatures a run shows, with evidence, meaning and advice; write them to `out` if given.

    Raises RunError, after the report, if a signature that the user wrote failed.
    """
    check_out(out)
    run = Run.read(path)
    run.config = executed(run)
    history = history_of(run)
    diagnosis = examine(history)
    console = Console(highlight=False)
    for line in (*_recorded(history), *_found(diagnosis)):
        console.print(line, markup=False, soft_wrap=True)
    findings = [asdict(finding) for finding in diagnosis.findings]
    found = {"last_step": history.last, "thresholds": asdict(Thresholds()), "findings": findings}
    write_out(out, {**found, "errors": list(diagnosis.errors.values())})
    diagnosis.check()


def _recorded(history: History) -> list[str]:
    """The number of recorded steps, and the accuracy."""
    evaluations = len({row["step"] for row in history.evaluations})
    lines = [f"read {history.last} training steps and {evaluations} evaluations"]
    found = summarize(history.evaluations)
    if found is not None:
        base, peak, terminal = (100 * part.value for part in (found.team.base, found.team.peak, found.team.terminal))
        lines.append(f"test: base {base:.1f} %, peak {peak:.1f} % (step {found.peak_step}), terminal {terminal:.1f} %")
    if history.last < Thresholds().least:
        lines.append(f"most signatures need {Thresholds().least} training steps, capture needs {Thresholds().window}")
    return lines


def _found(diagnosis: Diagnosis) -> list[str]:
    lines = []
    for finding in diagnosis.findings:
        signature = diagnosis.signatures[finding.signature]
        first, last = finding.steps
        lines += ["", f"{finding.signature}: {finding.where} (steps {first} to {last})"]
        lines += [f"  evidence: {text}" for text in finding.evidence]
        lines += [f"  meaning:  {signature.meaning}", f"  to try:   {signature.advice}"]
    shown = {finding.signature for finding in diagnosis.findings}
    others = [name for name in diagnosis.signatures if name not in shown and name not in diagnosis.errors]
    return [*lines, "", f"none found of: {', '.join(others)}"]
