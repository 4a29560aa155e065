"""One or several updates a step, what the ratio is taken to, KL to the base, and what is left of plain training."""

import asyncio
import random
from dataclasses import replace

import polars as pl
import pytest
import torch
from torch_build import ISOLATED, ROUTING, SOLO, adapter_of, fresh_model, new_learner, start, tiny_base, trained

from counterpoint.algorithms.advantage import grpo
from counterpoint.algorithms.aggregation import balanced, call, token
from counterpoint.algorithms.base import Credit
from counterpoint.algorithms.correction import sequence, truncated
from counterpoint.algorithms.kl import k1, k2, k3
from counterpoint.algorithms.loss import Loss, cispo, clip, gspo, reinforce, sapo
from counterpoint.episode import read_episodes
from counterpoint.errors import LearnerError
from counterpoint.learn import anchored, together
from counterpoint.learners.base import Moved
from counterpoint.learners.peft import Peft
from counterpoint.policy import routing
from counterpoint.run import Run
from counterpoint.testing.reference import plain_gradient, plain_logprobs, wanting_gradients
from counterpoint.testing.tiny import tiny_calls, tiny_samples
from counterpoint.training import train

BASE = tiny_base()


def samples(routing=ROUTING, seed: int = 0):
    return tiny_samples(tiny_calls(BASE.chat, routing, seed=seed), seed=seed)


def moved_learner(routing=ROUTING) -> Peft:
    learner = new_learner(routing)
    for step in (1, 2):
        learner.step(learner.backward(samples(routing, seed=step), Loss(reinforce, token)), step=step)
    return learner


def joint(contributions) -> torch.Tensor:
    return sum(part.gradient.flat for part in contributions.values())


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def with_old(made, learner, spread: float = 0.3):
    """Log-probabilities that the ratio is taken to, a little off those of now; and others, as of a sampler."""
    source = random.Random(5)
    rows = learner.logprobs([one.call for one in made])
    return [
        replace(
            one,
            old=tuple(value + source.gauss(0.0, spread) for value in row),
            call=replace(one.call, logprobs=tuple(value + source.gauss(0.0, spread) for value in row)),
        )
        for one, row in zip(made, rows, strict=True)
    ]


def plain_joint(learner: Peft, made, weights, token_loss) -> torch.Tensor:
    """Autograd through a plain forward pass; token_loss(l, old, mu, base, A) -> loss, a call at a time."""
    adapter = wanting_gradients(adapter_of(learner, "shared"))
    now = plain_logprobs(BASE.model, [one.call for one in made], adapter)
    base = plain_logprobs(BASE.model, [one.call for one in made])
    total = torch.zeros(())
    for one, weight, mine, reference in zip(made, weights, now, base, strict=True):
        old = torch.tensor(one.old) if one.old is not None else mine.detach()
        sampled = torch.tensor(one.call.logprobs)
        total = total + weight * token_loss(mine, old, sampled, reference.detach(), one.advantage).sum()
    gradients = torch.autograd.grad(total, list(adapter.tensors.values()))
    return torch.cat([tensor.reshape(-1) for tensor in gradients])


def slow_clip(now, old, mu, base, a):
    ratio = torch.exp(now - old)
    return torch.maximum(-ratio * a, -torch.clamp(ratio, 0.8, 1.28) * a)


def slow_gspo(now, old, mu, base, a):
    s = torch.exp((now - old).mean().detach()) * torch.exp(now - now.detach())
    return torch.maximum(-s * a, -torch.clamp(s, 1 - 3e-4, 1 + 4e-4) * a)


def slow_cispo(now, old, mu, base, a):
    return -torch.clamp(torch.exp(now.detach() - old), max=5.0) * a * now


def slow_sapo(now, old, mu, base, a):
    kappa = 1.0 if a > 0 else 1.05
    return -(1 / (1 + torch.exp(-kappa * (torch.exp(now - old) - 1)))) * (4 / kappa) * a


@pytest.mark.parametrize(
    ("token_loss", "slow"), [(clip, slow_clip), (gspo, slow_gspo), (cispo, slow_cispo), (sapo, slow_sapo)]
)
def test_gradients_off_policy_equal_plain_autograd(token_loss, slow):
    learner = moved_learner()
    made = with_old(samples(), learner)
    found = joint(learner.backward(made, Loss(token_loss, call)))
    assert error(found, plain_joint(learner, made, call(made), slow)) < 2e-5


@pytest.mark.parametrize(
    ("kl", "slow"),
    [
        (k1, lambda d: d.detach()),
        (k2, lambda d: 0.5 * d**2),
        (k3, lambda d: torch.exp(-d) + d - 1),
    ],
)
def test_gradients_with_a_kl_to_the_base_equal_plain_autograd(kl, slow):
    learner = moved_learner()
    made = with_old(samples(), learner)

    def slow_loss(now, old, mu, base, a):
        term = slow(now - base) * (now if kl is k1 else 1.0)
        return slow_clip(now, old, mu, base, a) + 0.7 * term

    loss = Loss(clip, token, kl=lambda now, base: kl(now, base, weight=0.7))
    contributions = learner.backward(made, loss)
    assert error(joint(contributions), plain_joint(learner, made, token(made), slow_loss)) < 2e-5
    assert all("kl" in part.facts for part in contributions.values())


