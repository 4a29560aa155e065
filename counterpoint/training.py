"""The training loop: act, judge, learn, publish, keep. Start reading the package here."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from counterpoint.act import Patience, act
from counterpoint.adapter import Adapter
from counterpoint.ahead import Ahead
from counterpoint.algorithms.base import Sample, in_loss
from counterpoint.algorithms.build import build_algorithm, build_batches, build_loss
from counterpoint.algorithms.loss import Loss
from counterpoint.analysis.alarm import Alarm
from counterpoint.analysis.summary import Summary, peak_of_accuracy, summarize
from counterpoint.clock import Clock, timed
from counterpoint.diagnostics.base import Diagnostics, Numbers, Step
from counterpoint.diagnostics.behaviour import not_called
from counterpoint.diagnostics.build import build_diagnostics
from counterpoint.errors import EndpointError
from counterpoint.evaluation import evaluate
from counterpoint.event_loop import orderly, undisturbed
from counterpoint.final import evaluate_again
from counterpoint.garbage import old_objects_skipped
from counterpoint.interventions.base import Interventions, Update
from counterpoint.interventions.build import build_interventions
from counterpoint.keep import Keeper, regular_checkpoints
from counterpoint.learn import Total, anchored, in_turn, together, trainable
from counterpoint.learners.base import Learner, Moved
from counterpoint.models import shipped_weights
from counterpoint.play import Limits, Stage
from counterpoint.proof import Proof
from counterpoint.run import Run, Stateful
from counterpoint.runtimes import open_runtime
from counterpoint.runtimes.local import longest_call, position_scaling
from counterpoint.stage import Setup, set_up
from counterpoint.tasks.base import Splits

Watch = Callable[[int, Mapping[str, float]], None]
"""A function that is called with the step and its numbers after each step and each evaluation has been recorded.

