"""The numbers of a cell as tables, one row per seed and step: what figures of a cell are drawn from.

Every function takes the cell and returns a frame with a column `seed`; it has no rows where nothing was recorded.
Values that are not finite are left out.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from counterpoint.analysis.changes import CHANGES, changes
from counterpoint.analysis.milestones import Row
from counterpoint.analysis.votes import Vote, majority_line, votes_of
from counterpoint.errors import RunError
from counterpoint.experiments.collected import MILESTONES
from counterpoint.files import read_rows
from counterpoint.reports.seen import CellSeen, Seen
from counterpoint.run_files import EVALUATIONS, FINAL

if TYPE_CHECKING:
    import polars as pl

LENGTHS = ("tokens", "tokens_low", "tokens_median", "tokens_high", "tokens_p95")
GRADIENTS = ("share", "norm", "alignment", "persistence", "coherence", "amplification", "amplification_by_chance")
BETWEEN = (("base", "peak"), ("peak", "terminal"), ("base", "terminal"))
_STEP, _HEAD = re.compile(rb'\{"step": (\d+),'), 80
_ROLE = r"^gradient/(?P<policy>[^/]+)/(?P<role>[^/+]+)/(?P<number>[^/]+)$"
_PAIR = r"^gradient/(?P<policy>[^/]+)/(?P<one>[^/+]+)\+(?P<other>[^/+]+)/cosine$"
_REPLIES = r"^(?:eval/(?P<split>[^/]+)/)?role/(?P<role>[^/]+)/(?P<number>[^/]+)$"


def accuracies(cell: CellSeen) -> "pl.DataFrame":
    """seed, step, split (validation, test), value: the team's accuracy in every evaluation."""
    return series(cell, r"^eval/(?P<split>[^/]+)/accuracy$")


def role_accuracies(cell: CellSeen) -> "pl.DataFrame":
    """seed, step, split (train, validation, test), role, value: the mean score of the role's claims."""
    import polars as pl

    found = series(cell, r"^(?:eval/(?P<split>[^/]+)/)?role/(?P<role>[^/]+)/accuracy$")
    return found.with_columns(pl.col("split").fill_null("train"))


def lengths(cell: CellSeen) -> "pl.DataFrame":
    """seed, step, role, and `LENGTHS`: the length of a role's replies in training steps, null where not recorded."""
    import polars as pl

    found = series(cell, _REPLIES).filter(pl.col("split").is_null() & pl.col("number").is_in(LENGTHS))
    return _wide(found, ("seed", "step", "role"), LENGTHS)


def gradients(cell: CellSeen) -> "pl.DataFrame":
    """seed, step, policy, role, and `GRADIENTS`: what the role contributes to the policy's gradient.

    Shares of one policy add up to 1; shares and norms of different policies do not compare.
    """
    import polars as pl

    found = series(cell, _ROLE).filter(pl.col("number").is_in(GRADIENTS))
    return _wide(found, ("seed", "step", "policy", "role"), GRADIENTS)


def cosines(cell: CellSeen) -> "pl.DataFrame":
    """seed, step, policy, one, other, value: the cosine of two roles' gradients, the names in alphabetical order."""
    return series(cell, _PAIR)


def policies(cell: CellSeen) -> "pl.DataFrame":
    """seed, step, policy, number, value: the numbers of `gradient/<policy>/` and `policy/<policy>/`, as dominance."""
    return series(cell, r"^(?:gradient|policy)/(?P<policy>[^/]+)/(?P<number>[^/]+)$")


def warnings(cell: CellSeen) -> "pl.DataFrame":
    """seed, step, warning (such as `capture/shared`), value: the steps in which a warning is raised."""
    import polars as pl

    return series(cell, r"^warning/(?P<warning>.+)$").filter(pl.col("value") > 0)


