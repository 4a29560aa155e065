"""The failure signatures of all runs: a table of cells, and the evidence within each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from counterpoint.analysis.signatures import SIGNATURES, build_signatures
from counterpoint.analysis.signatures.base import Signature
from counterpoint.reports.report.parts import Evidence, SignatureRow, SignatureTable, Spot
from counterpoint.reports.seen import CellSeen, Seen


def signature_table(cells: Sequence[tuple[str, CellSeen]]) -> SignatureTable:
    """Cells, with their anchors, by the signatures that some run shows."""
    known = build_signatures()
    counts = [_counts(cell) for _, cell in cells]
    found = {name for one in counts for name in one}
    columns = [*(name for name in known if name in found), *sorted(found - set(known))]
    rows = [
        SignatureRow(
            cell=cell.name,
            runs=len(cell.runs),
            spots=[Spot(count=one.get(name, 0), anchor=f"{anchor}-{slug(name)}") for name in columns],
        )
        for (anchor, cell), one in zip(cells, counts, strict=True)
        if one
    ]
    meanings = [(name, known[name].meaning, known[name].advice) for name in columns if name in known]
    return SignatureTable(
        columns=columns, rows=rows, meanings=meanings, absent=[name for name in SIGNATURES.members if name not in found]
    )


def evidence_of(cell: CellSeen) -> list[Evidence]:
    """A row per signature, part and evidence of the cell; the first of a signature has its anchor."""
    numbers: dict[str, int] = {}
    found = []
    for one in _evidence(cell, build_signatures()):
        number = numbers[one.signature] = numbers.get(one.signature, 0) + 1
        anchor = slug(one.signature) if number == 1 else f"{slug(one.signature)}-{number}"
        found.append(replace(one, anchor=anchor))
    return found


def slug(text: str) -> str:
    """The text as a part of an anchor."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text.lower())


def named(run: Seen) -> list[tuple[str, str]]:
    """(signature, where) of everything that a run shows, from its findings or else from its record."""
    if run.findings:
        return [(one.signature, one.where) for one in run.findings]
    pairs = (text.partition(": ") for text in run.record.signatures)
    return [(name, where) for name, _, where in pairs]


def _counts(cell: CellSeen) -> dict[str, int]:
    counts: dict[str, int] = {}
    for run in cell.runs:
        for name in {name for name, _ in named(run)}:
            counts[name] = counts.get(name, 0) + 1
    return counts


def _evidence(cell: CellSeen, known: Mapping[str, Signature]) -> Iterator[Evidence]:
    order = {name: place for place, name in enumerate(known)}
    found = [(name, where, run) for run in cell.runs for name, where in dict.fromkeys(named(run))]
    told: set[str] = set()
    for name, where, run in sorted(found, key=lambda one: (order.get(one[0], len(order)), one[2].record.seed)):
        findings = [one for one in run.findings if (one.signature, one.where) == (name, where)]
        signature = known.get(name)
        yield Evidence(
            signature=name,
            where=where,
            anchor="",
            seeds=str(run.record.seed),
            steps=", ".join(_steps(one.steps) for one in findings),
            evidence=[line for one in findings for line in one.evidence],
            meaning=signature.meaning if signature and name not in told else "",
            advice=signature.advice if signature and name not in told else "",
        )
        told.add(name)


def _steps(steps: tuple[int, int]) -> str:
    return f"{steps[0]}" if steps[0] == steps[1] else f"{steps[0]} to {steps[1]}"
