"""Cells whose numbers are made by hand: for tests of figures."""

import polars as pl

from counterpoint.experiments.collected import RunRecord
from counterpoint.reports.seen import CellSeen, Seen

VOTING = {"generator": ["shared"], "aggregator": ["shared"]}
ISOLATED = {"generator": ["generator"], "aggregator": ["aggregator"]}


def run_of(
    numbers, *, seed=0, routing=None, sharing="shared", outcomes=(), peak=None, last=(), stopped="", folder=None
):
    """A run with `numbers` (name -> step -> value) and outcomes (milestone, role, task, value, samples)."""
    routing = routing or VOTING
    rows = [(step, name, float(value)) for name, values in numbers.items() for step, value in values.items()]
    schema = {"milestone": str, "role": str, "task": str, "value": float, "samples": int}
    record = RunRecord(
        run=f"run-s{seed}",
        path=str(folder or "nowhere"),
        labels={},
        seed=seed,
        sharing=sharing,
        state="running" if peak is None else "finished",
        steps=max((step for step, _, _ in rows), default=0),
        peak_step=peak,
        terminal_steps=tuple(last),
        stopped=stopped,
    )
    return Seen(
        record=record,
        roles=list(routing),
        routing=routing,
        metrics=pl.DataFrame(rows, schema={"step": int, "name": str, "value": float}, orient="row"),
        outcomes=pl.DataFrame(list(outcomes), schema=schema, orient="row"),
        folder=folder,
    )


def cell_of(*runs, name="cell"):
    """A cell of these runs."""
    return CellSeen(name=name, labels={}, runs=list(runs))


def trained(steps=4, *, policies=("shared",), roles=("generator", "aggregator"), every=1, slots=3):
    """The numbers that a run records in its steps: every kind that has a figure."""
    found = {}
    each = range(1, steps + 1)
    for place, role in enumerate(roles):
        policy = policies[place % len(policies)]
        alone = len([one for other, one in enumerate(roles) if policies[other % len(policies)] == policy]) == 1
        share = 1.0 if alone else 1.0 / len([r for o, r in enumerate(roles) if policies[o % len(policies)] == policy])
        found |= {
            f"role/{role}/calls": dict.fromkeys(each, 3.0 if place == 0 else 1.0),
            f"role/{role}/accuracy": {step: 0.5 + 0.01 * step for step in each},
            f"role/{role}/entropy": {step: 1.0 / step for step in each},
            f"role/{role}/distance": {step: 0.1 * step for step in each},
            f"role/{role}/without_signal": dict.fromkeys(each, 0.25),
            f"role/{role}/tokens_low": dict.fromkeys(each, 10.0 + place),
            f"role/{role}/tokens_median": dict.fromkeys(each, 20.0 + place),
            f"role/{role}/tokens_high": dict.fromkeys(each, 30.0 + place),
            f"role/{role}/tokens_p95": dict.fromkeys(each, 40.0 + place),
            f"gradient/{policy}/{role}/share": dict.fromkeys(each, share),
            f"gradient/{policy}/{role}/norm": {step: 0.5 * step for step in each},
            f"gradient/{policy}/{role}/persistence": {step: 0.1 * place - 0.05 for step in each if step > 1},
            f"gradient/{policy}/norm": {step: 0.7 * step for step in each},
            f"policy/{policy}/gradient_norm": {step: 0.7 * step for step in each},
        }
        if place == 0:
            found[f"gradient/{policy}/{role}/coherence"] = dict.fromkeys(each, 0.7)
            found[f"gradient/{policy}/{role}/amplification"] = dict.fromkeys(each, 0.7 * slots)
            found[f"gradient/{policy}/{role}/amplification_by_chance"] = dict.fromkeys(each, slots**0.5)
    pairs = [(one, other) for one in roles for other in roles if one < other] if len(policies) == 1 else []
    found |= {f"gradient/{policies[0]}/{one}+{other}/cosine": dict.fromkeys(each, -0.2) for one, other in pairs}
    for step in range(0, steps + 1, every):
        numbers = {"accuracy": 0.4 + 0.05 * min(step, 8), "episode/helped": 0.1, "episode/hurt": 0.05}
        numbers |= {f"role/{role}/over_tasks": 0.3 + 0.02 * min(step, 8) for role in roles}
        for split in ("validation", "test"):
            for name, value in numbers.items():
                found.setdefault(f"eval/{split}/{name}", {})[step] = value
    return found


def outcomes_of(base, peak, terminal, *, role=None):
    """The outcomes of tasks (lists of values) at the three milestones, of the team or a role, one episode each."""
    return [
        (milestone, role, f"task{place}", float(value), 1)
        for milestone, values in (("base", base), ("peak", peak), ("terminal", terminal))
        for place, value in enumerate(values)
    ]


FINISHED = outcomes_of([1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0])


def finished(seed=0, *, steps=4, stopped="", shift=0.0, **given):
    """A finished run with every kind of number."""
    numbers = {
        name: {step: value + shift if name == "eval/test/accuracy" else value for step, value in values.items()}
        for name, values in trained(steps).items()
    }
    return run_of(numbers, seed=seed, outcomes=FINISHED, peak=2, last=(3, steps), stopped=stopped, **given)