def transitions(cell: CellSeen, role: str | None = None) -> "pl.DataFrame":
    """seed, before, after, change, share, tasks: of the test tasks, those kept right, recovered, spoiled, kept wrong.

    Between base and peak, peak and terminal, base and terminal, of the team or of a role. Of tasks whose outcomes are
    means, the least share that must have changed.
    """
    rows = []
    for run in cell.finished:
        outcomes = _outcomes(run, role)
        for before, after in BETWEEN:
            found = changes(outcomes[before], outcomes[after])
            rows += [
                (run.record.seed, before, after, change, share, found.tasks)
                for change, share in zip(CHANGES, found.shares, strict=True)
                if found.tasks
            ]
    return _frame(rows, seed=int, before=str, after=str, change=str, share=float, tasks=int)


def first_to_team(cell: CellSeen) -> "pl.DataFrame":
    """seed, milestone, change, share: what the team makes of the first answer of an episode, on the test split.

    Kept right, recovered (`episode/helped`), spoiled (`episode/hurt`), kept wrong. The means over the last evaluations
    are at `terminal`. Partial rewards count as parts of right ones.
    """
    rows = []
    for run in cell.finished:
        steps = {"base": (0,), "peak": (run.record.peak_step or 0,), "terminal": run.record.terminal_steps}
        numbers = _evaluated(run, ("accuracy", "episode/helped", "episode/hurt"))
        for milestone in MILESTONES:
            found = [numbers[step] for step in steps[milestone] if len(numbers.get(step, ())) == len(CHANGES) - 1]
            if not found:
                continue
            right, helped, hurt = (sum(column) / len(found) for column in zip(*found, strict=True))
            shares = (max(0.0, right - helped), helped, hurt, max(0.0, 1.0 - right - hurt))
            rows += [(run.record.seed, milestone, *one) for one in zip(CHANGES, shares, strict=True)]
    return _frame(rows, seed=int, milestone=str, change=str, share=float)


def votes(cell: CellSeen, role: str) -> "pl.DataFrame":
    """seed, milestone, right, of, episodes, team, majority: what the team makes of k right answers among n of a role.

    `right` is k, `of` is n, `team` the share of these episodes in which the team is right, `majority` the share that a
    majority would have right where all wrong answers are equal: 0 below n/2, 1/2 at it, 1 above. For roles of which
    every episode has the same number of claims, at least 2. Where an episode's claims cannot be told apart, as in
    collected files alone with several episodes per task, it is left out.
    """
    rows = []
    for run in cell.finished:
        for milestone, found in _votes(run, role):
            rows += [
                (
                    run.record.seed,
                    milestone,
                    one.right,
                    one.of,
                    one.episodes,
                    one.team,
                    majority_line(one.right, one.of),
                )
                for one in found
            ]
    return _frame(rows, seed=int, milestone=str, right=int, of=int, episodes=int, team=float, majority=float)


def series(cell: CellSeen, pattern: str) -> "pl.DataFrame":
    """seed, step, a column per named group of the pattern, value: the numbers whose names fit, sorted.

    The pattern is a regular expression of Rust's dialect, without a group named `name`. A group that took no part is
    null.
    """
    import polars as pl

    seed = pl.lit(0, dtype=pl.Int64).alias("seed")
    every = pl.concat(
        [run.metrics.select(seed + run.record.seed, *_of_series()) for run in cell.runs]
        or [pl.DataFrame(schema={"seed": int, "step": int, "name": str, "value": float})]
    )
    names = every.select(pl.col("name").unique()).filter(pl.col("name").str.contains(pattern))
    known = names.with_columns(pl.col("name").str.extract_groups(pattern).alias("_groups")).unnest("_groups")
    groups = [pl.col(one).cast(pl.String) for one in known.columns if one != "name"]
    found = every.join(known, on="name").filter(pl.col("value").is_finite())
    return found.select("seed", "step", *groups, "value").sort(pl.all().exclude("value"), nulls_last=True)


def _of_series() -> "tuple[pl.Expr, ...]":
    import polars as pl

    return pl.col("step").cast(pl.Int64), pl.col("name"), pl.col("value").cast(pl.Float64)


def _wide(found: "pl.DataFrame", keys: Sequence[str], numbers: Sequence[str]) -> "pl.DataFrame":
    import polars as pl

    wide = [pl.col("value").filter(pl.col("number") == number).first().alias(number) for number in numbers]
    return found.group_by(*keys, maintain_order=True).agg(*wide).sort(keys)


