"""`counterpoint diagnose`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from counterpoint.analysis.falls import fate_of
from counterpoint.analysis.history import History, history_of
from counterpoint.analysis.milestones import LAST
from counterpoint.analysis.signature_rates import COLUMNS, SignatureRate
from counterpoint.analysis.signatures import Diagnosis, examine
from counterpoint.analysis.signatures.base import Thresholds
from counterpoint.analysis.summary import summarize
from counterpoint.analysis.verdict import fate_in_words
from counterpoint.cli.out import Terminal, check_out, write_out
from counterpoint.cli.signs import listed
from counterpoint.cli.tables import partial_rewards
from counterpoint.errors import ConfigError, counted
from counterpoint.experiments.described import why_stopped
from counterpoint.experiments.known_effects import known_for
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
    console = Terminal()
    shown = {finding.signature for finding in diagnosis.findings}
    told = (*_found(diagnosis), *known_for(run.config, shown), *_rates(run, history), *_not_found(diagnosis))
    for line in (*_recorded(run, history), *told):
        console.print(line, markup=False, soft_wrap=True)
    findings = [asdict(finding) for finding in diagnosis.findings]
    found = {"last_step": history.last, "thresholds": asdict(Thresholds()), "findings": findings}
    write_out(out, {**found, "errors": list(diagnosis.errors.values())})
    diagnosis.check()


def report_rates(paths: Sequence[Path], out: Path | None) -> None:
    """Print how often each signature shows in the runs at `paths` that fell and that held; write it to `out` if given.

    A path is a run, a study's folder, or a folder of collected files. Raises RunError as `collect`.
    """
    from counterpoint.experiments.collect import collect
    from counterpoint.experiments.signed import rates_of

    check_out(out)
    rates = [rate for rate in rates_of(collect(paths)) if not rate.is_by_definition]
    console = Terminal()
    for line in _rate_lines(rates):
        console.print(line, markup=False, soft_wrap=True)
    write_out(out, {"rates": [asdict(rate) for rate in rates]})


def _rate_lines(rates: Sequence[SignatureRate]) -> list[str]:
    """A table without those signatures that no run shows, which are named below it."""
    shown = [rate for rate in rates if rate.fell.shown or rate.held.shown or rate.cannot_tell.shown]
    rows = [COLUMNS, *(rate.cells for rate in shown)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    never = [rate.signature for rate in rates if rate not in shown]
    first = rates[0]
    counts = (
        f"{counted(first.fell.among, 'run')} fell, {first.held.among} held, of {first.cannot_tell.among} it cannot be"
        " told; without single agents that were trained as controls; exact 95 % intervals over runs"
    )
    absent = f"in no run: {', '.join(never)}"
    return [*lines, "", counts, *([absent] if never else [])]


def _recorded(run: Run, history: History) -> list[str]:
    """The number of recorded steps, the accuracy, and whether the run fell."""
    evaluations = len({row["step"] for row in history.evaluations})
    lines = [f"read {counted(history.last, 'training step')} and {counted(evaluations, 'evaluation')}"]
    found = summarize(history.evaluations, history.final)
    if found is not None:
        base, peak, terminal = (100 * part.value for part in (found.team.base, found.team.peak, found.team.terminal))
        lines.append(f"test: base {base:.1f} %, peak {peak:.1f} % (step {found.peak_step}), terminal {terminal:.1f} %")
        fate = fate_of(history.evaluations, history.final, why_stopped(run, history.evaluations))
        if fate is not None and fate.evaluations >= LAST:
            lines.append(fate_in_words(fate))
        last = [row["outcomes"] for row in history.evaluations if row["split"] == "test"][-1]
        lines += [line for line in [partial_rewards(last)] if line is not None]
    return lines


def _rates(run: Run, history: History) -> list[str]:
    """The falls that studies recorded of the same workflow and sharing, and of runs like this one; none if none did."""
    from counterpoint.experiments.evidence import rates_like

    try:
        lines = rates_like(run.config, history)
    except ConfigError as error:
        lines = [str(error)]
    return ["", *(f"recorded rates: {line}" for line in lines)] if lines else []


def _found(diagnosis: Diagnosis) -> list[str]:
    lines = []
    for place, finding in enumerate(diagnosis.findings):
        signature = diagnosis.signatures[finding.signature]
        first, last = finding.steps
        lines += ["", f"{finding.signature}: {finding.where} (steps {first} to {last})"]
        lines += [f"  evidence: {text}" for text in finding.evidence]
        if finding.signature not in {later.signature for later in diagnosis.findings[place + 1 :]}:
            lines += [f"  meaning:  {signature.meaning}", f"  to try:   {signature.advice}"]
    shown = {finding.signature for finding in diagnosis.findings}
    lacking = {name: missing for name, missing in diagnosis.lacking.items() if name not in shown}
    if lacking:
        lines += ["", f"not looked for, too little was recorded: {listed(lacking)}"]
    return lines


def _not_found(diagnosis: Diagnosis) -> list[str]:
    known = {*diagnosis.errors, *diagnosis.lacking, *(finding.signature for finding in diagnosis.findings)}
    others = [name for name in diagnosis.signatures if name not in known]
    return ["", f"none found of: {', '.join(others)}"]
