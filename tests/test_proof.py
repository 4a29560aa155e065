import asyncio
import math
from dataclasses import replace

import pytest
import torch
from torch_build import IN_PROCESS, ISOLATED, PEFT, start, tiny_base, trained

from counterpoint.episode import Call, Episode, Group
from counterpoint.errors import ProofError
from counterpoint.learners.base import NO_RATES, Moved
from counterpoint.learners.peft import Peft
from counterpoint.proof import calls_to_check, check_logprobs, check_moves, check_published, check_restored
from counterpoint.run import Run
from counterpoint.samplers._engine import Engine
from counterpoint.samplers.in_process import InProcess
from counterpoint.task import RIGHT
from counterpoint.testing.tiny import tiny_calls
from counterpoint.training import train


class Fixed:
    """A learner that always computes the same."""

    def __init__(self, rows: list[list[float]]) -> None:
        self.rows = rows

    def logprobs(self, calls: list[Call]) -> list[list[float]]:
        return self.rows


def calls(*logprobs: tuple[float, ...]) -> list[Call]:
    made = tiny_calls(tiny_base().chat, ISOLATED, count=len(logprobs))
    return [replace(call, logprobs=values) for call, values in zip(made, logprobs, strict=True)]


def group(calls: list[Call]) -> Group:
    episode = Episode(task="t", rollout=0, problem="?", calls=tuple(calls), answer=None, score=RIGHT)
    return Group(task="t", episodes=(episode,))


def test_agreeing_log_probabilities_give_the_largest_difference_a_policy():
    learner = Fixed([[-1.0, -2.0], [-3.0], [-1.5]])
    found = check_logprobs(learner, calls((-1.0, -2.00003), (-3.00001,), (-1.50002,)), 1e-4)
    assert found == {"writer": pytest.approx(3e-5), "critic": pytest.approx(1e-5)}


def test_a_log_probability_that_is_off_names_the_policy_the_role_and_both_numbers():
    with pytest.raises(ProofError, match=r"policy 'critic'.*token 1 .*by critic .*-2\.500000.*-2\.000000.*= 0\.0001"):
        check_logprobs(Fixed([[-1.0], [-1.0, -2.0]]), calls((-1.0,), (-1.0, -2.5)), 1e-4)


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_a_log_probability_that_is_no_number_is_refused_on_either_side(bad):
    with pytest.raises(ProofError, match="policy 'writer'"):
        check_logprobs(Fixed([[-1.0, bad]]), calls((-1.0, -1.0)), 1e-4)
    with pytest.raises(ProofError, match="policy 'writer'"):
        check_logprobs(Fixed([[-1.0, -1.0]]), calls((-1.0, bad)), 1e-4)


POLICIES = ("writer", "critic")


def test_the_checked_calls_are_spread_over_the_step_for_every_policy():
    made = tiny_calls(tiny_base().chat, ISOLATED, count=41)
    chosen = calls_to_check([group(made)], POLICIES, 4)
    writers = [call for call in made if call.policy == "writer"]
    assert [call for call in chosen if call.policy == "writer"] == [writers[place] for place in (0, 5, 10, 15)]
    assert sum(call.policy == "critic" for call in chosen) == 4


def test_a_policy_with_few_calls_has_each_checked_once():
    made = tiny_calls(tiny_base().chat, ISOLATED, count=3)
    assert sorted(call.seed for call in calls_to_check([group(made)], POLICIES, 8)) == [0, 1, 2]
    assert calls_to_check([group(made)], POLICIES, 0) == []


def test_exactly_the_trained_policies_may_have_moved():
    before = {"writer": "1", "critic": "1"}
    check_moves(before, {"writer": "2", "critic": "1"}, {"writer"})
    with pytest.raises(ProofError, match="policy 'writer' was trained, but its weights are the same"):
        check_moves(before, {"writer": "1", "critic": "1"}, {"writer"})
    with pytest.raises(ProofError, match="policy 'critic' had no signal in this step, but its weights have changed"):
        check_moves(before, {"writer": "2", "critic": "2"}, {"writer"})


