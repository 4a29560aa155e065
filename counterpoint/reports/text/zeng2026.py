"""The claims of arXiv 2605.24202, and what micro models say of them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from counterpoint.analysis.comparison import MARGIN
from counterpoint.analysis.contrast import CONFIDENCE
from counterpoint.analysis.falls import rate, rate_of
from counterpoint.errors import counted
from counterpoint.experiments.compared import TEAM
from counterpoint.reports.before_falls import Difference, differences
from counterpoint.reports.seen import CellSeen, Gathered, Seen
from counterpoint.reports.text.captured import LEAST, RARE, captors, capture, largest, shared_cells
from counterpoint.reports.text.cells import improved
from counterpoint.reports.text.claims import WORDS, Claim, Claims, Judged
from counterpoint.reports.text.failures import occurring
from counterpoint.reports.text.falling import falling
from counterpoint.reports.text.higher import contrasted, higher
from counterpoint.reports.text.jointly import between, dependences
from counterpoint.reports.text.statement import Part, listed, p_of

ISOLATED, SHARED, AXIS = "isolated", "shared", "sharing"
FACTORS = frozenset({"workflow", "task", "scale"})
"""The axes that the claim about gains names; rates of learning, or settings, are not among them."""
JUDGED = ("cliff", "fallen role", "capture")
"""Signatures that claims of their own are about; capture is one of shared policies by definition."""
_AMPLIFIED = "amplification per call"
_NOT_COMPARED = "the runs are not compared by sharing, with shared and isolated policies"


def _is_compared(gathered: Gathered) -> bool:
    found = gathered.compared
    names = {group.name for block in found.blocks for group in block.groups} if found else set()
    return found is not None and found.by == AXIS and names == {ISOLATED, SHARED}


def _as_answered(gathered: Gathered, part: Part) -> Judged:
    """The judgement of a claim that the answer of a part is yes."""
    if not _is_compared(gathered):
        return Judged(judgement="not run yet", because=_NOT_COMPARED)
    answer = part.answer
    if answer is None or answer.verdict is None:
        return Judged(judgement="not run yet", because="no two cells are finished that differ in sharing alone")
    return Judged(judgement=WORDS[answer.verdict], because=answer.text)


def _reaches_higher(gathered: Gathered) -> Judged:
    """The judgement by peaks: none where the mean is over half of the cells or less."""
    judged = _as_answered(gathered, higher(gathered, "peak"))
    mean = next((one for one in contrasted(gathered) if one.amount == "peak" and not one.place.axis), None)
    there, every = len(mean.found.contexts) if mean else 1, len(gathered.compared.blocks) if gathered.compared else 0
    if 2 * there > every or judged.judgement not in ("agrees", "disagrees"):
        return judged
    return Judged(judgement="cannot tell", because=f"{judged.because}; that is {there} of {counted(every, 'cell')}")


def _improves(gathered: Gathered) -> Judged:
    found = gathered.compared
    told = improved(found) if found is not None else None
    if found is None or told is None:
        return Judged(judgement="not run yet", because="no cell has two finished seeds")
    better, rest, count = told
    flat = [
        one
        for one in found.levels
        if one.who == TEAM and one.gain.estimate is not None and one.gain.estimate.high < (found.margin or MARGIN)
    ]
    because = (
        f"the gain at the peak is above 0 in {len(better)} of {counted(count, 'cell')} (after Holm over {count})"
        f" and below {100 * (found.margin or MARGIN):g} points in {len(flat)}"
    )
    every = sum(len(block.groups) for block in found.blocks)
    if 2 * count <= every:
        few = f"{because}; of {every} cells, {every - count} have fewer than two finished seeds"
        return Judged(judgement="cannot tell", because=few)
    if 2 * len(better) > count:
        return Judged(judgement="agrees", because=because)
    if 2 * len(flat) > count:
        return Judged(judgement="disagrees", because=because)
    return Judged(judgement="cannot tell", because=f"{because}; of {len(rest)} it cannot be told or it is not")


def _depends_jointly(gathered: Gathered) -> Judged:
    pairs = [one for one in dependences(gathered) if len(one.axes) == 2 and FACTORS.issuperset(one.axes)]
    if not pairs:
        missing = "it needs two of workflow, task and scale to vary, in all combinations, with two seeds each"
        return Judged(judgement="not run yet", because=missing)
    there = [one for one in pairs if one.is_there]
    names = list(dict.fromkeys(" and ".join(one.axes) for one in there))
    looked = list(dict.fromkeys(" and ".join(one.axes) for one in pairs))
    smallest = min(one.p_value for one in pairs)
    if there:
        told = f"the gain depends jointly on {listed(names)}, of {listed(looked)} ({p_of(smallest)} at the least"
        return Judged(judgement="agrees", because=f"{told}, after Holm over all interactions)")
    told = f"no interaction of {listed(looked)} is there ({p_of(smallest)} at the least, after Holm)"
    return Judged(judgement="cannot tell", because=told)


def _amplifies(gathered: Gathered) -> Judged:
    """Parallel calls of isolated policies: if they pushed more alike before falls, and if their workflows fell more."""
    isolated = [cell for cell in gathered.cells if not cell.control and cell.labels.get(AXIS) == ISOLATED]
    parallel = [cell for cell in isolated if any(has_parallel_calls(run) for run in cell.finished)]
    others = [cell for cell in isolated if cell.finished and cell not in parallel]
    if not parallel:
        missing = "no run with isolated policies and parallel calls of a role is finished"
        return Judged(judgement="not run yet", because=missing)
    because, p_value, more = _rates(parallel, others)
    found = next((one for one in differences(replace(gathered, cells=parallel)) if one.diagnostic == _AMPLIFIED), None)
    if found is None:
        told = f"{because}; in no cell with parallel calls did some runs fall and others hold"
        return Judged(judgement="cannot tell", because=told)
    because = f"{_of(found)}; {because}"
    if found.verdict == "higher" and more >= 0:
        return Judged(judgement="agrees", because=because)
    against = found.verdict == "lower" or (p_value is not None and p_value <= 1 - CONFIDENCE and more < 0)
    return Judged(judgement="disagrees" if against else "cannot tell", because=because)


def has_parallel_calls(run: Seen) -> bool:
    """True if a role has parallel calls on one policy: only then is amplification recorded."""
    import polars as pl

    return bool(run.metrics.filter(pl.col("name").str.contains(r"^gradient/[^/]+/[^/+]+/amplification$")).height)


def _rates(parallel: Sequence[CellSeen], others: Sequence[CellSeen]) -> tuple[str, float | None, float]:
    """The rates of falls with and without parallel calls, Fisher's test, and the difference of the rates."""
    sides = [rate_of([run.record.fell for cell in cells for run in cell.finished]) for cells in (parallel, others)]
    told = f"isolated runs with parallel calls: {sides[0].interval}"
    if not others:
        return f"{told}; there is no finished run without them", None, 0.0
    p_value = fisher(*((one.fell, one.told) for one in sides))
    shares = [one.fell / one.told if one.told else 0.0 for one in sides]
    told = f"{told}, without: {sides[1].interval} ({p_of(p_value)}, Fisher's exact test)"
    return told, p_value, shares[0] - shares[1]


