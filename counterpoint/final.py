"""The end of a run: the checkpoints that tell how it went are evaluated again, with more episodes per task."""

from collections.abc import Callable, Mapping

from counterpoint.analysis.milestones import LAST, milestones_of
from counterpoint.clock import timed
from counterpoint.errors import RunError
from counterpoint.evaluation import Evaluation, evaluate
from counterpoint.event_loop import undisturbed
from counterpoint.files import command
from counterpoint.learners.base import Learner
from counterpoint.play import Limits, Stage
from counterpoint.proof import Proof
from counterpoint.run import Run
from counterpoint.tasks.base import Splits

Told = Callable[[int, Mapping[str, float]], None]


async def evaluate_again(
    run: Run, stage: Stage, tasks: Splits, learner: Learner, proof: Proof, watch: Told = lambda step, numbers: None
) -> None:
    """`final.jsonl` has the test evaluations of base, peak and end with `evaluation.final_samples` episodes per task.

    A checkpoint that it has already is left out. Afterwards learner and sampler hold the last checkpoint. `watch` is
    told `final/samples` before the first, and `final/test/...` after each. Raises RunError if a checkpoint is missing,
    ProofError if it is not what was saved, and EndpointError if an endpoint is out of reach.
    """
    samples, done = run.config.evaluation.final_samples, {row["step"] for row in run.final_rows()}
    due = {step: back for step, back in checkpoints_to_evaluate(run).items() if samples and step not in done}
    if not due:
        return
    last = run.checkpoints()[-1]
    watch(last, {"final/samples": float(samples)})
    for step, rolled_back in due.items():
        await _hold(run, step, stage, learner, proof)
        found = await _evaluated(run, stage, tasks, samples)
        run.add_final({**found.row(step), "rolled_back": rolled_back})
        numbers = {name.replace("eval/", "final/", 1): value for name, value in found.metrics().items()}
        watch(step, numbers)
    await _hold(run, last, stage, learner, proof)


def checkpoints_to_evaluate(run: Run) -> dict[int, bool]:
    """Step -> True if the run was rolled back there, of base, peak and the last three test evaluations, in order.

    None is to be evaluated if the recipe says so, or if there is no peak. Raises RunError, before any is evaluated, if
    one of them has no checkpoint.
    """
    found = milestones_of(run.evaluation_rows())
    if found is None or not run.config.evaluation.final_samples:
        return {}
    rows = {row["step"]: bool(row.get("rolled_back")) for row in (found.base, found.peak, *found.test[-LAST:])}
    missing = sorted(rows.keys() - set(run.checkpoints()))
    if missing:
        raise RunError(
            f"{run.path} has no checkpoint of step {missing[0]}, which evaluation.final_samples ="
            f" {run.config.evaluation.final_samples} evaluates: to end the run without,"
            f" `{command('resume', run.path, 'evaluation.final_samples=0')}`"
        )
    return {step: rows[step] for step in sorted(rows)}


async def _hold(run: Run, step: int, stage: Stage, learner: Learner, proof: Proof) -> None:
    """Learner and sampler hold the weights that were saved at a step, as their digests prove."""
    run.load_checkpoint(step, {"learner": learner})
    proof.restored(run.checkpoint_state(step)["digests"])
    await undisturbed(stage.sampler.load(learner.adapters()))
    proof.published()


async def _evaluated(run: Run, stage: Stage, tasks: Splits, samples: int) -> Evaluation:
    config = run.config
    limits = Limits.of(config, config.evaluation.temperature)
    with timed("evaluation"):
        return await evaluate(stage, tasks.test, limits, split="test", samples=samples, seed=config.run.seed)