def test_what_is_restored_must_be_what_was_saved():
    check_restored({"a": "1", "b": "2"}, {"a": "1", "b": "2"})
    with pytest.raises(ProofError, match="policy 'b': the checkpoint has digest 2, the loaded weights 3"):
        check_restored({"a": "1", "b": "2"}, {"a": "1", "b": "3"})
    with pytest.raises(ProofError, match=r"policy 'b'.*nothing"):
        check_restored({"a": "1", "b": "2"}, {"a": "1"})


def test_a_run_whose_checkpoint_was_changed_does_not_go_on(tmp_path):
    run = trained(start(tmp_path / "run", {"run": {"steps": 1}}))
    run.close()
    state = run.checkpoint_path(1) / "state.json"
    state.write_text(state.read_text().replace('"digests": {', '"digests": {\n    "nobody": "1",'))
    with Run.open(tmp_path / "run") as again, pytest.raises(ProofError, match="policy 'nobody'"):
        asyncio.run(train(again))


def test_the_sampler_must_speak_with_every_policys_weights():
    check_published({"writer": "1", "critic": "2"}, {"writer": "1", "critic": "2"})
    with pytest.raises(ProofError, match="policy 'critic': the learner holds 2, the sampler generates with 3"):
        check_published({"writer": "1", "critic": "2"}, {"writer": "1", "critic": "3"})
    with pytest.raises(ProofError, match="policy 'critic': the learner holds 2, the sampler generates with nothing"):
        check_published({"writer": "1", "critic": "2"}, {"writer": "1"})


class DamagesOne(InProcess):
    """Loads the conductor's adapter with one number off."""

    async def load(self, adapters):
        for adapter in adapters:
            if adapter.policy == "conductor":
                next(iter(adapter.tensors.values()))[0, 0] += 1e-3
        await super().load(adapters)


class LoadsOnce(InProcess):
    """Takes the first weights it is given and ignores all others."""

    async def load(self, adapters):
        if not self.digests():
            await super().load(adapters)


class LoadsOnceAndLies(InProcess):
    """Names the new weights and generates with the old ones."""

    claimed = None

    async def load(self, adapters):
        if self.claimed is None:
            await super().load(adapters)
        newest = InProcess(Engine(tiny_base().model, frozenset({0})))
        await newest.load(adapters)
        self.claimed = newest.digests()

    def digests(self):
        return self.claimed


class MixesPoliciesUp(InProcess):
    """Speaks with the soprano's weights when the alto is asked for."""

    def _compute(self, requests):
        return super()._compute([replace(one, policy="soprano") if one.policy == "alto" else one for one in requests])


class Ignores(Peft):
    """Says that it has moved a policy, and has not."""

    def step(self, contributions, rates=NO_RATES, *, step):
        moved = super().step({}, step=step)
        return moved | {source.policy: Moved(norm=1.0, learning_rate=0.1, change=0.1) for source in contributions}


class Drifts(Peft):
    """Moves the conductor behind everybody's back."""

    def step(self, contributions, rates=NO_RATES, *, step):
        moved = super().step({s: c for s, c in contributions.items() if s.policy != "conductor"}, step=step)
        with torch.no_grad():
            next(iter(self._parameters["conductor"].values())).add_(1e-3)
        return moved


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (DamagesOne, "policy 'conductor': the learner holds .* the sampler generates with"),
        (LoadsOnce, "policy 'soprano': the learner holds .* the sampler generates with"),
        (LoadsOnceAndLies, "policy '(soprano|alto|conductor)': the sampler gave token .* they differ by more"),
        (MixesPoliciesUp, "policy 'alto': the sampler gave token .* they differ by more"),
    ],
)
def test_a_run_stops_when_its_sampler_does_not_speak_with_the_learners_weights(tmp_path, monkeypatch, sampler, message):
    monkeypatch.setattr(IN_PROCESS, "InProcess", sampler)
    with pytest.raises(ProofError, match=message):
        trained(start(tmp_path / "run", {"run": {"proof_spoken": 0}}))  # which would find all but the first


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        (Ignores, "policy '.*' was trained, but its weights are the same"),
        (Drifts, "policy 'conductor' had no signal in this step, but its weights have changed"),
    ],
)
def test_a_run_stops_when_its_learner_does_not_do_what_it_says(tmp_path, monkeypatch, learner, message):
    monkeypatch.setattr(PEFT, "Peft", learner)
    with pytest.raises(ProofError, match=message):
        trained(start(tmp_path / "run"))