def fisher(one: tuple[int, int], other: tuple[int, int]) -> float:
    """The two-sided p-value of Fisher's exact test (1935) that events are as frequent: (with the event, all) twice."""
    from scipy.stats import fisher_exact

    return float(fisher_exact(np.array([(own, every - own) for own, every in (one, other)])).pvalue)


def _of(one: Difference) -> str:
    found = one.found
    if found.low is None or found.high is None or one.p_value is None:
        return f"amplification per call before falls was {found.fell:.2f} against {found.held:.2f} in runs that held"
    return (
        f"amplification per call before falls was {found.fell:.2f} against {found.held:.2f} in runs of the same cells"
        f" that held, difference {found.value:+z.2f} [{found.low:+z.2f}, {found.high:+z.2f}] ({found.falls} falls,"
        f" {found.holds} that held, {p_of(one.p_value)} after Holm)"
    )


def _captures(gathered: Gathered) -> Judged:
    cells = shared_cells(gathered)
    runs = [run for cell in cells for run in cell.finished]
    if not runs:
        return Judged(judgement="not run yet", because="no run with a shared policy is finished")
    caught = [run for run in runs if captors(run)]
    found = rate(len(caught), len(runs))
    told = capture(gathered).statements[0].text
    top: dict[str, str] = {}
    for one in largest(cells):
        top.setdefault(one.workflow, one.role)
    roles = [(run.record.workflow, role) for run in caught for role in captors(run)]
    by_top = sum(top.get(workflow) == role for workflow, role in roles)
    if len(caught) >= LEAST:
        whose = f"in {by_top} of {len(roles)} by the role with the largest mean share in that workflow"
        return Judged(judgement="agrees" if 2 * by_top > len(roles) else "disagrees", because=f"{told}, {whose}")
    if found.at_most <= RARE:
        return Judged(judgement="disagrees", because=told)
    return Judged(judgement="cannot tell", because=f"{told}; {LEAST} such runs are the least that count")


