"""The loop: act, judge, learn, publish, keep. Read this first."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from counterpoint.act import Patience, act
from counterpoint.algorithms.base import Sample, in_loss
from counterpoint.algorithms.build import build_algorithm, build_batches, build_loss
from counterpoint.analysis.alarm import Alarm
from counterpoint.analysis.summary import Summary, peak_of_accuracy, summarize
from counterpoint.clock import Clock, timed
from counterpoint.diagnostics.base import Numbers, Step
from counterpoint.diagnostics.build import build_diagnostics
from counterpoint.errors import EndpointError
from counterpoint.evaluation import evaluate
from counterpoint.interventions.base import Update
from counterpoint.interventions.build import build_interventions
from counterpoint.learn import anchored, mean_of, together, trainable
from counterpoint.learners.base import Moved
from counterpoint.play import Limits, Stage
from counterpoint.proof import Proof
from counterpoint.run import Run, Stateful
from counterpoint.runtimes import open_runtime
from counterpoint.stage import Setup, set_up
from counterpoint.tasks.base import Splits

Watch = Callable[[int, Mapping[str, float]], None]
"""Told the numbers of each step, and of each evaluation, once they are written down."""


async def train(run: Run, watch: Watch = lambda step, numbers: None, setup: Setup | None = None) -> Summary | None:
    """Train the policies of one workflow from the run's last checkpoint, or from the base, to its last step.

    `setup` is that of the run's recipe, looked up if it is not given. Raises CounterpointError; the run can then be
    resumed from its last checkpoint.
    """
    config = run.config
    setup = setup or set_up(config)
    workflow, tasks, routes = setup.workflow, setup.tasks, setup.routing
    settings = setup.settings
    algorithm = build_algorithm(config, workflow.roles, trainable(settings))
    diagnostics, interventions = build_diagnostics(config.diagnostics), build_interventions(config, workflow.roles)
    batches, limits = build_batches(config), Limits.of(config, config.rollout.temperature)
    loss = interventions.loss(build_loss(config))
    run.pin({"tasks": tasks.fingerprints(), "routing": dict(routes.policy_of)})

    async with tasks.judging, open_runtime(config, routes) as runtime:
        run.note({**tasks.notes, **tasks.judging.facts()})
        sampler, learner = runtime.sampler, runtime.learner
        stage = Stage(workflow=workflow, routing=routes, sampler=sampler, chats=runtime.chats)
        parts: dict[str, Stateful] = {"learner": learner, "algorithm": algorithm}
        parts |= {"interventions": interventions, "diagnostics": diagnostics}
        proof, start = Proof(learner, sampler), run.restore(parts)
        if start is not None:
            proof.restored(run.checkpoint_state(start)["digests"])
        await sampler.load(learner.adapters())
        proof.published()
        clock = Clock.started()
        if start is None:
            watch(0, await examine(run, stage, tasks, step=0))
            run.checkpoint(0, parts, {"digests": proof.digests, "stopped": None})
            run.add_profile(0, clock.read("keep"))
        patience, alarm = Patience(config.run.patience), Alarm(run, routes)

        for index in run.steps_left(start or 0):
            # 1. Act: every task of this step is played `group_size` times.
            groups = await act(stage, tasks.train, limits, config, algorithm, step=index)
            run.add_episodes(index, groups)
            patience.judge(groups)
            mismatch = proof.logprobs(groups, config.run)
            clock.lap("act")

            # 2. Judge: what each call was worth.
            samples = interventions.samples(algorithm.samples(groups), index)
            run.add_samples(index, [sample.row() for sample in samples])
            due = [sample for sample in in_loss(samples) if settings[sample.call.policy].update.due(index)]
            clock.lap("judge")

            # 3. Learn: for each update one gradient a (policy, role), kept apart until the step.
            looks: list[Numbers] = []
            moves: list[dict[str, Moved]] = []
            for count, part in enumerate(anchored(learner, batches(due, f"{config.run.seed}/{index}"), loss)):
                apart = diagnostics.slots_apart(index) or interventions.slots_apart(index)
                gradients = learner.backward(part, loss, slots_apart=apart)
                looks.append(diagnostics.look(Step(index, groups, samples, gradients, learner.base_logprobs, count)))
                moves.append(learner.step(*interventions.update(Update(gradients), index), step=index))
            moved = together(moves)
            proof.moved(moved)
            clock.lap("learn")

            # 4. Publish: from here on the sampler speaks with the new weights.
            await sampler.load(learner.adapters())
            proof.published()
            clock.lap("publish")

            # 5. Keep: numbers each step, evaluations and checkpoints when due.
            numbers = merged(mean_of(looks), policy_numbers(proof.policies, due, moved, mismatch), clock.laps())
            numbers |= merged(tasks.judging.numbers(), alarm.look(index, numbers))
            stop = interventions.stop(numbers)
            last = stop is not None or index == config.run.steps
            run.add_metrics(index, numbers)
            watch(index, numbers)
            back = stop is not None and stop.roll_back
            if back:
                run.load_checkpoint(peak := peak_of(run), {"learner": learner})
                proof.restored(run.checkpoint_state(peak)["digests"])
                await sampler.load(learner.adapters())
            if last or index % config.evaluation.every == 0:
                watch(index, await examine(run, stage, tasks, step=index, rolled_back=back))
            if last or index % config.run.save_every == 0:
                run.checkpoint(index, parts, {"digests": proof.digests, "stopped": stop and stop.reason})
            run.add_profile(index, clock.read("keep"))
            if last:
                break

    found = summarize(run.evaluation_rows())
    run.write_summary({} if found is None else found.as_dict())
    return found


def peak_of(run: Run) -> int:
    """The checkpoint with the best smoothed validation accuracy; the base if no other was evaluated."""
    accuracy = {row["step"]: row["accuracy"] for row in run.evaluation_rows() if row["split"] == "validation"}
    return peak_of_accuracy(accuracy, run.checkpoints())


async def examine(run: Run, stage: Stage, tasks: Splits, *, step: int, rolled_back: bool = False) -> Numbers:
    """The validation and the test split are evaluated and written down; their numbers are returned.

    While an endpoint is out of reach an evaluation is missed, but for the first, which raises EndpointError.
    """
    config = run.config
    limits = Limits.of(config, config.evaluation.temperature)
    numbers: Numbers = {}
    for split in ("validation", "test"):
        members, seed = tasks.named()[split], config.run.seed
        try:
            with timed("evaluation"):
                found = await evaluate(
                    stage, members, limits, split=split, samples=config.evaluation.samples, seed=seed
                )
        except EndpointError:
            if step == 0:
                raise
            return {"eval/missed": 1.0}
        run.add_evaluation({**found.row(step), "rolled_back": rolled_back})
        numbers |= found.metrics()
    return numbers


def policy_numbers(
    policies: Iterable[str], due: Sequence[Sample], moved: Mapping[str, Moved], mismatch: Mapping[str, float]
) -> Numbers:
    """What the step did to each policy; `trained` is 0 for a policy without signal, which has not moved."""
    numbers: Numbers = {f"policy/{policy}/trained": float(policy in moved) for policy in policies}
    numbers |= {f"policy/{policy}/in_loss": 0.0 for policy in policies}
    for sample in due:
        numbers[f"policy/{sample.call.policy}/in_loss"] += 1.0
    for policy, difference in mismatch.items():
        numbers[f"policy/{policy}/mismatch"] = difference
    for policy, move in moved.items():
        numbers[f"policy/{policy}/gradient_norm"] = move.norm
        numbers[f"policy/{policy}/learning_rate"] = move.learning_rate
        numbers[f"policy/{policy}/change"] = move.change
        numbers[f"policy/{policy}/updates"] = move.updates
    return numbers


def merged(*parts: Mapping[str, float]) -> Numbers:
    """All numbers in one table."""
    return {name: value for part in parts for name, value in part.items()}