def _outcomes(run: Seen, role: str | None) -> dict[str, dict[str, float]]:
    """Milestone -> task -> mean outcome of the team or a role."""
    import polars as pl

    found: dict[str, dict[str, float]] = {milestone: {} for milestone in MILESTONES}
    own = run.outcomes.filter(pl.col("role").eq_missing(pl.lit(role)))
    for milestone, task, value in own["milestone", "task", "value"].iter_rows():
        found[milestone][task] = value
    return found


def _evaluated(run: Seen, names: Sequence[str]) -> dict[int, tuple[float, ...]]:
    """Step -> the values of these numbers of the test evaluation, those that were recorded."""
    found: dict[int, dict[str, float]] = {}
    wanted = {f"eval/test/{name}" for name in names}
    for step, name, value in run.metrics["step", "name", "value"].iter_rows():
        if name in wanted:
            found.setdefault(step, {})[name.removeprefix("eval/test/")] = value
    return {step: tuple(own[name] for name in names if name in own) for step, own in found.items()}


def _votes(run: Seen, role: str) -> Iterator[tuple[str, list[Vote]]]:
    rows = _milestone_rows(run)
    if rows is None:
        yield from _votes_of_outcomes(run, role)
        return
    for milestone, own in rows.items():
        pairs = [pair for row in own for pair in _pairs(row, role)]
        yield milestone, votes_of(pairs)


class _Pair(NamedTuple):
    """The scores of a role's claims in an episode, and the success of the team."""

    claims: Sequence[float]
    team: float


def _pairs(row: Row, role: str) -> Iterator[_Pair]:
    """The episodes of an evaluation; those of a task are left out where the claims cannot be told apart."""
    claims: Mapping[str, Sequence[float]] = row["roles"].get(role, {})
    for task, team in row["outcomes"].items():
        own = claims.get(task, [])
        each, rest = divmod(len(own), len(team))
        if not rest and each:
            yield from (_Pair(own[place * each : (place + 1) * each], value) for place, value in enumerate(team))


def _milestone_rows(run: Seen) -> dict[str, list[Row]] | None:
    """Milestone -> its test evaluations, if the run directory can be read."""
    if run.folder is None or run.record.peak_step is None:
        return None
    steps = {"base": (0,), "peak": (run.record.peak_step,), "terminal": run.record.terminal_steps}
    try:
        final = {row["step"]: row for row in read_rows(run.folder / FINAL)}
        rows = final | _test_rows(run.folder / EVALUATIONS, {one for own in steps.values() for one in own} - set(final))
        return {milestone: [rows[step] for step in own] for milestone, own in steps.items()}
    except (OSError, RunError, ValueError, KeyError):
        return None


def _test_rows(path: Path, steps: Set[int]) -> dict[int, Row]:
    """The test evaluations after these steps; a line that begins with another step is not decoded."""
    found = {}
    for line in path.read_bytes().split(b"\n") if steps else ():
        step = _STEP.match(line)
        if line and (step is None or int(step[1]) in steps) and b'"split": "validation"' not in line[:_HEAD]:
            row = json.loads(line)
            if row["split"] == "test" and row["step"] in steps:
                found[row["step"]] = row
    return found


def _votes_of_outcomes(run: Seen, role: str) -> Iterator[tuple[str, list[Vote]]]:
    """The votes at base and peak where a task has one episode: the number of right answers is in its mean."""
    import polars as pl

    for milestone in ("base", "peak"):
        own = run.outcomes.filter(milestone=milestone)
        team = own.filter(pl.col("role").is_null() & (pl.col("samples") == 1))
        both = team.join(own.filter(role=role), on="task", suffix="_role")
        pairs = [
            _Pair([1.0] * round(value * count) + [0.0] * (count - round(value * count)), success)
            for success, value, count in both["value", "value_role", "samples_role"].iter_rows()
            if abs(value * count - round(value * count)) < 1e-6
        ]
        yield milestone, votes_of(pairs)


def _frame(rows: Sequence[tuple[Any, ...]], **schema: Any) -> "pl.DataFrame":
    import polars as pl

    return pl.DataFrame(rows, schema=schema, orient="row")