def _redistributes(gathered: Gathered) -> Judged:
    if not _is_compared(gathered) or gathered.compared is None:
        return Judged(judgement="not run yet", because=_NOT_COMPARED)
    every = [one for one in occurring(gathered.compared) if one.signature not in JUDGED]
    differ = [one for one in every if one.differs]
    if differ:
        return Judged(judgement="agrees", because="; ".join(one.sentence for one in differ))
    told = "; ".join(one.sentence for one in every[:4]) or "no finished run shows another failure signature"
    return Judged(
        judgement="cannot tell",
        because=f"besides cliffs and capture, no signature is more frequent with one of them: {told}",
    )


def _settings(gathered: Gathered) -> Part:
    return between(
        gathered,
        "settings",
        "What differs between the study's settings and matched ones?",
        "no two cells differ in settings = study and settings = matched alone",
    )


ZENG2026 = Claims(
    name="arXiv 2605.24202",
    about=(
        "Zeng and others trained voting, evaluator-optimizer and orchestrator-workers with Qwen3 of 0.6 to 4 billion"
        " parameters on mathematics and programs, with shared and with isolated policies. Its claims are here in our"
        " words, as its abstract has them; its tables were not available to us."
    ),
    claims=(
        Claim(says="Training a team usually improves it over its base", judge=_improves),
        Claim(says="Gains depend jointly on workflow, task and scale, not on sharing alone", judge=_depends_jointly),
        Claim(
            says="Isolated policies tend to reach higher peaks",
            judge=_reaches_higher,
        ),
        Claim(
            says="Isolated policies fall off a terminal accuracy cliff more often",
            judge=lambda gathered: _as_answered(gathered, falling(gathered)),
        ),
        Claim(
            says=(
                "With isolated policies, parallel calls of one role amplify its gradient, and drive the falls of voting"
                " and orchestrator-workers"
            ),
            judge=_amplifies,
        ),
        Claim(says="A shared policy is captured by the role with most of the gradient", judge=_captures),
        Claim(says="Shared policies fail in other ways than isolated ones", judge=_redistributes),
    ),
    parts=(_settings,),
    limits=(
        "The models here have a fraction of a million to a few million parameters and were made for this: they read"
        " characters or short words, know two small kinds of problems and the roles of these workflows, and nothing"
        " else. They cannot say how often models of 0.6 to 4 billion parameters fall, at which rate, or how much they"
        " gain.",
        "A mechanism that is seen here can exist there, and one that is not seen here may still exist there: replies"
        " are tens of tokens long, so that what needs long texts (leaked solutions, essays, lost formats) has little"
        " room.",
        "Learning rates do not carry over between such sizes: three times the rate of a recipe here is no statement"
        " about any rate there.",
        "Scales here differ by a factor of about eight in parameters and share one curriculum. The study's differ by"
        " seven, and theirs were pre-trained apart.",
        "Capture is found by a signature that asks for dominance of the gradient: that the captor has most of it is"
        " partly its definition. That runs with a captured policy, or with more amplification, do worse is no proof"
        " that these are the cause; interventions are.",
        "The figures that others report for the study (evaluator-optimizer with isolated policies 10.1 % above a single"
        " agent at 1.7 billion parameters on mathematics, voting with a shared policy 10.3 % below one at 4 billion)"
        " have no counterpart here.",
    ),
)