def test_the_kl_that_is_reported_is_that_to_the_base():
    learner = moved_learner()
    made = [one for one in samples() if one.call.key.role == "writer"]
    now, base = (
        plain_logprobs(BASE.model, [one.call for one in made], adapter)
        for adapter in (adapter_of(learner, "shared"), None)
    )
    difference = torch.cat(now) - torch.cat(base)
    expected = float((torch.exp(-difference) + difference - 1).mean())
    (part,) = learner.backward(made, Loss(clip, token, kl=lambda now, base: k3(now, base, weight=0.1))).values()
    assert part.facts["kl"] == pytest.approx(expected, rel=1e-3)
    (part,) = (
        new_learner(ROUTING).backward(made, Loss(clip, token, kl=lambda now, base: k3(now, base, weight=0.1))).values()
    )
    assert part.facts["kl"] == pytest.approx(0.0, abs=1e-6), "an untrained policy is the base"


def test_gradients_with_a_correction_equal_plain_autograd():
    learner = moved_learner()
    made = with_old(samples(), learner, spread=0.8)

    def slow_truncated(now, old, mu, base, a):
        return slow_clip(now, old, mu, base, a) * torch.clamp(torch.exp(old - mu), max=1.5)

    def slow_sequence(now, old, mu, base, a):
        ratio = float(torch.exp((old - mu).mean()))
        return slow_clip(now, old, mu, base, a) * float(0.9 <= ratio <= 1.3)

    for loss, slow in (
        (Loss(clip, token, lambda *three: truncated(*three, cap=1.5)), slow_truncated),
        (Loss(clip, token, lambda *three: sequence(*three, low=0.9, high=1.3)), slow_sequence),
    ):
        contributions = learner.backward(made, loss)
        assert error(joint(contributions), plain_joint(learner, made, token(made), slow)) < 2e-5
        assert 0 < max(part.facts["corrected"] for part in contributions.values()) < 1


def test_balanced_roles_still_sum_to_the_joint_gradient():
    learner = moved_learner()
    made = [one for place, one in enumerate(samples()) if one.call.key.role == "writer" or place < 4]
    loss = Loss(clip, lambda update: balanced(update, call))
    contributions = learner.backward(made, loss)
    assert sorted(part.weight for part in contributions.values()) == pytest.approx([0.5, 0.5])
    assert error(joint(contributions), plain_joint(learner, made, balanced(made, call), slow_clip)) < 2e-5


def test_the_order_of_the_samples_does_not_matter():
    learner = moved_learner()
    made = with_old(samples(), learner)
    mixed = random.Random(1).sample(made, len(made))
    loss = Loss(clip, token, kl=lambda now, base: k2(now, base, weight=0.1))
    assert error(joint(learner.backward(mixed, loss)), joint(learner.backward(made, loss))) < 2e-6


def test_micro_batches_leave_the_gradient_with_ratios_and_kl(tmp_path):
    moved_learner().save(tmp_path)
    gradients = []
    for most in (10**9, 120, 1):
        learner = new_learner(ROUTING, {"learner": {"max_tokens_per_micro_batch": most}})
        learner.load(tmp_path)
        made = with_old(samples(), moved_learner())
        loss = Loss(gspo, token, kl=lambda now, base: k3(now, base, weight=0.1))
        gradients.append(joint(learner.backward(made, loss)))
    assert all(error(split, gradients[0]) < 5e-6 for split in gradients[1:])


def test_looking_at_the_base_does_not_change_what_is_trained():
    learner = moved_learner(ISOLATED)
    before = learner.digests()
    loss = Loss(clip, token, kl=lambda now, base: k2(now, base, weight=0.0))
    with_kl, without = learner.backward(samples(ISOLATED), loss), learner.backward(samples(ISOLATED), Loss(clip, token))
    assert learner.digests() == before
    for source, part in without.items():
        assert torch.equal(part.gradient.flat, with_kl[source].gradient.flat)


def test_what_came_without_log_probabilities_is_not_trained_on():
    learner = new_learner(ROUTING)
    made = [replace(one, call=replace(one.call, logprobs=())) for one in samples()]
    with pytest.raises(LearnerError, match=r"a call by writer has \d+ token ids and 0 log-probabilities"):
        learner.backward(made, Loss(clip, token))
    empty = [replace(one, call=replace(one.call, completion_ids=(), logprobs=())) for one in samples()]
    with pytest.raises(LearnerError, match="cannot be trained on"):
        learner.backward(empty, Loss(clip, lambda update: [1.0] * len(update)))


def test_with_one_update_the_ratio_is_taken_to_the_update_itself():
    learner = moved_learner()
    (found,) = anchored(learner, [samples()], Loss(clip, token))
    assert [one.old for one in found] == [None] * len(found)


