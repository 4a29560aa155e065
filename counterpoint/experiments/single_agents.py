"""The controls of kind "train": single agents that are trained with as many tokens as a workflow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from counterpoint.config import Config
from counterpoint.errors import ConfigError, counted
from counterpoint.experiments.calls import Calls, calls_of
from counterpoint.experiments.cells import SEED, Cell
from counterpoint.experiments.names import joined
from counterpoint.experiments.overrides import overrides_in
from counterpoint.experiments.resolved import identity, in_its_folder, resolved, told_together
from counterpoint.experiments.study_file import ControlTable
from counterpoint.family import is_own
from counterpoint.workflows import load_workflow

_SINGLE = "single"
_ALONE = (f"workflow={_SINGLE}", "policies.sharing=shared")
_SEED_KEY = f"run.{SEED}"
_GROUP_SIZE = "rollout.group_size"
_TAKEN = ("workflow", "policies.sharing", _SEED_KEY, _GROUP_SIZE)
"""The keys that a single agent has of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """A single agent, and the cells that it is the control of."""

    control: str
    cell: Cell
    """Its first run."""
    serves: Mapping[str, int]
    """Cell without seed -> the calls per episode of its workflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The cells that controls belong to, each without its seed."""

    cells: Mapping[str, Cell]
    """The first run of each."""
    configs: Mapping[str, Config]
    calls: Mapping[str, Calls]


def compared(cells: Sequence[Cell]) -> Compared:
    """The cells with their recipes and the calls of their workflows. Raises ConfigError with everything wrong."""
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(cell.group, cell)
    configs, failed = resolved(first.values())
    if failed:
        raise ConfigError(told_together(failed, len(first)))
    known: dict[str, Calls] = {}
    counts = {}
    for group, config in configs.items():
        most = config.rollout.max_calls
        key = f"{config.workflow.model_dump_json()} {most} {first[group].recipe * is_own(config.workflow.name)}"
        if key not in known:
            with in_its_folder(first[group]):
                known[key] = calls_of(load_workflow(config.workflow), most)
        counts[group] = known[key]
    return Compared(cells=first, configs=configs, calls=counts)


def single_agents(table: ControlTable, among: Compared) -> list[Alone]:
    """The single agents of a control; cells whose single agents would be equal, as under any sharing, have one, and
    those that are single agents themselves have none.

    The labels of a single agent are those that its cells have in common. Raises ConfigError for keys that a single
    agent cannot have, and if all cells are single agents.
    """
    own = overrides_in(table.set, f"control {table.name!r}: set")
    for key in own:
        if key in _TAKEN or key.startswith("workflow."):
            raise ConfigError(f"control {table.name!r} sets {key}: a single agent has its own")
    teams = [group for group, config in among.configs.items() if config.workflow.name != _SINGLE]
    if not teams:
        raise ConfigError(f"control {table.name!r}: every cell is a single agent, and none has a workflow to match")
    drafts = {group: _draft(table, among.cells[group], own, among) for group in teams}
    configs, failed = resolved(drafts.values())
    if failed:
        raise ConfigError(f"control {table.name!r}: {told_together(failed, len(drafts))}")
    served: dict[str, list[str]] = {}
    for group in drafts:
        served.setdefault(identity(drafts[group], configs[group]), []).append(group)
    return [_alone(table, members, drafts, among) for members in served.values()]


def notes_on_calls(table: ControlTable, among: Compared) -> list[str]:
    """One line for each workflow that a single agent is matched with: how many calls it has, and how that is known."""
    lines = []
    for group, cell in among.cells.items():
        found, used = among.calls[group], matched_calls(table, cell, among.calls[group])
        how = f"{found.fewest} to {found.most} calls" if found.fewest < found.most else counted(found.most, "call")
        if found.fewest < found.most or used != found.most:
            how += f", counted as {used}" + (": at least as many tokens" if used == found.most else "")
        lines.append(f"{table.name}: an episode of {among.configs[group].workflow.name} makes {how}")
    return list(dict.fromkeys(lines)) if table.match == "calls" else []


def matched_calls(table: ControlTable, cell: Cell, counted: Calls) -> int:
    """The calls per episode that a cell counts with. Raises ConfigError if two of its labels disagree."""
    given = {table.calls[label] for label in cell.labels.values() if label in table.calls}
    if len(given) > 1:
        raise ConfigError(f"control {table.name!r}: calls gives {cell.group} both {min(given)} and {max(given)}")
    return given.pop() if given else counted.most


def _draft(table: ControlTable, cell: Cell, own: Mapping[str, str], among: Compared) -> Cell:
    """The run of a single agent, as the control of this cell alone."""
    calls = matched_calls(table, cell, among.calls[cell.group]) if table.match == "calls" else 1
    kept = [one for one in cell.overrides if not _is_taken(one)]
    size = among.configs[cell.group].rollout.group_size * calls
    return replace(
        cell,
        overrides=(
            *kept,
            *_ALONE,
            f"{_GROUP_SIZE}={size}",
            *(f"{key}={value}" for key, value in own.items()),
            f"{_SEED_KEY}={cell.seed}",
        ),
        control=table.name,
    )


def _is_taken(override: str) -> bool:
    key = override.partition("=")[0]
    return any(key == taken or key.startswith(f"{taken}.") for taken in _TAKEN)


def _alone(table: ControlTable, members: Sequence[str], drafts: Mapping[str, Cell], among: Compared) -> Alone:
    """The single agent that is the control of these cells."""
    draft = drafts[members[0]]
    labels = {
        axis: label
        for axis, label in draft.labels.items()
        if all(drafts[member].labels[axis] == label for member in members)
    }
    name = f"{joined(labels, [table.name])}-s{draft.seed}"
    serves = {member: matched_calls(table, drafts[member], among.calls[member]) for member in members}
    return Alone(control=table.name, cell=replace(draft, name=name, labels=labels), serves=serves)


def of_seed(cell: Cell, seed: int) -> Cell:
    """The same run with another seed."""
    *others, _ = cell.overrides
    return replace(cell, name=f"{cell.group}-s{seed}", seed=seed, overrides=(*others, f"{_SEED_KEY}={seed}"))
