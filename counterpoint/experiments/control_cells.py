"""The controls of a study: single agents to be trained, and evaluations of finished runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from counterpoint.analysis.tries import MOST, TRIES
from counterpoint.config import Config
from counterpoint.controls import policies_of
from counterpoint.errors import ConfigError, unknown
from counterpoint.experiments.bases import base_of
from counterpoint.experiments.cells import Cell, Measure, Study
from counterpoint.experiments.measured import TAUGHT
from counterpoint.experiments.names import check_label, check_names, joined
from counterpoint.experiments.overrides import text_of
from counterpoint.experiments.resolved import some_of
from counterpoint.experiments.single_agents import Alone, Compared, compared, notes_on_calls, of_seed, single_agents
from counterpoint.experiments.study_file import EVALUATED, ControlTable
from counterpoint.options import Spec

_FROM_ALONE = ("transfer", "majority")
_OF_ROLES = ("swap", "ablate")
_TRIES = "--tries"
_SAMPLES = 4
"""Episodes per task of an evaluation, where neither control nor recipe says how many."""


def expand_controls(study: Study, tables: Sequence[ControlTable]) -> Study:
    """The study with the runs and the evaluations that are its controls. Raises ConfigError for whatever is wrong."""
    if not tables:
        return study
    _check_tables(study, tables)
    among = compared(study.cells)
    trained = [one for one in tables if one.kind == "train"]
    alone = {one.name: single_agents(one, among) for one in trained}
    agents = [agent for found in alone.values() for agent in found]
    names: dict[str, list[str]] = {}
    for group, who in [*((group, group) for group in among.cells), *((one.cell.group, one.control) for one in agents)]:
        names.setdefault(group, []).append(who)
    check_names(names)
    first, notes = list[Measure](), [line for one in trained for line in notes_on_calls(one, among)]
    for one in tables:
        if one.kind == "evaluate":
            found, left_out = _evaluations(one, among, alone)
            first += found
            notes += left_out
    return replace(
        study,
        cells=tuple(cell for seed in study.seeds for cell in _of_seed(study.cells, agents, seed)),
        measures=tuple(_measure_of_seed(one, study.seeds[0], seed) for seed in study.seeds for one in first),
        notes=(*study.notes, *notes),
    )


def _of_seed(cells: Iterable[Cell], agents: Iterable[Alone], seed: int) -> list[Cell]:
    return [*(cell for cell in cells if cell.seed == seed), *(of_seed(agent.cell, seed) for agent in agents)]


def _measure_of_seed(measure: Measure, first: int, seed: int) -> Measure:
    """The evaluation of the runs with another seed than the first."""
    if seed == first:
        return measure
    cell = f"{measure.cell.removesuffix(f'-s{first}')}-s{seed}"
    arguments = tuple(one.replace(f"{{{measure.cell}}}", f"{{{cell}}}") for one in _without_base(measure.arguments))
    return replace(measure, cell=cell, needs=(cell,), arguments=arguments)


def _check_tables(study: Study, tables: Sequence[ControlTable]) -> None:
    """Raises ConfigError for what can be wrong in the tables alone."""
    trained = [one.name for one in tables if one.kind == "train"]
    for place, one in enumerate(tables):
        if one.name in [other.name for other in tables[:place]]:
            raise ConfigError(f"control {one.name!r} is given twice")
        if one.kind == "train":
            _check_trained(study, one)
        else:
            _check_evaluated(one, trained)


def _check_trained(study: Study, table: ControlTable) -> None:
    where = f"control {table.name!r}"
    check_label("the name of control", table.name)
    _refuse(table, where, of="peak", by="", roles=[], samples=None, tries=TRIES)
    known = {label for labels in study.axes.values() for label in labels}
    for label in table.calls:
        if label not in known:
            raise ConfigError(f"{where}: calls: " + unknown("label", label, known))


def _check_evaluated(table: ControlTable, trained: Sequence[str]) -> None:
    where = f"control {table.name!r}"
    if table.name not in EVALUATED:
        raise ConfigError(f"{where}: " + unknown("control of kind 'evaluate'", table.name, EVALUATED))
    _refuse(table, where, match="calls", calls={}, set={})
    if table.name != TAUGHT:
        _refuse(table, where, tries=TRIES)
    if table.name not in _OF_ROLES:
        _refuse(table, where, roles=[])
    elif table.name == "swap" and len(table.roles) == 1:
        raise ConfigError(f"{where}: roles = {table.roles} names one role, and two exchange their policies")
    if table.name not in _FROM_ALONE:
        _refuse(table, where, by="")
    elif table.by and table.by not in trained:
        raise ConfigError(f"{where}: by: " + unknown("control of kind 'train'", table.by, trained))
    elif not table.by and len(trained) != 1:
        has = f"has several: {', '.join(trained)}; name one with by" if trained else "has no control of kind 'train'"
        raise ConfigError(f"{where} needs the policy of a single agent, and the study {has}")


def _refuse(table: ControlTable, where: str, **defaults: object) -> None:
    """Raises ConfigError if a key is set that means nothing for this control."""
    for key, default in defaults.items():
        if getattr(table, key) != default:
            raise ConfigError(f"{where}: {key} means nothing for it (kind = {table.kind!r})")


def _evaluations(
    table: ControlTable, among: Compared, alone: Mapping[str, Sequence[Alone]]
) -> tuple[list[Measure], list[str]]:
    """The evaluations of the first seed, and remarks on cells that cannot have them."""
    if table.name in _FROM_ALONE:
        agents = alone[table.by] if table.by else next(iter(alone.values()))
        return [one for agent in agents for one in _of_agent(table, agent, among)], []
    if table.name == TAUGHT:
        return _taught(table, among), []
    found, without = list[Measure](), list[str]()
    for group, cell in among.cells.items():
        of_cell = _of_cell(table, cell, among.configs[group])
        found += of_cell
        if not of_cell:
            without.append(group)
    if not found:
        raise ConfigError(f"control {table.name!r}: {_why_not(table)} in any cell")
    note = f"{table.name}: not for {some_of(without)}, in which {_why_not(table)}"
    return found, [note] if without else []


def _why_not(table: ControlTable) -> str:
    of = f" among {', '.join(table.roles)}" if table.roles else ""
    return f"no two roles{of} have one policy each, and different ones" if table.name == "swap" else f"no role{of} is"


def _of_agent(table: ControlTable, agent: Alone, among: Compared) -> list[Measure]:
    """The policy of a single agent evaluated in the workflows of its cells, or by a vote over as many calls.

    The result belongs to the run of the single agent: it is the same for all cells with that workflow.
    """
    found: dict[tuple[str, ...], str] = {}
    for member, calls in agent.serves.items():
        workflow = among.configs[member].workflow
        if table.name == "majority":
            workflow = Spec.model_validate({"name": "majority", "samples": calls})
        options = [f"workflow.{key}={text_of(value, key)}" for key, value in workflow.options.items()]
        found.setdefault((f"workflow={workflow.name}", *options), member)
    measures = []
    for changes, member in found.items():
        own = {axis: label for axis, label in among.cells[member].labels.items() if axis not in agent.cell.labels}
        name = table.name if len(found) == 1 else joined(own, [table.name])
        measures.append(_measure(table, name, agent.cell, among.configs[member], changes))
    return measures


def _taught(table: ControlTable, among: Compared) -> list[Measure]:
    """The evaluation of every cell; the base is played with the first run of those that have the same.

    It is the same for every seed, too: those of the other seeds are played without it.
    """
    found, bases = list[Measure](), set[str]()
    for group, cell in among.cells.items():
        config = among.configs[group]
        base = base_of(cell, config)
        changes = ("--taught", _TRIES, str(table.tries))
        found.append(_measure(table, TAUGHT, cell, config, _without_base(changes) if base in bases else changes))
        bases.add(base)
    return found


def _without_base(arguments: Sequence[str]) -> tuple[str, ...]:
    """The arguments of an evaluation that does not play the base, because that of another run has."""
    return with_tries(arguments, "0")


def with_tries(arguments: Sequence[str], tries: str) -> tuple[str, ...]:
    """The arguments of an evaluation that plays the base for that many tries; those of other controls as they are."""
    before = ("", *arguments)
    return tuple(tries if last == _TRIES else one for last, one in zip(before, arguments, strict=False))


def tries_in(arguments: Sequence[str]) -> str:
    """The tries of the base in the arguments of an evaluation; "0" for one that does not play it."""
    return arguments[arguments.index(_TRIES) + 1] if _TRIES in arguments else "0"


def _of_cell(table: ControlTable, cell: Cell, config: Config) -> list[Measure]:
    """The evaluations of a cell's own run."""
    if table.name == "solo":
        return [_measure(table, "solo", cell, config, ("--solo",))]
    policies = {role: found for role, found in policies_of(config).items() if not table.roles or role in table.roles}
    if table.name == "ablate":
        return [_measure(table, f"ablate-{role}", cell, config, ("--ablate", role)) for role in policies]
    pairs = [
        (one, other)
        for one, other in combinations(policies, 2)
        if len(policies[one]) == len(policies[other]) == 1 and policies[one] != policies[other]
    ]
    return [_measure(table, f"swap-{one}-{other}", cell, config, ("--swap", f"{one},{other}")) for one, other in pairs]


def _measure(table: ControlTable, name: str, cell: Cell, config: Config, changes: Sequence[str]) -> Measure:
    samples = table.samples or (MOST if table.name == TAUGHT else config.evaluation.final_samples) or _SAMPLES
    asked = ("--step", table.of, "--samples", str(samples))
    return Measure(
        name=name,
        cell=cell.name,
        needs=(cell.name,),
        arguments=("evaluate", f"{{{cell.name}}}", *changes, *asked),
    )
