"""Studies with run directories of every kind, written without training: for tests of what people look at.

`write_study` makes the folder of a study in which some runs fall, some policies are captured, some runs are stopped,
fail or are missing. What was planted where it returns, so that a test can compare it with what was found.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from counterpoint.analysis.summary import summarize
from counterpoint.config import Config
from counterpoint.episode import Answer, Call, CallKey, Choice, Episode, Group, Message
from counterpoint.experiments.cells import Cell, Excluded, Study
from counterpoint.experiments.collect import collect, write
from counterpoint.experiments.folder import write_cells
from counterpoint.experiments.results import COLLECTED
from counterpoint.recipe import config_from
from counterpoint.record import Record
from counterpoint.run import FORMAT
from counterpoint.task import Score

ROLES: Mapping[str, Mapping[str, int]] = {
    "voting": {"generator": 3, "aggregator": 1},
    "evaluator_optimizer": {"generator": 1, "evaluator": 1},
    "orchestrator_workers": {"orchestrator": 1, "worker": 3, "synthesizer": 1},
    "tie_break": {"solver": 2, "arbiter": 1},
    "debate": {"debater": 2, "judge": 1},
    "single": {"generator": 1},
}
"""Workflow -> role -> its parallel calls."""
HOSTILE = (
    "</script><script>alert(1)</script>",
    "a \"quoted\" & 'single' label",
    "\u202eright to left",
    "spaces\tand\nlines\x00",
    "x" * 300,
)
SCALES = ("small", "medium", "large")
RATES = ("x1", "x3", "x10", "x30")
_STATES = ("absent", "failed", "interrupted", "debris", "stopped", "rolled back")
"""The kinds of runs that `lost` plants, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """The events that are in a run."""

    state: str = "finished"
    """The state of the run; stopped and rolled back are finished."""
    onset: int | None = None
    """The step from which accuracy falls."""
    amplified: int | None = None
    """The step from which the parallel calls of its first such role push alike, before the fall."""
    captured: int | None = None
    """The step from which one role dominates its shared policy, and the others get worse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The size of every run."""

    steps: int = 60
    every: int = 5
    """Steps between evaluations."""
    tasks: int = 64
    """Test tasks; of validation there are half as many."""
    samples: int = 1
    """Episodes per task of an evaluation."""

    @property
    def evaluated(self) -> list[int]:
        """The steps with an evaluation."""
        return list(range(0, self.steps + 1, self.every))


def write_study(
    folder: Path,
    *,
    cells: int = 8,
    seeds: int = 3,
    shape: Shape | None = None,
    seed: int = 0,
    lost: int = 0,
    gap: float = 0.3,
    hostile: bool = False,
    controls: bool = False,
    episodes: bool = False,
    collected: bool = False,
    name: str = "",
) -> dict[str, Planted]:
    """A study of so many cells, half shared and half isolated, in `folder`; what is planted in each run is returned.

    Of the isolated cells of every third pair nearly all runs fall; with parallel calls, amplification rises before.
    Every third pair has a captured shared policy. Isolated policies are better by `gap` on the logit scale in the
    pairs between. `lost` runs are missing or ended early, one of each kind in turn; `hostile` gives labels that no
    page may trust; `controls` adds trained single agents and evaluations; `collected` collects it. Equal arguments
    give equal files.
    """
    shape = shape or Shape()
    listed = list(_cells(cells, seeds, hostile))
    if controls:
        listed += _single_agents(listed)
    odd = _lost([cell for cell in listed if not cell.control], lost)
    difficulty = np.random.default_rng([seed, 1]).normal(0.0, 1.5, shape.tasks)
    planted = {}
    folder.mkdir(parents=True)
    for place, cell in enumerate(listed):
        plan = _planned(cell, place, shape, odd.get(cell.name, "finished"), seed)
        planted[cell.name] = plan
        if plan.state != "absent":
            chance = np.random.default_rng([seed, 2, _pair_of(cell), cell.seed])
            writer = _Writer(folder / cell.name, cell, shape, plan, difficulty, chance, gap)
            writer.write(odd.get(cell.name, "finished"))
            if episodes and plan.state == "finished":
                _write_episodes(folder / cell.name, cell, shape, chance)
            if controls and not cell.control and plan.state == "finished" and cell.labels["sharing"] == "isolated":
                writer.write_swap()
    _write_cells(folder, listed, name or folder.name)
    if collected:
        write(collect([folder]), folder / COLLECTED)
    return planted