If the recipe asks for final evaluations, it is called with `final/samples` before they begin.
"""


async def train(run: Run, watch: Watch = lambda step, numbers: None, setup: Setup | None = None) -> Summary | None:
    """Train the policies of one workflow to the run's last step, from its last checkpoint or else from the base models.

    `setup` is made from the run's recipe if it is not given. Returns the run's summary; None with too few evaluations.
    Raises CounterpointError; the run can then be resumed from its last checkpoint. If cancelled, it saves a last one.
    """
    config, setup = run.config, setup or set_up(run.config)
    workflow, tasks, routes, settings = setup.workflow, setup.tasks, setup.routing, setup.settings
    algorithm = build_algorithm(config, workflow.roles, trainable(settings))
    diagnostics, interventions = build_diagnostics(config.diagnostics), build_interventions(config, workflow.roles)
    batches, limits = build_batches(config), Limits.of(config, config.rollout.temperature)
    loss = interventions.loss(build_loss(config))
    run.pin(lasting_facts(setup))

    async with tasks.judging, open_runtime(config, routes) as runtime, Ahead(config, runtime) as ahead, undivided():
        run.note({**tasks.notes, **tasks.judging.facts()})
        sampler, learner = runtime.sampler, runtime.learner
        stage = Stage(workflow=workflow, routing=routes, sampler=sampler, chats=runtime.chats)
        play = partial(act, stage, tasks.train, limits, config, algorithm)
        parts: dict[str, Stateful] = {"learner": learner, "algorithm": algorithm, **ahead.parts()}
        parts |= {"interventions": interventions, "diagnostics": diagnostics}
        proof, start = Proof(learner, sampler, config.run), run.restore(parts)
        keeper = Keeper(run, parts, lambda: proof.digests)
        if start is not None:
            proof.restored(run.checkpoint_state(start)["digests"])
        await ahead.begin(play)
        await proof.begin(runtime.chats)
        clock, patience, alarm = Clock.started(), Patience(config.run.patience), Alarm(run, routes)
        if keeper.owes_evaluation(start):
            await evaluate_first(run, stage, tasks, keeper, alarm, start, watch)
            run.add_profile(start or 0, clock.read("keep"))

        for index in run.steps_left(start or 0):
            # 1. Act: play every task of this step `group_size` times, if that was not done beside the last step.
            with keeper.saved_at_interrupt(index - 1):
                groups = await ahead.take(play, step=index)
            run.add_episodes(index, groups)
            patience.judge(groups)
            judged, spoken = tasks.judging.numbers(), await undisturbed(proof.spoken(groups, ahead.under))
            ahead.start(play, step=index + 1)
            clock.lap("act")

            # 2. Judge: give each call its reward and its advantage.
            samples = interventions.samples(in_turn(algorithm.samples(groups), settings, index), index)
            run.add_samples(index, [sample.row() for sample in samples])
            due = in_loss(in_turn(samples, settings, index))
            clock.lap("judge")

            # 3. Learn: compute one gradient per (policy, role) for each update; they are only summed by `step`.
            parted = batches(due, f"{config.run.seed}/{index}")
            total, moved = await ahead.beside(learned, learner, parted, loss, diagnostics, interventions, index)
            await ahead.beside(proof.moved, [policy for policy, move in moved.items() if move.learning_rate])
            seen = Step(index, groups, samples, total.contributions, learner.base_logprobs, total.updates, total.norms)
            looked = merged(not_called(groups, workflow.roles), await ahead.beside(diagnostics.look, seen))
            clock.lap("learn")

            # 4. Publish: from here on the sampler generates with the new weights; no episode is generated with both.
            await ahead.ended()
            clock.lap("act")
            await ahead.publish(learner.adapters())
            proof.published()
            clock.lap("publish")

            # 5. Keep: record numbers in each step, and evaluate and save checkpoints when due.
            numbers = merged(looked, policy_numbers(proof.policies, due, moved), spoken, ahead.numbers(), clock.laps())
            numbers |= merged(judged, alarm.look(index, numbers))
            stop = interventions.stop(numbers)
            last = stop is not None or index == config.run.steps
            run.add_metrics(index, numbers)
            watch(index, numbers)
            back = stop is not None and stop.roll_back
            if last:
                ahead.drop()
            if back:
                await ahead.publish(return_to_peak(run, learner, proof))
            if last or index % config.evaluation.every == 0:
                with keeper.saved_at_interrupt(index, stop, evaluation={"rolled_back": back}):
                    watch(index, alarm.evaluated(await examine(run, stage, tasks, step=index, rolled_back=back)))
            if last or index % config.run.save_every == 0:
                keeper.save(index, stop)
            run.add_profile(index, clock.read("keep"))
            if last:
                break
        await evaluate_again(run, stage, tasks, learner, proof, watch)

    found = summarize(run.evaluation_rows(), run.final_rows())
    run.write_summary({} if found is None else found.as_dict())
    return found


def learned(
    learner: Learner,
    batches: Sequence[Sequence[Sample]],
    loss: Loss,
    diagnostics: Diagnostics,
    interventions: Interventions,
    step: int,
) -> tuple[Total, dict[str, Moved]]:
    """The policies are updated once per mini-batch: the contributions in all, and policy -> how it moved."""
    total, moves = Total(), list[dict[str, Moved]]()
    apart = diagnostics.slots_apart(step) or interventions.slots_apart(step)
    for batch in anchored(learner, batches, loss):
        gradients = learner.backward(batch, loss, slots_apart=apart)
        total = total.plus(gradients)
        moves.append(learner.step(*interventions.update(Update(gradients), step), step=step))
    return total, together(moves)


@asynccontextmanager
async def undivided() -> AsyncIterator[None]:
    """Inside, an interrupt takes effect at the next await, and searches for garbage skip what was there before."""
    async with orderly(), old_objects_skipped():
        yield


def lasting_facts(setup: Setup) -> dict[str, Mapping[str, object]]:
    """The facts that must not change half-way.

    They are the tasks, the routing, the weights of shipped bases, and how positions are scaled, if they are.
    """
    config = setup.config
    facts: dict[str, Mapping[str, object]] = {
        "tasks": setup.tasks.fingerprints(),
        "routing": dict(setup.routing.policy_of),
    }
    facts["weights"] = shipped_weights(one.model.path for one in setup.settings.values() if one.endpoint is None)
    if config.runtime.name not in ("local", "ray"):
        return facts
    found = position_scaling(setup.settings, longest_call(config.rollout))
    return {**facts, **({"positions": found} if found else {})}


def peak_of(run: Run) -> int:
    """The step of the checkpoint with the best smoothed validation accuracy; 0 if no other was evaluated.

    It is one that an undisturbed run would have, too.
    """
    accuracy = {row["step"]: row["accuracy"] for row in run.evaluation_rows() if row["split"] == "validation"}
    return peak_of_accuracy(accuracy, regular_checkpoints(run))


def return_to_peak(run: Run, learner: Learner, proof: Proof) -> list[Adapter]:
    """The weights of the run's peak, which the learner has. Raises ProofError if they are not those that were saved."""
    run.load_checkpoint(peak := peak_of(run), {"learner": learner})
    proof.restored(run.checkpoint_state(peak)["digests"])
    return learner.adapters()


