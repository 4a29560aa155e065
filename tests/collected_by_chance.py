"""Collected results of studies that were never run, with planted effects: for tests of what is said about them."""

from dataclasses import replace
from itertools import product

import numpy as np
from scipy.special import expit

from counterpoint.analysis.intervals import Interval
from counterpoint.analysis.signatures.base import Finding
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.collected_files import METRICS, OUTCOMES, frame_of

TASKS, STEPS, EVERY = 96, 40, 5
ROLES = {
    "voting": ("generator", "aggregator"),
    "evaluator": ("generator", "evaluator"),
    "orchestrator": ("orchestrator", "worker", "synthesizer"),
}
PARALLEL = {"voting": "generator", "orchestrator": "worker"}
AXES = {"workflow": tuple(ROLES), "scale": ("small", "large"), "sharing": ("shared", "isolated")}


def study(*, axes=None, seeds=5, peak=None, falls=None, captured=None, amplified=True, states=None, control=0, seed=0):
    """The collected runs of a study of these axes.

    `peak(labels)` is added to the accuracy at the peak and the end, on the logit scale; `falls(labels, seed)` and
    `captured(labels, seed)` say which runs fall and are captured; `amplified`, whether amplification rises before a
    fall; `states` maps names of runs to the states of those that are not finished; `control` is the number of seeds of
    single agents.
    """
    axes = axes or AXES
    chance = np.random.default_rng(seed)
    difficulty = chance.normal(0.0, 1.0, TASKS)
    records, outcomes, metrics = [], [], []
    for number in range(seeds):
        for labels in (dict(zip(axes, own, strict=True)) for own in product(*axes.values())):
            name = f"{'-'.join(labels.values())}-s{number}"
            state = (states or {}).get(name, "finished")
            record = recorded(name, labels, number, state)
            if state == "finished":
                fell = bool(falls and falls(labels, number))
                caught = bool(captured and captured(labels, number))
                record = finished(record, fell, caught)
                ability = 1.0 + (peak(labels) if peak else 0.0) + chance.normal(0.0, 0.05)
                outcomes += outcomes_of(name, record, difficulty, ability, fell, caught, chance)
                metrics += metrics_of(name, record, fell and amplified, caught, chance)
            records.append(record)
    for number in range(control):
        for workflow in axes.get("workflow", ()):
            name = f"single-{workflow}-s{number}"
            record = replace(recorded(name, {"workflow": workflow}, number, "finished"), control="single", compare="")
            record = replace(finished(record, False, False), workflow="single", sharing="shared")
            records.append(record)
            outcomes += outcomes_of(name, record, difficulty, 1.0, False, False, chance)
    return Collected(runs=tuple(records), outcomes=frame_of(OUTCOMES, outcomes), metrics=frame_of(METRICS, metrics))


def recorded(name, labels, number, state):
    workflow = labels.get("workflow", "voting")
    sharing = labels.get("sharing", "isolated")
    return RunRecord(
        run=name,
        path=name,
        labels=labels,
        seed=number,
        state=state,
        compare="sharing" if "sharing" in labels else "",
        margin=0.03,
        workflow=workflow,
        sharing=sharing,
        task="arithmetic",
        model="lab-small",
        planned=STEPS,
        tasks_sha256="t",
        config_sha256="-".join(labels.values()),
        routing={role: "shared" if sharing == "shared" else role for role in ROLES.get(workflow, ("generator",))},
    )


def finished(record, fell, caught):
    found = []
    if caught:
        role = ROLES[record.workflow][0]
        found.append(Finding(signature="capture", where=f"shared by {role}", steps=(11, 30), evidence=("planted",)))
    if fell:
        found.append(Finding(signature="cliff", where="team", steps=(30, 40), evidence=("planted",)))
    return replace(
        record,
        steps=STEPS,
        peak_step=20,
        terminal_steps=(30, 35, 40),
        samples=4,
        fell="fell" if fell else "held",
        onset=30 if fell else None,
        drop=Interval(0.2 if fell else 0.0, 0.15 if fell else -0.02, 0.25 if fell else 0.02, TASKS),
        signatures=tuple(f"{one.signature}: {one.where}" for one in found),
        findings=tuple(found),
        tokens=1e5,
        cpu_seconds=90.0,
        seconds=120.0,
    )


def outcomes_of(name, record, difficulty, ability, fell, caught, chance):
    """Rows of the outcomes of the team and of every role."""
    loss = 1.5 * fell + 0.8 * caught
    for milestone, level in (("base", -0.5), ("peak", ability), ("terminal", ability - loss)):
        for role in (None, *ROLES.get(record.workflow, ("generator",))):
            right = chance.binomial(4, expit(level - difficulty)) / 4
            yield from ((name, milestone, role, f"t{task:03}", float(value), 4) for task, value in enumerate(right))


def metrics_of(name, record, amplified, caught, chance):
    """Rows of what training records: gradients of roles, entropy, lengths, and the accuracy of evaluations."""
    roles = ROLES[record.workflow]
    policy = {role: "shared" if record.sharing == "shared" else role for role in roles}
    for step in range(1, STEPS + 1):
        share = 0.9 if caught else 1 / len(roles) + 0.02
        for place, role in enumerate(roles):
            own = share if place == 0 else (1 - share) / (len(roles) - 1)
            own = own if record.sharing == "shared" else 1.0
            place_of = f"gradient/{policy[role]}/{role}"
            yield name, step, f"{place_of}/share", own
            yield name, step, f"{place_of}/persistence", 0.1 + chance.normal(0, 0.02)
            yield name, step, f"role/{role}/entropy", 1.0 + chance.normal(0, 0.02)
            yield name, step, f"role/{role}/tokens", 20.0 + chance.normal(0, 0.5)
            if PARALLEL.get(record.workflow) == role:
                coherence = (0.9 if amplified and step > 12 else 0.5) + chance.normal(0, 0.02)
                yield name, step, f"{place_of}/coherence", coherence
                yield name, step, f"{place_of}/amplification", 3 * coherence
    for step in range(0, STEPS + 1, EVERY):
        yield name, step, "eval/test/accuracy", 0.5
