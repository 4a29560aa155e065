"""A study expanded: from its file, or from the arms that a command compares, to the runs that it is made of."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from counterpoint.errors import ConfigError, unknown
from counterpoint.experiments.cells import SEED, Cell, Excluded, Study
from counterpoint.experiments.control_cells import expand_controls
from counterpoint.experiments.names import check_label, check_names, joined
from counterpoint.experiments.overrides import in_order, overrides_in
from counterpoint.experiments.selection import selected
from counterpoint.experiments.study_file import Labels, StudyFile, exclusions, find_study, read_study
from counterpoint.recipe import find_recipe, load_config

_RECIPE = "recipe"
_SHARING = "sharing"
_SEED_KEY = f"run.{SEED}"
_THREADS = "run.threads"


class Group(NamedTuple):
    """Runs that differ in their seeds alone, before they have any."""

    labels: Mapping[str, str]
    recipe: str
    overrides: tuple[str, ...]


class _Condition(NamedTuple):
    """Keys for some combinations of labels."""

    name: str
    where: Sequence[Mapping[str, str]]
    keys: Mapping[str, str]


def load_study(name_or_path: str | Path, only: Sequence[str] = (), seeds: Sequence[int] | None = None) -> Study:
    """The study in a file, expanded: cells, evaluations that are controls, and what is left out, with the reasons.

    `only` chooses cells, each by a pattern of names (`voting-*`) or by `axis=label`; `seeds` replace those of the file.
    Raises ConfigError, which names the wrong key, label or seed and what is allowed; of controls that need the recipes
    of cells, also whatever is wrong with these.
    """
    path = find_study(str(name_or_path))
    file = read_study(path)
    try:
        return selected(_expanded(file, path, seeds), only)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def study_of_arms(
    name: str,
    recipe: str,
    overrides: Sequence[str],
    arms: Mapping[str, Sequence[str]],
    seeds: Sequence[int],
    *,
    axis: str = _SHARING,
    margin: float = 0.03,
) -> Study:
    """The study of one recipe with each of some arms, label -> its overrides, made in memory.

    Without arms it has one cell, named after the study. Where neither recipe nor overrides fix the number of threads,
    it is 1, so that it is the same in every run. Raises ConfigError for names and seeds that cannot be used.
    """
    check_label("the study's name", name)
    _check_seeds(seeds)
    threads = load_config(recipe, overrides).run.threads
    fixed = (*overrides, *([] if threads else [f"{_THREADS}=1"]))
    for label, own in arms.items():
        check_label(f"the label of axis {axis!r}", label)
        if any(one.partition("=")[0].strip() == _SEED_KEY for one in own):
            raise ConfigError(f"{label} sets {_SEED_KEY}: the seeds are those of the study")
    groups = [Group({axis: label}, recipe, (*fixed, *own)) for label, own in arms.items()]
    named = {joined(one.labels): one for one in groups} or {name: Group({}, recipe, fixed)}
    check_names({group: [group] for group in named})
    return Study(
        name=name,
        file=None,
        compare=axis if len(arms) > 1 else "",
        axes={axis: tuple(arms)} if arms else {},
        seeds=tuple(seeds),
        cells=tuple(cell_of(group, one, seed) for seed in seeds for group, one in named.items()),
        margin=margin,
    )


def cell_of(name: str, group: Group, seed: int, control: str = "") -> Cell:
    """One run of a group."""
    overrides = (*group.overrides, f"{_SEED_KEY}={seed}")
    labels = dict(group.labels)
    return Cell(
        name=f"{name}-s{seed}", labels=labels, seed=seed, recipe=group.recipe, overrides=overrides, control=control
    )


def _expanded(file: StudyFile, path: Path, seeds: Sequence[int] | None) -> Study:
    name = file.name or path.stem
    check_label("the study's name", name)
    chosen = tuple(file.seeds if seeds is None else seeds)
    _check_seeds(chosen)
    tables = _tables(file, path.parent)
    left_out = _left_out(file)
    groups = _groups(file, tables, left_out, path.parent)
    named = {joined(one.labels): one for one in groups}
    _check_groups(groups)
    study = Study(
        name=name,
        file=path,
        compare=_compared(file),
        axes={axis: tuple(labels) for axis, labels in file.axes.items()},
        seeds=chosen,
        cells=tuple(cell_of(group, one, seed) for seed in chosen for group, one in named.items()),
        excluded=tuple(left_out),
        margin=file.margin,
        about=file.about,
        least_evaluations=file.least_evaluations,
    )
    return expand_controls(study, file.controls)


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds:
        raise ConfigError("seeds are required: at least one")
    for place, seed in enumerate(seeds):
        if seed < 0:
            raise ConfigError(f"seed {seed} is negative")
        if seed in seeds[:place]:
            raise ConfigError(f"seed {seed} is given twice: no run is made twice")


def _compared(file: StudyFile) -> str:
    """The axis that is compared. Raises ConfigError if it does not exist or has only one label."""
    axes = list(file.axes)
    compare = file.compare or (_SHARING if _SHARING in axes else axes[0] if len(axes) == 1 else "")
    if not compare:
        raise ConfigError(f"compare is required: the axis whose labels are compared, of {', '.join(axes)}")
    if compare not in axes:
        raise ConfigError("compare: " + unknown("axis", compare, axes))
    if len(file.axes[compare]) < 2:
        raise ConfigError(f"compare = {compare!r}: the axis has one label, and nothing to compare it with")
    return compare


def _tables(file: StudyFile, folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Axis -> label -> key -> value. Raises ConfigError for labels and keys that cannot be used."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for axis, labels in file.axes.items():
        if not _is_axis(axis):
            raise ConfigError(f"axis {axis!r}: allowed are letters, digits and _, and not {SEED!r} or 'control'")
        if not labels:
            raise ConfigError(f"axis {axis!r} has no labels: [axes.{axis}.LABEL]")
        found[axis] = {}
        for label, table in labels.items():
            check_label(f"the label of axis {axis!r}", label)
            _refuse_dotted(axis, label, table)
            found[axis][label] = _keys(table, f"axes.{axis}.{label}", folder)
    return found


def _refuse_dotted(axis: str, label: str, table: Mapping[str, Any]) -> None:
    """Raises ConfigError for a number with a dot as a label without quotes, which TOML reads as a table in a table."""
    for key, value in table.items():
        if isinstance(value, Mapping) and key[:1].isdigit():
            raise ConfigError(
                f'[axes.{axis}.{label}.{key}]: a label with a dot needs quotes: [axes.{axis}."{label}.{key}"]'
            )


def _is_axis(axis: str) -> bool:
    """True if an axis may have this name: it stands before `=` in `--only`, and beside the columns of results."""
    return axis.isidentifier() and axis.isascii() and axis not in (SEED, "control", "run")


def _keys(table: Mapping[str, Any], where: str, folder: Path) -> dict[str, str]:
    keys = overrides_in({key: value for key, value in table.items() if key != _RECIPE}, where)
    if _SEED_KEY in keys:
        raise ConfigError(f"{where} sets {_SEED_KEY}: `seeds` says which seeds every cell is trained with")
    if _RECIPE in table:
        keys[_RECIPE] = _recipe(table[_RECIPE], folder, f"{where}.{_RECIPE}")
    return keys


def _recipe(name: object, folder: Path, where: str) -> str:
    """A recipe by name or file; a file may also lie beside the study. Raises ConfigError if there is none."""
    if not isinstance(name, str):
        raise ConfigError(f"{where} = {name!r}: a recipe is the name of one, or of its file")
    beside = folder / name
    if not Path(name).exists() and (beside.is_file() or (beside / "run.toml").is_file()):
        return str(beside)
    try:
        find_recipe(name)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return name


def _left_out(file: StudyFile) -> list[Excluded]:
    """The combinations that `[[except]]` names. Raises ConfigError if an axis or a label does not exist."""
    return [
        Excluded(where=where, reason=one.reason)
        for number, one in enumerate(exclusions(file), start=1)
        for where in _combinations(file, one.where, f"except {number}")
    ]


def _combinations(file: StudyFile, given: Labels, what: str) -> list[dict[str, str]]:
    """Every combination of the labels of a `where`. Raises ConfigError if an axis or a label does not exist."""
    choices = {axis: [labels] if isinstance(labels, str) else labels for axis, labels in given.items()}
    for axis, labels in choices.items():
        if axis not in file.axes:
            raise ConfigError(f"{what}: " + unknown("axis", axis, file.axes))
        for label in labels:
            if label not in file.axes[axis]:
                raise ConfigError(f"{what}: " + unknown(f"label of axis {axis!r}", label, file.axes[axis]))
        if not labels:
            raise ConfigError(f"{what}: axis {axis!r} has no labels, so that it matches nothing")
    return [dict(zip(choices, chosen, strict=True)) for chosen in product(*map(dict.fromkeys, choices.values()))]


def _conditions(file: StudyFile, folder: Path) -> list[_Condition]:
    """The keys of `[[when]]`. Raises ConfigError for labels and keys that cannot be used."""
    found = []
    for number, one in enumerate(file.when, start=1):
        what = f"when {number}"
        if _RECIPE in one.set:
            raise ConfigError(f"{what} sets {_RECIPE}: only an axis can replace the base recipe")
        keys = _keys(one.set, f"{what}: set", folder)
        found.append(_Condition(what, _combinations(file, one.where, what), keys))
    return found


def _groups(
    file: StudyFile, tables: Mapping[str, Mapping[str, Mapping[str, str]]], left_out: Sequence[Excluded], folder: Path
) -> list[Group]:
    """Every combination of labels that is not left out.

    Raises ConfigError for keys that contradict each other, and for exclusions and conditions that match nothing.
    """
    base = _recipe(file.recipe, folder, _RECIPE)
    if _RECIPE in file.set:
        raise ConfigError("set.recipe: the recipe of every cell is the key `recipe` of the study")
    every, conditions = _keys(file.set, "set", folder), _conditions(file, folder)
    groups, used, applied = [], set[int](), set[str]()
    for chosen in product(*(list(labels) for labels in tables.values())):
        labels = dict(zip(tables, chosen, strict=True))
        matching = [place for place, one in enumerate(left_out) if one.where.items() <= labels.items()]
        used.update(matching[:1])
        if matching:
            continue
        special = [one for one in conditions if any(where.items() <= labels.items() for where in one.where)]
        applied.update(one.name for one in special)
        own = _merged({f"axes.{axis}.{label}": tables[axis][label] for axis, label in labels.items()})
        keys = {**every, **own, **_merged({one.name: one.keys for one in special})}
        groups.append(Group(labels, keys.pop(_RECIPE, base), in_order(keys)))
    for place, one in enumerate(left_out):
        if place not in used:
            shown = ", ".join(f"{axis} = {label}" for axis, label in one.where.items())
            raise ConfigError(f"except: {shown} leaves out nothing that is not left out already")
    if not groups:
        raise ConfigError("[[except]] leaves out every combination: no cell is left")
    for condition in conditions:
        if condition.name not in applied:
            raise ConfigError(f"{condition.name} matches no cell: all of its combinations are left out")
    return groups


def _merged(tables: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The keys of several labels. Raises ConfigError if two of them set one key to different values."""
    keys: dict[str, str] = {}
    origin: dict[str, str] = {}
    for where, table in tables.items():
        for key, value in table.items():
            if keys.setdefault(key, value) != value:
                both = f"{origin[key]} sets {key} = {keys[key]}, {where} sets {key} = {value}"
                raise ConfigError(f"{both}: set it in one of them, or for combinations in [[when]]")
            origin.setdefault(key, where)
    return keys


def _check_groups(groups: Sequence[Group]) -> None:
    names: dict[str, list[str]] = {}
    for one in groups:
        shown = ", ".join(f"{axis} = {label}" for axis, label in one.labels.items())
        names.setdefault(joined(one.labels), []).append(shown)
    check_names(names)