async def evaluate_first(
    run: Run, stage: Stage, tasks: Splits, keeper: Keeper, alarm: Alarm, start: int | None, watch: Watch
) -> None:
    """Make the evaluation that is due before the next step; `start` is the step of the last checkpoint."""
    numbers = await examine(run, stage, tasks, step=start or 0, rolled_back=keeper.is_rolled_back(start))
    watch(start or 0, alarm.evaluated(numbers))
    keeper.evaluated(start)


async def examine(run: Run, stage: Stage, tasks: Splits, *, step: int, rolled_back: bool = False) -> Numbers:
    """Evaluate the validation and the test split, record the results, and return their numbers.

    While an endpoint cannot be reached, the evaluation is skipped and `eval/missed` is 1; only the evaluation before
    the first step raises EndpointError instead.
    """
    config = run.config
    limits, samples = Limits.of(config, config.evaluation.temperature), config.evaluation.samples
    found = []
    for split in ("validation", "test"):
        members, seed = tasks.named()[split], config.run.seed
        try:
            with timed("evaluation"):
                found.append(await evaluate(stage, members, limits, split=split, samples=samples, seed=seed))
        except EndpointError:
            if step == 0:
                raise
            return {"eval/missed": 1.0}
    recorded = {row["split"] for row in run.evaluation_rows() if row["step"] == step}
    for one in found:
        if one.split not in recorded:  # as they are if a kill came after they were made up for
            run.add_evaluation({**one.row(step), "rolled_back": rolled_back}, one.groups)
    return merged(*(one.metrics() for one in found))


def policy_numbers(policies: Iterable[str], due: Sequence[Sample], moved: Mapping[str, Moved]) -> Numbers:
    """The numbers of each policy in a step.

    `trained` is 0 for a policy that had no signal and was not updated, and for one whose learning rate was 0.
    """
    rates = {policy: move.learning_rate for policy, move in moved.items()}
    numbers: Numbers = {f"policy/{policy}/trained": float(rates.get(policy, 0.0) > 0.0) for policy in policies}
    numbers |= {f"policy/{policy}/in_loss": 0.0 for policy in policies}
    for sample in due:
        numbers[f"policy/{sample.call.policy}/in_loss"] += 1.0
    for policy, move in moved.items():
        numbers[f"policy/{policy}/gradient_norm"] = move.norm
        numbers[f"policy/{policy}/learning_rate"] = move.learning_rate
        numbers[f"policy/{policy}/change"] = move.change
        numbers[f"policy/{policy}/updates"] = move.updates
    return numbers


def merged(*parts: Mapping[str, float]) -> Numbers:
    """All numbers in one table."""
    return {name: value for part in parts for name, value in part.items()}