def _cells(count: int, seeds: int, hostile: bool) -> Iterator[Cell]:
    """Cells in pairs of shared and isolated, seed-major."""
    kinds = [
        (workflow, scale, rate) for rate in RATES for scale in SCALES for workflow in ROLES if workflow != "single"
    ]
    if count > 2 * len(kinds):
        raise ValueError(f"{count} cells: at most {2 * len(kinds)}")
    for seed in range(seeds):
        for place in range(count):
            workflow, scale, rate = kinds[place // 2]
            sharing = ("shared", "isolated")[place % 2]
            labels = {"workflow": workflow, "scale": scale, "rate": rate, "sharing": sharing}
            if hostile:
                labels["rate"] = HOSTILE[place // 2 % len(HOSTILE)]
            name = "-".join([workflow, scale, rate, sharing, f"s{seed}"])
            overrides = (f"workflow={workflow}", f"policies.sharing={sharing}", f"run.seed={seed}")
            yield Cell(name=name, labels=labels, seed=seed, recipe="voting_arithmetic", overrides=overrides)


def _single_agents(cells: Sequence[Cell]) -> list[Cell]:
    """A single agent for every workflow, scale, rate and seed."""
    made: dict[str, Cell] = {}
    for cell in cells:
        labels = {axis: label for axis, label in cell.labels.items() if axis != "sharing"}
        name = "single-" + cell.name.replace(f"-{cell.labels['sharing']}-", "-")
        overrides = ("workflow=single", "policies.sharing=shared", f"run.seed={cell.seed}")
        made[name] = Cell(
            name=name, labels=labels, seed=cell.seed, recipe=cell.recipe, overrides=overrides, control="single"
        )
    return list(made.values())


def _lost(cells: Sequence[Cell], count: int) -> dict[str, str]:
    """Name -> what became of it, spread over the cells."""
    step = max(1, len(cells) // max(1, count))
    return {cell.name: _STATES[place % len(_STATES)] for place, cell in enumerate(cells[::step][:count])}


def _pair_of(cell: Cell) -> int:
    """The number of the cell's pair: equal for shared and isolated, whose runs share their luck where they can."""
    key = "-".join([*(cell.labels.get(axis, "") for axis in ("workflow", "scale")), cell.name.split("-")[2]])
    return int.from_bytes(key.encode()[:64], "big") % (2**31)


def _planned(cell: Cell, place: int, shape: Shape, state: str, seed: int) -> Planted:
    chance = np.random.default_rng([seed, 3, place])
    finished = state if state in ("absent", "failed", "interrupted", "debris") else "finished"
    if cell.control:
        return Planted(state=finished)
    pair, sharing = _place_of(cell), cell.labels["sharing"]
    if sharing == "isolated" and pair % 3 == 1 and chance.random() < 0.9:
        onset = shape.steps // 2 + int(chance.integers(0, max(1, shape.steps // 6)))
        several = max(ROLES[cell.labels["workflow"]].values()) > 1
        return Planted(state=finished, onset=onset, amplified=max(1, onset - shape.steps // 4) if several else None)
    if sharing == "shared" and pair % 3 == 2:
        return Planted(state=finished, captured=shape.steps // 3)
    return Planted(state=finished)


def _place_of(cell: Cell) -> int:
    """The place of the cell's workflow, scale and rate in their order."""
    workflow, scale, rate = cell.name.split("-")[:3]
    names = [one for one in ROLES if one != "single"]
    return (RATES.index(rate) * len(SCALES) + SCALES.index(scale)) * len(names) + names.index(workflow)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the directory of a run."""

    path: Path
    cell: Cell
    shape: Shape
    plan: Planted
    difficulty: Any
    chance: np.random.Generator
    gap: float

    @property
    def workflow(self) -> str:
        return "single" if self.cell.control else self.cell.labels["workflow"]

    @property
    def sharing(self) -> str:
        return self.cell.labels.get("sharing", "shared")

    @property
    def roles(self) -> Mapping[str, int]:
        return ROLES[self.workflow]

    def policy_of(self, role: str) -> str:
        return "shared" if self.sharing == "shared" else role

    def write(self, kind: str) -> None:
        """The files of a run of this kind: finished, stopped, rolled back, failed, interrupted or debris."""
        self.path.mkdir()
        (self.path / "run.lock").touch()
        if kind == "debris":
            return
        last = self.shape.steps if kind == "finished" else self.shape.steps * 2 // 3
        evaluations = list(self._evaluations(last, kind == "rolled back"))
        self._text("run.json", json.dumps(self._facts(), indent=2) + "\n")
        self._text("config.toml", _config(self.workflow, self.sharing, self.cell.seed, self.shape).toml())
        self._lines("metrics.jsonl", self._metrics(last))
        self._lines("evaluations.jsonl", evaluations)
        saved = self.path / "checkpoints" / f"{last:06d}"
        saved.mkdir(parents=True)
        stopped = "validation accuracy fell" if kind in ("stopped", "rolled back") else None
        (saved / "state.json").write_text(json.dumps({"format": FORMAT, "step": last, "stopped": stopped}))
        if kind == "failed":
            self._text("failure.json", json.dumps({"reason": "it ran out of memory", "attempt": 2}))
        elif kind != "interrupted":
            found = summarize(evaluations)
            self._text("summary.json", json.dumps({} if found is None else found.as_dict()) + "\n")

    def write_swap(self) -> None:
        """`controls/swap.json`, in which the team is worse with exchanged policies."""
        (self.path / "controls").mkdir()
        runs = {"run": self._outcomes(1.5), "swap": self._outcomes(0.3)}
        table = {name: {"outcomes": found, "roles": {}} for name, found in runs.items()}
        self._text("controls/swap.json", json.dumps(table))

    def _text(self, name: str, text: str) -> None:
        (self.path / name).write_text(text, encoding="utf-8")

    def _lines(self, name: str, rows: Iterator[Any] | Sequence[Any]) -> None:
        self._text(name, "".join(json.dumps(row) + "\n" for row in rows))

    def _facts(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "recipe": self.cell.recipe,
            "overrides": list(self.cell.overrides),
            "began": "2026-01-01T00:00:00+00:00",
            "versions": {"counterpoint": "0.2.0", "python": "3.11.7"},
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "tasks": {"train": "a" * 64, "validation": "b" * 64, "test": f"{self.shape.tasks:064d}"},
            "routing": {role: self.policy_of(role) for role in self.roles},
            "cpu_seconds": 300.0 + self.cell.seed,
        }

    def _ability(self, step: int) -> float:
        """The team's ability on the logit scale."""
        rise = 1.6 + (self.gap if self.sharing == "isolated" else 0.0) - (0.6 if self.cell.control else 0.0)
        ability = -0.5 + rise * min(1.0, step / (0.4 * self.shape.steps))
        if self.plan.onset is not None and step >= self.plan.onset:
            ability -= 1.6
        return ability

    def _outcomes(self, ability: float, slots: int = 1, tasks: int | None = None) -> dict[str, list[float]]:
        chances = expit(ability + self.difficulty[:tasks])
        drawn = self.chance.random((len(chances), slots * self.shape.samples)) < chances[:, None]
        return {f"t{place:04d}": row for place, row in enumerate(drawn.astype(float).tolist())}

    def _evaluations(self, last: int, rolled_back: bool) -> Iterator[dict[str, Any]]:
        steps = [step for step in self.shape.evaluated if step <= last]
        for place, step in enumerate(steps):
            again = rolled_back and place == len(steps) - 1
            ability = self._ability(steps[place // 2] if again else step)
            for split, tasks in (("validation", self.shape.tasks // 2 or 1), ("test", self.shape.tasks)):
                yield self._evaluation(step, split, ability, tasks, again)

    def _evaluation(self, step: int, split: str, ability: float, tasks: int, again: bool) -> dict[str, Any]:
        team = self._outcomes(ability, tasks=tasks)
        roles = {
            role: self._outcomes(self._role_ability(role, step) - 0.2 * place, slots, tasks)
            for place, (role, slots) in enumerate(self.roles.items())
        }
        accuracy = float(np.mean(list(team.values())))
        helped = 0.1 * (1 - accuracy)
        numbers = {
            "episode/helped": helped,
            "episode/hurt": 0.05 * accuracy,
            "episode/oracle": min(1.0, accuracy + 0.1),
        }
        for role, slots in self.roles.items():
            own = roles[role]
            numbers |= {f"role/{role}/accuracy": float(np.mean(list(own.values()))), f"role/{role}/calls": float(slots)}
            numbers[f"role/{role}/tokens"] = self._length(role, step)
        first = next(iter(self.roles))
        control = {"tokens": 20.0, "outcomes": self._outcomes(ability - 0.5, tasks=tasks)}
        return {
            "step": step,
            "accuracy": accuracy,
            "split": split,
            "outcomes": team,
            "roles": roles,
            "numbers": numbers,
            "controls": {f"one answer of {first}": control} if len(self.roles) > 1 else {},
            "rolled_back": again,
        }

    def _role_ability(self, role: str, step: int) -> float:
        captured = self.plan.captured is not None and step >= self.plan.captured
        return self._ability(step) - (1.5 if captured and role != next(iter(self.roles)) else 0.0)

    def _length(self, role: str, step: int) -> float:
        captured = self.plan.captured is not None and step >= self.plan.captured and role != next(iter(self.roles))
        return 60.0 if captured else 20.0

    def _metrics(self, last: int) -> Iterator[dict[str, float]]:
        noise = self.chance.normal(0.0, 1.0, (last + 1, 8))
        for step in range(1, last + 1):
            yield {"step": step, **self._numbers(step, noise[step].tolist())}

    def _numbers(self, step: int, noise: Sequence[float]) -> dict[str, float]:
        score = float(expit(self._ability(step)))
        numbers = {"episode/tasks": 16.0, "episode/played": 128.0, "episode/errors": 0.0, "episode/score": score}
        numbers |= {"episode/not_judged": 0.0, "episode/oracle": min(1.0, score + 0.15)}
        for place, (role, slots) in enumerate(self.roles.items()):
            length = self._length(role, step) + noise[place]
            quartiles = {"low": length - 2, "median": length, "high": length + 2, "p95": length + 6}
            numbers |= {f"role/{role}/tokens_{name}": value for name, value in quartiles.items()}
            accuracy = float(expit(self._role_ability(role, step) + 0.05 * noise[place]))
            own = {"calls": float(slots), "tokens": length, "accuracy": accuracy, "unreadable": 0.0, "truncated": 0.0}
            own |= {"echo": 0.05, "entropy": 0.5 / (1 + step / self.shape.steps), "without_signal": 0.4}
            numbers |= {f"role/{role}/{name}": value for name, value in own.items()}
        return numbers | self._gradients(step, noise) | {"time/step": 1.5, "warning/cliff": self._warned(step)}

    def _warned(self, step: int) -> float:
        onset = self.plan.onset
        return float(onset is not None and step >= onset + 2 * self.shape.every)

    def _gradients(self, step: int, noise: Sequence[float]) -> dict[str, float]:
        numbers: dict[str, float] = {}
        policies: dict[str, list[str]] = {}
        for role in self.roles:
            policies.setdefault(self.policy_of(role), []).append(role)
        captured = self.plan.captured is not None and step >= self.plan.captured
        for policy, roles in policies.items():
            weights = np.array(
                [(12.0 if captured and place == 0 else 1.0) + 0.1 * abs(noise[place]) for place in range(len(roles))]
            )
            shares = (weights / weights.sum()).tolist()
            numbers |= {f"gradient/{policy}/norm": 0.2, f"gradient/{policy}/dominance": max(shares)}
            for place, role in enumerate(roles):
                numbers |= self._role_gradient(policy, role, step, shares[place], noise[place])
            for place, role in enumerate(roles):
                for other in roles[place + 1 :]:
                    numbers[f"gradient/{policy}/{'+'.join(sorted((role, other)))}/cosine"] = 0.1 * noise[place]
        if "shared" in policies and len(self.roles) > 1:
            numbers["warning/capture/shared"] = float(captured and step >= (self.plan.captured or 0) + 25)
        return numbers

    def _role_gradient(self, policy: str, role: str, step: int, share: float, noise: float) -> dict[str, float]:
        slots, name = self.roles[role], f"gradient/{policy}/{role}"
        alignment = 0.97 if share > 0.8 else 0.4
        found = {f"{name}/share": share, f"{name}/norm": 0.2 * share, f"{name}/alignment": alignment}
        amplified = self.plan.amplified is not None and step >= self.plan.amplified
        found[f"{name}/persistence"] = min(1.0, (0.8 if amplified and slots > 1 else 0.05) + 0.03 * noise)
        if slots > 1:
            coherence = min(1.0, (0.95 if amplified else 1 / slots**0.5) + 0.02 * noise)
            found |= {f"{name}/coherence": coherence, f"{name}/amplification": slots * coherence}
            found[f"{name}/amplification_by_chance"] = slots**0.5
        return found


_CONFIGS: dict[tuple[Any, ...], Config] = {}


def _config(workflow: str, sharing: str, seed: int, shape: Shape) -> Config:
    key = (workflow, sharing, seed, shape)
    if key not in _CONFIGS:
        _CONFIGS[key] = config_from(
            {
                "task": {"name": "arithmetic", "test": shape.tasks, "validation": shape.tasks // 2 or 1},
                "workflow": {"name": workflow},
                "policies": {"sharing": sharing},
                "evaluation": {"every": shape.every, "samples": shape.samples},
                "run": {"seed": seed, "steps": shape.steps},
            }
        )
    return _CONFIGS[key]


def _write_cells(folder: Path, cells: Sequence[Cell], name: str) -> None:
    named = [cell for cell in cells if not cell.control]
    axes = {axis: tuple(dict.fromkeys(cell.labels[axis] for cell in named)) for axis in named[0].labels}
    study = Study(
        name=name,
        file=None,
        compare="sharing",
        axes=axes,
        seeds=tuple(dict.fromkeys(cell.seed for cell in cells)),
        cells=tuple(cells),
        excluded=(Excluded(where={"workflow": "debate", "scale": "large"}, reason="it takes too long"),),
        about="Shared or isolated policies, made up for tests",
    )
    write_cells(study, folder)


def _write_episodes(path: Path, cell: Cell, shape: Shape, chance: np.random.Generator) -> None:
    """The episodes of the first and the last step, and of the test evaluations at the base and at the end."""
    record, workflow = Record(path), "single" if cell.control else cell.labels["workflow"]
    policies = {
        role: "shared" if cell.labels.get("sharing", "shared") == "shared" else role for role in ROLES[workflow]
    }
    (path / "episodes").mkdir()
    for step in (1, shape.steps):
        record.add_episodes(step, _groups(workflow, policies, 4, 2, chance))
    for step in (0, shape.steps):
        record.add_evaluation(step, "test", _groups(workflow, policies, shape.tasks, shape.samples, chance))


def _groups(
    workflow: str, policies: Mapping[str, str], tasks: int, size: int, chance: np.random.Generator
) -> list[Group]:
    return [
        Group(
            task=f"t{place:04d}",
            episodes=tuple(_episode(f"t{place:04d}", rollout, workflow, policies, chance) for rollout in range(size)),
        )
        for place in range(tasks)
    ]


def _episode(
    task: str, rollout: int, workflow: str, policies: Mapping[str, str], chance: np.random.Generator
) -> Episode:
    calls: list[Call] = []
    for role, slots in ROLES[workflow].items():
        chooses = bool(calls) and slots == 1
        for slot in range(slots):
            calls.append(_call(role, slot, policies[role], calls if chooses else [], float(chance.random() < 0.6)))
    reward = calls[-1].score or 0.0
    score = Score(reward=reward, parts={}, reason="")
    return Episode(
        task=task, rollout=rollout, problem=f"Problem {task}?", calls=tuple(calls), answer="7", score=score, key="7"
    )


def _call(role: str, slot: int, policy: str, before: Sequence[Call], score: float) -> Call:
    read = "\n".join(call.text for call in before)
    text = f"The answer is \\boxed{{{7 if score else 8}}}."
    claim = Choice(tuple(call.key for call in before), 0) if before else Answer("7" if score else "8")
    return Call(
        key=CallKey(role, slot, 0),
        policy=policy,
        version=0,
        messages=(Message(role="user", content=f"Solve it.\n{read}"),),
        prompt_ids=(1, 2, 3),
        completion_ids=(4, 5, 6, 7),
        logprobs=(-0.1, -0.2, -0.1, -0.3),
        text=text,
        finish="stop",
        seed=slot,
        temperature=1.0,
        claim=claim,
        score=before[0].score if before else score,
    )
