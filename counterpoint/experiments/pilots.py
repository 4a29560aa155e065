"""The runs of a race: a recipe's pilots, one per arm and seed, as the cells of a study that a command makes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from counterpoint.analysis.racing import LAST, samples_for
from counterpoint.config import Config
from counterpoint.errors import ConfigError
from counterpoint.experiments.arms import SHARING, Arm, arms_of
from counterpoint.experiments.cells import Cell, Study
from counterpoint.experiments.overrides import text_of
from counterpoint.recipe import find_recipe, load_config, load_written
from counterpoint.run_files import CONFIG
from counterpoint.tasks import load_tasks

COST = "cost"
"""The folder, in that of a race, of the short runs that measure what a round costs."""
COST_STEPS = 2
STOP = "stop_at_cliff"
_EVALUATIONS = 6
"""The fewest evaluations after the base from which a peak is chosen."""
_LEARNING = 2.0
"""The cost of learning from an episode, in episodes that are only played."""
_FINAL = 5
"""The most checkpoints that are evaluated again when a run ends: the base, the peak, and the last three."""
_SAMPLES = "evaluation.final_samples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilots:
    """Everything that says which runs a race is made of."""

    recipe: str
    overrides_of_user: tuple[str, ...]
    asked_arms: str | None
    """The arms as they were asked for."""
    asked_steps: int | None
    config: Config
    """The recipe with these overrides, and with the number of steps of a pilot."""
    arms: tuple[Arm, ...]
    folder: Path
    every: int
    """Steps between two evaluations."""
    save_every: int
    samples: int
    """Episodes per task with which a pilot is evaluated at its milestones when it ends."""
    tests: int
    """The number of test tasks."""
    validations: int

    @property
    def steps(self) -> int:
        return self.config.run.steps

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of all 8 rounds, from that of the recipe on."""
        return tuple(range(self.config.run.seed, self.config.run.seed + LAST))

    @property
    def evaluations(self) -> int:
        """Evaluations of a pilot, the one before the first step included."""
        return 1 + -(-self.steps // self.every)

    def share(self, samples: int) -> float:
        """The share of a pilot's cost that the final evaluations with so many samples would have, in episodes."""
        rollouts, own = self.config.rollout, self.config.evaluation.samples
        trained = self.steps * rollouts.tasks_per_step * rollouts.group_size * (1.0 + _LEARNING)
        rest = trained + self.evaluations * own * (self.tests + self.validations)
        final = _FINAL * samples * self.tests
        return final / (final + rest)

    def seconds(self, step: float, evaluation: float) -> float:
        """The seconds of a pilot, from those of one step and of one evaluation of both splits."""
        one = evaluation / (self.config.evaluation.samples * (self.tests + self.validations))
        return self.steps * step + self.evaluations * evaluation + _FINAL * self.samples * self.tests * one

    def with_steps(self, steps: int) -> "Pilots":
        """The same pilots, of this many steps."""
        run = self.config.run.model_copy(update={"steps": steps})
        every, save_every = _spacing(self.config, steps)
        config = self.config.model_copy(update={"run": run})
        return replace(self, config=config, every=every, save_every=save_every)

    def path(self, arm: str, seed: int) -> Path:
        """The directory of a pilot."""
        return self.folder / f"{arm}-s{seed}"

    def calibration_path(self, arm: str) -> Path:
        """The directory of the short run that measures an arm."""
        return self.folder / COST / f"{arm}-s{self.config.run.seed}"

    def study(self, rounds: int, left: Sequence[Sequence[str]]) -> Study:
        """The cells of the first rounds; `left[k]` names the arms that are in round k."""
        cells = [
            self._cell(arm, seed, self.overrides(arm, seed))
            for seed, names in zip(self.seeds[:rounds], left, strict=False)
            for arm in self.arms
            if arm.name in names
        ]
        return self._study(self.folder.name, cells, self.seeds[:rounds])

    def calibration(self) -> Study:
        """One short run for each arm, which are measured side by side, as the runs of a round are."""
        seed = self.config.run.seed
        short = (f"run.steps={COST_STEPS}", f"evaluation.every={COST_STEPS}", f"{_SAMPLES}=0")
        cells = [
            self._cell(arm, seed, (*self._common(arm), *short, f"run.save_every={COST_STEPS}")) for arm in self.arms
        ]
        return self._study(f"{self.folder.name}-{COST}", cells, (seed,))

    def overrides(self, arm: Arm, seed: int) -> tuple[str, ...]:
        """The overrides of the pilot of an arm with a seed."""
        return (
            *self._common(arm),
            f"run.steps={self.steps}",
            f"evaluation.every={self.every}",
            f"run.save_every={self.save_every}",
            f"{_SAMPLES}={self.samples}",
            *self.stopping(),
            f"run.seed={seed}",
        )

    def stopping(self) -> tuple[str, ...]:
        """The override that adds `stop_at_cliff` to the recipe's interventions; none if it has it."""
        there = [spec.model_dump(exclude_none=True) for spec in self.config.interventions]
        if any(spec["name"] == STOP for spec in there):
            return ()
        listed = [spec["name"] if len(spec) == 1 else spec for spec in there]
        return (f"interventions={text_of([*listed, STOP], 'interventions')}",)

    def _common(self, arm: Arm) -> tuple[str, ...]:
        return (*self.overrides_of_user, arm.override, "run.threads=1")

    def _cell(self, arm: Arm, seed: int, overrides: tuple[str, ...]) -> Cell:
        labels = {"sharing": arm.name}
        return Cell(name=f"{arm.name}-s{seed}", labels=labels, seed=seed, recipe=self.recipe, overrides=overrides)

    def _study(self, name: str, cells: Sequence[Cell], seeds: Sequence[int]) -> Study:
        axes = {"sharing": tuple(arm.name for arm in self.arms)}
        return Study(name=name, file=None, compare="sharing", axes=axes, seeds=tuple(seeds), cells=tuple(cells))


def pilots_of(
    recipe: str, overrides: Sequence[str], *, arms: str | None, steps: int | None, margin: float, runs: Path
) -> Pilots:
    """The pilots of a recipe; those that its folder already holds say how many samples they are evaluated with.

    Raises ConfigError for whatever is wrong with recipe, overrides, arms or steps.
    """
    if any(one.partition("=")[0].strip() == SHARING for one in overrides):
        raise ConfigError(f"advice compares values of {SHARING}: leave it out, or name the arms with --arms")
    if steps is not None and steps < 1:
        raise ConfigError(f"--steps {steps}: a pilot has at least 1 step")
    given = (*overrides, *([] if steps is None else [f"run.steps={steps}"]))
    config = load_config(recipe, given)
    raced = arms_of(config, arms)
    tasks = load_tasks(config.task, config.sandbox, config.judge).named()
    if len(tasks["test"]) < 2:
        raise ConfigError("advice needs at least 2 test tasks: one says nothing about others")
    every, save_every = _spacing(config, config.run.steps)
    pilots = Pilots(
        recipe=recipe,
        overrides_of_user=tuple(overrides),
        asked_arms=arms,
        asked_steps=steps,
        config=config,
        arms=raced,
        folder=runs / folder_name(recipe, given),
        every=every,
        save_every=save_every,
        samples=0,
        tests=len(tasks["test"]),
        validations=len(tasks["validation"]),
    )
    chosen = _known_samples(pilots) or config.evaluation.final_samples
    return replace(pilots, samples=chosen or samples_for(pilots.tests, margin, pilots.share))


def folder_name(recipe: str, overrides: Sequence[str]) -> str:
    """`advise-<recipe>`, with a digest of the overrides if there are any."""
    path = find_recipe(recipe)
    name = path.parent.resolve().name if path.name == "run.toml" else path.stem
    digest = sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:6]
    return f"advise-{name}" + (f"-{digest}" if overrides else "")


def _spacing(config: Config, steps: int) -> tuple[int, int]:
    """The steps between evaluations, so that there are enough of them, and between checkpoints, one for each."""
    every = min(config.evaluation.every, max(1, steps // _EVALUATIONS))
    return every, every if every % config.run.save_every else config.run.save_every


def _known_samples(pilots: Pilots) -> int | None:
    """The samples of the pilots that were made before; None if there are none."""
    for path in sorted(pilots.folder.glob(f"*-s*/{CONFIG}")):
        return load_written(path).evaluation.final_samples
    return None
