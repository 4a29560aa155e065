"""The signs of failure of a run, at the end of its training."""

from collections.abc import Mapping

from rich.console import Console

from counterpoint.analysis.history import history_of
from counterpoint.analysis.signatures import Diagnosis, examine
from counterpoint.files import command
from counterpoint.run import Run


def print_signs(console: Console, run: Run) -> None:
    """Print the failure signatures that a run shows, with what to try, and those that it is too short for.

    Raises RunError, after the others, if a signature that the user wrote failed.
    """
    diagnosis = examine(history_of(run))
    for line in sign_lines(diagnosis):
        console.print(line, markup=False, soft_wrap=True)
    if diagnosis.findings:
        console.print(f"what they mean: {command('diagnose', run.path)}", markup=False, soft_wrap=True)
    diagnosis.check()


def sign_lines(diagnosis: Diagnosis) -> list[str]:
    """The signs of failure, each with where it shows, the first evidence and what to try."""
    where: dict[str, list[str]] = {}
    for finding in diagnosis.findings:
        where.setdefault(finding.signature, []).append(finding.where)
    lacking = {name: missing for name, missing in diagnosis.lacking.items() if name not in where}
    told = [f"{name} ({', '.join(places)})" for name, places in where.items()]
    if not told and lacking:
        looked_for = [name for name in diagnosis.signatures if name not in {*lacking, *diagnosis.errors}]
        told = [f"none of {', '.join(looked_for)}" if looked_for else "not known"]
    lines = [f"signs of failure: {', '.join(told) or 'none'}"]
    for name in where:
        first = next(finding for finding in diagnosis.findings if finding.signature == name)
        lines += [f"  {name}: {first.evidence[0]}", f"    to try: {diagnosis.signatures[name].advice}"]
    return [*lines, *([f"  not looked for, too little was recorded: {listed(lacking)}"] if lacking else [])]


def listed(lacking: Mapping[str, str]) -> str:
    """`echo, lazy role (10 training steps); capture (20 training steps)`: names, and what each of them needs."""
    names: dict[str, list[str]] = {}
    for name, missing in lacking.items():
        names.setdefault(missing, []).append(name)
    return "; ".join(f"{', '.join(found)} ({missing})" for missing, found in names.items())
