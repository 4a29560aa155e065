"""Advice from runs that are finished: one look at what they found, without training."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from counterpoint.analysis.racing import FIRST, LAST, MOST_ARMS, race
from counterpoint.config import Config
from counterpoint.errors import RunError, counted
from counterpoint.experiments.advice import Advice, result_of
from counterpoint.experiments.arms import SHARING
from counterpoint.experiments.evidence import reasons_of
from counterpoint.experiments.overrides import text_of
from counterpoint.experiments.pilots import STOP
from counterpoint.experiments.raced import Raced, common_outcomes, read_raced
from counterpoint.extension import differences
from counterpoint.files import lacks
from counterpoint.run import Run
from counterpoint.run_files import is_run

_BESIDE_THE_METHOD = {("run", "seed"), ("run", "threads"), ("policies", "sharing"), ("model", "date")}
_OF_THE_RACE = (SHARING, "run.seed", "run.threads")


def advise_from(paths: Sequence[Path], margin: float, recipe: str = "", overrides: Sequence[str] = ()) -> Advice:
    """The advice from finished runs, or from folders of them, that differ in seed and sharing alone.

    `margin` is in points. Only seeds that every arm has count. Raises RunError for runs that are not finished, have
    other recipes or other tasks, or are too few or too many.
    """
    runs = [Run.read(path) for path in _run_paths(paths)]
    names = _arm_names(runs)
    _refuse_unequal(runs)
    raced = [read_raced(name, run.config.run.seed, run.path) for name, run in zip(names, runs, strict=True)]
    seeds = _seeds(raced)
    kept = [one for one in raced if one.seed in seeds]
    policies = {name: _policies(run) for name, run in zip(names, runs, strict=True)}
    arms = tuple(sorted(policies, key=lambda name: policies[name]))
    outcomes, tasks, left_out = common_outcomes(kept, arms)
    words = _words(runs[0], recipe, overrides)
    sharing = {name: run.config.policies.sharing for name, run in zip(names, runs, strict=True)}
    return Advice(
        standing=race(outcomes, seeds, margin / 100, first=len(seeds)),
        arms=tuple(result_of(name, policies[name], kept, outcomes[name]) for name in arms),
        margin=margin / 100,
        steps=runs[0].config.run.steps,
        tasks=tasks,
        left_out=left_out,
        samples=min((one.samples for one in kept if one.outcomes), default=0),
        minutes=None,
        train={name: (*words, f"{SHARING}={text_of(sharing[name], SHARING)}") for name in arms} if words else {},
        go_on=(),
        without_cliff_stop=any(STOP not in [spec.name for spec in run.config.interventions] for run in runs),
        **reasons_of(runs[0].config, kept),
    )


def _run_paths(paths: Sequence[Path]) -> list[Path]:
    """The run directories: those given, and those in the folders given. Raises RunError for a path that has none."""
    found: list[Path] = []
    for path in paths:
        inside = [path] if is_run(path) else sorted(one.parent for one in path.glob("*/config.toml"))
        if not inside:
            raise RunError(f"{path} is neither a run nor a folder of runs: {lacks(path, 'runs')}")
        found += inside
    real = [path.resolve() for path in found]
    for path in found:
        if real.count(path.resolve()) > 1:
            raise RunError(f"{path} is there twice: a run counts once")
    return found


def _arm_names(runs: Sequence[Run]) -> list[str]:
    """The arm of each run: the word for its sharing, or table, table-2 and so on. Raises RunError for 1, or for 5."""
    tables: list[str] = []
    names = []
    for run in runs:
        sharing = run.config.policies.sharing
        if not isinstance(sharing, str):
            text = json.dumps(sharing, sort_keys=True)
            tables += [] if text in tables else [text]
            place = tables.index(text) + 1
            sharing = "table" if place == 1 else f"table-{place}"
        names.append(sharing)
    count = len(set(names))
    if not 1 < count <= MOST_ARMS:
        raise RunError(
            f"advice compares 2 to {MOST_ARMS} ways of sharing; these runs have {', '.join(sorted(set(names)))}"
        )
    return names


def _refuse_unequal(runs: Sequence[Run]) -> None:
    """Raises RunError, with the first difference, unless the runs differ in seed and sharing alone."""
    first = runs[0]
    for run in runs[1:]:
        for key, (here, there) in differences(_method(first.config), _method(run.config)).items():
            raise RunError(
                f"{run.path} and {first.path} differ in {key}: {there!r} and {here!r}; compare like with like"
            )
        one, other = (one.facts.get("tasks", {}).get("test") for one in (first, run))
        if one != other:
            raise RunError(f"{run.path} and {first.path} have other test tasks: advice compares them task by task")


def _method(config: Config) -> dict[str, Any]:
    """The recipe without seed, threads and sharing."""
    table = config.model_dump(mode="json", exclude_none=True)
    for section, key in _BESIDE_THE_METHOD:
        table[section] = {name: value for name, value in table[section].items() if name != key}
    return table


def _seeds(raced: Sequence[Raced]) -> tuple[int, ...]:
    """The seeds that all arms have. Raises RunError for a run that is not done, a seed twice, too few or too many."""
    by_arm: dict[str, list[int]] = {}
    for one in raced:
        if not one.is_done:
            raise RunError(f"{one.path} is not finished ({one.state}): counterpoint resume {one.path}")
        if one.seed in by_arm.setdefault(one.arm, []):
            raise RunError(f"two runs of {one.arm} have the seed {one.seed}: runs of an arm differ in their seed")
        by_arm[one.arm].append(one.seed)
    common = sorted(set.intersection(*map(set, by_arm.values())))
    if len(common) < FIRST:
        held = "; ".join(f"{arm} has {', '.join(map(str, sorted(seeds)))}" for arm, seeds in by_arm.items())
        raise RunError(f"advice needs at least {FIRST} seeds that every arm has: {held}")
    if len(common) > LAST:
        raise RunError(
            f"{counted(len(common), 'paired seed')} are more than the {LAST} of a race, whose error is known: give"
            " fewer, or use counterpoint compare"
        )
    return tuple(common)


def _policies(run: Run) -> int:
    """The policies that a run trains."""
    routes: Mapping[str, Any] = run.facts.get("routing", {})
    return len({name for found in routes.values() for name in ([found] if isinstance(found, str) else found)})


def _words(run: Run, recipe: str, overrides: Sequence[str]) -> tuple[str, ...]:
    """The beginning of the command that trains such a run; empty if its recipe has no name."""
    facts = run.facts
    named = recipe or str(facts.get("recipe", ""))
    given = overrides if recipe else facts.get("overrides", [])
    kept = [one for one in given if one.partition("=")[0].strip() not in _OF_THE_RACE]
    return ("counterpoint", "train", named, *kept) if named else ()