def test_with_several_updates_the_ratio_is_taken_to_the_weights_before_the_first():
    learner = moved_learner()
    made = samples()
    first, second = anchored(learner, [made[:5], made[5:]], Loss(clip, token))
    rows = learner.logprobs([one.call for one in made])
    assert [one.old for one in [*first, *second]] == [tuple(row) for row in rows]


def test_anchored_on_the_sampler_the_ratio_is_taken_to_what_it_said():
    learner = moved_learner()
    made = with_old(samples(), learner)
    (found,) = anchored(learner, [made], Loss(clip, token, old_logprobs="sampler"))
    assert [one.old for one in found] == [one.call.logprobs for one in made]


def test_the_updates_of_a_step_come_to_a_mean_norm_a_last_rate_and_a_path():
    one, other = Moved(norm=1.0, learning_rate=0.2, change=0.5), Moved(norm=3.0, learning_rate=0.1, change=0.25)
    assert together([{"a": one}, {"a": other, "b": one}]) == {
        "a": Moved(norm=2.0, learning_rate=0.1, change=0.75, updates=2),
        "b": one,
    }


def test_every_policy_takes_as_many_updates_as_the_recipe_says(tmp_path):
    run = trained(start(tmp_path / "run", {"algorithm": {"updates": 3}, "run": {"steps": 2}}))
    trained_policies = [
        (row["step"], policy)
        for row in run.metric_rows()
        for policy in ("soprano", "alto", "conductor")
        if row[f"policy/{policy}/trained"]
    ]
    assert trained_policies
    for step, policy in trained_policies:
        assert run.metric_rows()[step - 1][f"policy/{policy}/updates"] == 3
    assert any(name.endswith("/clipped") for name in run.metric_rows()[0])


def test_by_calls_who_speaks_more_takes_more_updates(tmp_path):
    """The study's mini-batches: the sopranos speak twice an episode, the others once."""
    table = {"algorithm": {"calls_per_update": 12, "without_signal": "keep"}, "run": {"steps": 1}}
    run = trained(start(tmp_path / "run", table))
    (row,) = run.metric_rows()
    assert [row[f"policy/{name}/updates"] for name in ("soprano", "alto", "conductor")] == [2, 1, 1]


def test_one_role_with_one_policy_is_the_plain_single_agent_trainer(tmp_path):
    """GRPO by hand: plain forward passes, autograd and torch's AdamW give the weights that the run gives."""
    steps = 3
    run = trained(start(tmp_path / "run", {**SOLO, "run": {"steps": steps, "save_every": 1}}))
    learner = Peft(fresh_model(), run_policies(run), run.config)
    adapter = wanting_gradients(learner.adapters()[0])
    parameters = list(adapter.tensors.values())
    optimizer = torch.optim.AdamW(parameters, lr=0.01, betas=(0.9, 0.999), weight_decay=0.0)
    for step in range(1, steps + 1):
        groups = read_episodes(run.path / "episodes" / f"{step:06d}.parquet")
        made = grpo(
            [
                Credit(episode=episode, call=one, reward=episode.score.reward)
                for group in groups
                for episode in group.episodes
                for one in episode.calls
            ]
        )
        made = [one for one in made if one.signal]
        if not made:
            continue
        gradient = plain_gradient(
            BASE.model, [one.call for one in made], [one.advantage for one in made], token(made), adapter
        )
        for name, parameter in adapter.tensors.items():
            parameter.grad = gradient[name]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    saved = Peft(fresh_model(), run_policies(run), run.config)
    saved.load(run.checkpoint_path(steps))
    for name, tensor in saved.adapters()[0].tensors.items():
        assert torch.allclose(tensor, adapter.tensors[name], atol=2e-4), name
    at_first = learner.adapters()[0].tensors
    moved = [float((one.detach() - at_first[name]).abs().max()) for name, one in adapter.tensors.items()]
    assert max(moved) > 5e-3, "the run must have learned something for this to say anything"


def run_policies(run):
    return routing(run.config.policies.sharing, {"soprano": 1}).policies


def test_the_moving_baseline_survives_a_restart(tmp_path):
    table = {"algorithm": {"advantage": "rae", "credit": "own"}, "run": {"steps": 3, "save_every": 1}}
    whole = trained(start(tmp_path / "whole", table))
    rewards = [pl.read_parquet(whole.path / "samples" / f"00000{step}.parquet") for step in (1, 2, 3)]
    baseline = 0.0
    for frame in rewards:
        mine = frame.filter(role="soprano")
        assert (mine["advantage"] - (mine["reward"] - baseline)).abs().max() < 1e-12
        baseline = 0.95 * baseline + 0.05 * mine["reward"].mean()
    cut = start(tmp_path / "cut", table)

    def watch(step, numbers):
        if step == 3 and "time/step" in numbers:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        trained(cut, watch=watch)
    with Run.open(cut.path) as again:
        asyncio.run(train(again))
    assert pl.read_parquet(cut.path / "samples" / "000003.parquet").equals(rewards[2])
