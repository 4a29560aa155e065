"""A trainer for tests of advice: it writes the run directories of simulated pilots, in milliseconds."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from scipy.special import expit

from counterpoint.analysis.summary import summarize
from counterpoint.experiments.cells import Cell, Study
from counterpoint.experiments.runner import Outcome
from counterpoint.policy import routing
from counterpoint.recipe import load_config
from counterpoint.run import Run
from counterpoint.workflows import load_workflow

TASKS = 32
EPOCH = 1_700_000_000.0
STEP_SECONDS = 1.0
COST_SECONDS = 4.0
FAILURE = "exit status 2: error: the loss is not a number"


class Killed(BaseException):
    """The trainer was killed."""


@dataclass
class Scripted:
    """Trains in no time; what a run finds depends on its arm and its seed alone, so a race can be held again."""

    lift: Mapping[str, float] = field(default_factory=dict)
    """Arm -> the logits by which its answers are better."""
    fall: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Arm -> the seeds whose last three evaluations fall off a cliff."""
    fails: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Arm -> the seeds whose runs fail."""
    spread: float = 0.05
    """The standard deviation of seeds, in logits."""
    seconds: float = 60.0
    """Of one pilot."""
    dies_after: int | None = None
    """The number of pilots after which the trainer is killed, in the middle of the next."""
    seed: int = 0
    trained: list[str] = field(default_factory=list)

    def __call__(self, study: Study, folder: Path, jobs: int, whole: Study) -> Outcome:
        finished, failed = [], {}
        for cell in study.cells:
            if cell.seed in self.fails.get(cell.labels["sharing"], ()) and folder.name != "cost":
                self._fail(cell, folder / cell.name)
                failed[cell.name] = FAILURE
                continue
            if not (folder / cell.name / "summary.json").is_file():
                self._train(cell, folder / cell.name)
            finished.append(cell.name)
        return Outcome(finished=tuple(finished), failed=failed, left={})

    def _create(self, cell: Cell, path: Path) -> Run:
        config = load_config(cell.recipe, cell.overrides)
        began = datetime.fromtimestamp(self._began(cell, path), UTC).isoformat()
        run = Run.create(path, config, {"began": began, "recipe": cell.recipe, "overrides": list(cell.overrides)})
        slots = load_workflow(config.workflow).slots
        run.note({"routing": dict(routing(config.policies.sharing, slots).policy_of), "tasks": {"test": "same"}})
        return run

    def _began(self, cell: Cell, path: Path) -> float:
        """Rounds follow each other, the calibration comes first."""
        return EPOCH + self.seconds * (-1 if path.parent.name == "cost" else cell.seed)

    def _fail(self, cell: Cell, path: Path) -> None:
        if not path.exists():
            self._create(cell, path).close()
            (path / "failure.json").write_text(json.dumps({"reason": FAILURE, "attempt": 1}))

    def _train(self, cell: Cell, path: Path) -> None:
        measures_cost = path.parent.name == "cost"
        if not measures_cost and self.dies_after is not None and len(self.trained) >= self.dies_after:
            self._create(cell, path).close()
            raise Killed
        with Run.open(path) if (path / "config.toml").is_file() else self._create(cell, path) as run:
            self._write(run, cell)
        done = self._began(cell, path) + (COST_SECONDS if measures_cost else self.seconds)
        os.utime(path / "summary.json", (done, done))
        if not measures_cost:
            self.trained.append(cell.name)

    def _write(self, run: Run, cell: Cell) -> None:
        """The run has metrics, evaluations of binary outcomes, and a summary."""
        arm, config = cell.labels["sharing"], run.config
        source = np.random.default_rng([self.seed, cell.seed, len(arm)])
        tasks = np.random.default_rng(self.seed).normal(1.0, 1.5, (2, TASKS))
        own = self.lift.get(arm, 0.0) + source.normal(0.0, self.spread)
        falls = cell.seed in self.fall.get(arm, ())
        steps = [0, *range(config.evaluation.every, config.run.steps + 1, config.evaluation.every)]
        for step in range(1, config.run.steps + 1):
            run.add_metrics(step, {"time/step": STEP_SECONDS, "episode/score": 0.5})
        rows, finals = [], []
        for place, step in enumerate(steps):
            level = own + {0: -1.5, 1: -0.5}.get(place, 0.0) - 3.0 * (falls and place >= len(steps) - 3)
            rows.append(_row(source, step, "validation", tasks[0] + level, 1))
            rows.append(_row(source, step, "test", tasks[1] + level, 1))
            if config.evaluation.final_samples:
                finals.append(_row(source, step, "test", tasks[1] + level, config.evaluation.final_samples))
        for row in rows:
            run.add_evaluation(row)
        for row in finals:
            run.add_final(row)
        found = summarize(rows, finals)
        run.write_summary({} if found is None else found.as_dict())


def _row(source: np.random.Generator, step: int, split: str, logits: np.ndarray, samples: int) -> dict:
    right = (source.random((len(logits), samples)) < expit(logits)[:, None]).astype(float)
    outcomes = {f"{split}-{place}": row.tolist() for place, row in enumerate(right)}
    return {
        "step": step,
        "split": split,
        "accuracy": float(right.mean()),
        "outcomes": outcomes,
        "roles": {},
        "numbers": {},
        "rolled_back": False,
    }
