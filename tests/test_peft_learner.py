import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch_build import ISOLATED, ROUTING, adapter_of, fresh_model, new_learner, same_tensors, tiny_base, tiny_folder

from counterpoint.algorithms.aggregation import call, token
from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss, clip, reinforce
from counterpoint.config import TrainingSettings
from counterpoint.episode import Call
from counterpoint.errors import LearnerError
from counterpoint.learners._optim import learning_rate
from counterpoint.learners.base import Source
from counterpoint.learners.gradient import FlatGradient, load_gradients, save_gradients
from counterpoint.learners.peft import Peft
from counterpoint.policy import Routing
from counterpoint.testing.learner_conformance import check_learner
from counterpoint.testing.reference import plain_gradient, plain_logprobs
from counterpoint.testing.tiny import tiny_calls, tiny_config, tiny_samples

BASE = tiny_base()
LOSS = Loss(clip, token)
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def calls(routing: Routing, **options) -> list[Call]:
    return tiny_calls(BASE.chat, routing, **options)


def samples(routing: Routing, seed: int = 0, **options) -> list[Sample]:
    return tiny_samples(calls(routing, seed=seed, **options), seed=seed)


def trained(learner: Peft, routing: Routing, steps: int = 2, loss: Loss = LOSS) -> Peft:
    for step in range(1, steps + 1):
        learner.step(learner.backward(samples(routing, seed=step), loss), step=step)
    return learner


def silent(made: list[Sample], policy: str) -> list[Sample]:
    """Without signal for one policy."""
    return [
        replace(one, advantage=0.0, signal=False, in_loss=False) if one.call.policy == policy else one for one in made
    ]


def joint_of(contributions, policy: str) -> torch.Tensor:
    return sum(part.gradient.flat for source, part in contributions.items() if source.policy == policy)


def plain_flat(learner: Peft, policy: str, update: list[Sample], weights: list[float]) -> torch.Tensor:
    advantages = [one.advantage for one in update]
    gradient = plain_gradient(
        BASE.model, [one.call for one in update], advantages, weights, adapter_of(learner, policy)
    )
    return torch.cat([tensor.reshape(-1) for tensor in gradient.values()])


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_it_keeps_every_promise_of_a_learner():
    config = tiny_config(tiny_folder())
    check_learner(lambda routing: Peft(fresh_model(), routing.policies, config), BASE)


@pytest.mark.parametrize("temperature", [1.0, 0.7, 1.5])
def test_log_probabilities_equal_a_plain_forward_pass(temperature):
    learner = trained(new_learner(ROUTING), ROUTING)
    asked = calls(ROUTING, temperature=temperature, count=20)
    assert len({len(one.prompt_ids) for one in asked}) == 3, "prompts should differ in length for this test"
    found = learner.logprobs(asked)
    for row, expected in zip(found, plain_logprobs(BASE.model, asked, adapter_of(learner, "shared")), strict=True):
        assert row == pytest.approx(expected.tolist(), rel=1e-5, abs=2e-5)


def test_calls_of_different_temperatures_share_a_batch():
    mixed = [
        replace(one, temperature=temperature)
        for one, temperature in zip(calls(ROUTING), [0.5, 1.0, 2.0] * 4, strict=True)
    ]
    found = new_learner(ROUTING).logprobs(mixed)
    for row, expected in zip(found, plain_logprobs(BASE.model, mixed), strict=True):
        assert row == pytest.approx(expected.tolist(), rel=1e-5, abs=2e-5)


@pytest.mark.parametrize("aggregation", [token, call])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_gradients_equal_plain_autograd_number_for_number(aggregation, temperature):
    learner = trained(new_learner(ROUTING), ROUTING)
    update = samples(ROUTING, temperature=temperature)
    contributions = learner.backward(update, Loss(clip, aggregation))
    found = joint_of(contributions, "shared")
    assert relative_error(found, plain_flat(learner, "shared", update, aggregation(update))) < 1e-5


@pytest.mark.parametrize("aggregation", [token, call])
def test_the_roles_contributions_sum_to_the_gradient_of_the_joint_loss(aggregation):
    learner = trained(new_learner(ROUTING), ROUTING)
    update = samples(ROUTING)
    weights = aggregation(update)
    contributions = learner.backward(update, Loss(reinforce, aggregation))
    assert set(contributions) == {Source("shared", "writer"), Source("shared", "critic")}
    for source, part in contributions.items():
        mine = [index for index, one in enumerate(update) if one.call.key.role == source.role]
        expected = plain_flat(learner, "shared", [update[i] for i in mine], [weights[i] for i in mine])
        assert relative_error(part.gradient.flat, expected) < 1e-5
        assert part.weight == pytest.approx(math.fsum(weights[i] * update[i].tokens for i in mine))
    joint = plain_flat(learner, "shared", update, weights)
    assert relative_error(joint_of(contributions, "shared"), joint) < 1e-5
    assert math.fsum(part.weight for part in contributions.values()) == pytest.approx(1.0)


def test_the_contributions_losses_sum_to_the_loss():
    learner = trained(new_learner(ROUTING), ROUTING)
    update = samples(ROUTING)
    found = math.fsum(part.loss for part in learner.backward(update, Loss(reinforce, call)).values())
    rows = plain_logprobs(BASE.model, [one.call for one in update], adapter_of(learner, "shared"))
    expected = math.fsum(-one.advantage * row.mean().item() for one, row in zip(update, rows, strict=True)) / len(rows)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("aggregation", [token, call])
def test_splitting_an_update_into_micro_batches_leaves_its_gradient(tmp_path, aggregation):
    trained(new_learner(ROUTING), ROUTING).save(tmp_path)
    gradients = []
    for most_tokens in (10**9, 250, 100, 1):
        learner = new_learner(ROUTING, {"learner": {"max_tokens_per_micro_batch": most_tokens}})
        learner.load(tmp_path)
        gradients.append(joint_of(learner.backward(samples(ROUTING), Loss(clip, aggregation)), "shared"))
    for split in gradients[1:]:
        assert relative_error(split, gradients[0]) < 2e-6


def test_checkpointed_layers_are_computed_twice_and_give_the_same_gradient():
    found, layers = {}, {}
    for checkpointing in (False, True):
        learner = trained(new_learner(ROUTING, {"learner": {"gradient_checkpointing": checkpointing}}), ROUTING)
        count = layers[checkpointing] = []
        for module in learner._adapters.model.model.layers:
            module.self_attn.q_proj.register_forward_hook(lambda *_, count=count: count.append(1))
        found[checkpointing] = joint_of(learner.backward(samples(ROUTING), LOSS), "shared")
    assert relative_error(found[True], found[False]) < 1e-6
    assert len(layers[True]) == 2 * len(layers[False])


def test_a_model_that_keeps_a_cache_cannot_be_checkpointed():
    with pytest.raises(LearnerError, match="gradient_checkpointing needs the packed way"):
        new_learner(ROUTING, {"learner": {"gradient_checkpointing": True}, "model": {"forward": "plain"}})


@pytest.mark.parametrize("way", ["packed", "plain"])
def test_both_ways_to_compute_give_the_same_gradient(way):
    learner = trained(new_learner(ROUTING, {"model": {"forward": way}}), ROUTING)
    reference = trained(new_learner(ROUTING), ROUTING)
    gradients = [joint_of(one.backward(samples(ROUTING), LOSS), "shared") for one in (learner, reference)]
    assert relative_error(*gradients) < 2e-6


def test_a_learner_that_runs_out_of_memory_goes_on_with_smaller_batches(monkeypatch, caplog):
    learner, reference = new_learner(ROUTING), new_learner(ROUTING)
    score = learner._passes.forward.score

    def scarce(model, batch):
        if len(batch) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return score(model, batch)

    monkeypatch.setattr(learner._passes.forward, "score", scarce)
    gradients = [joint_of(one.backward(samples(ROUTING), LOSS), "shared") for one in (learner, reference)]
    assert relative_error(*gradients) < 2e-6
    assert "out of memory" in caplog.text


def test_an_isolated_policy_moves_the_same_bit_for_bit_without_the_others_samples():
    together, apart = new_learner(ISOLATED), new_learner(ISOLATED)
    for step in (1, 2, 3):
        update = samples(ISOLATED, seed=step)
        together.step(together.backward(update, LOSS), step=step)
        apart.step(apart.backward([one for one in update if one.call.policy == "writer"], LOSS), step=step)
    assert same_tensors(adapter_of(together, "writer").tensors, adapter_of(apart, "writer").tensors)
    assert not same_tensors(adapter_of(together, "critic").tensors, adapter_of(apart, "critic").tensors)


def test_an_isolated_policy_moves_the_same_bit_for_bit_in_a_learner_without_the_others():
    both, alone = new_learner(ISOLATED), new_learner(Routing({"critic": "critic"}))
    for step in (1, 2):
        update = samples(ISOLATED, seed=step)
        both.step(both.backward(update, LOSS), step=step)
        alone.step(alone.backward([one for one in update if one.call.policy == "critic"], LOSS), step=step)
    assert same_tensors(adapter_of(both, "critic").tensors, adapter_of(alone, "critic").tensors)


def test_samples_without_signal_are_out_of_the_gradient_and_of_its_denominators():
    learner = trained(new_learner(ROUTING), ROUTING)
    update = samples(ROUTING)
    muted = [replace(one, signal=False, in_loss=False) if index % 3 == 0 else one for index, one in enumerate(update)]
    kept = [one for one in muted if one.signal]
    assert torch.equal(
        joint_of(learner.backward(muted, LOSS), "shared"), joint_of(learner.backward(kept, LOSS), "shared")
    )


def test_a_policy_without_signal_stays_where_it_is_in_spite_of_momentum_and_weight_decay():
    learner = trained(new_learner(ISOLATED, {"policies": {"weight_decay": 0.1}}), ISOLATED)
    before = {policy: adapter_of(learner, policy) for policy in ("writer", "critic")}
    moved = learner.step(learner.backward(silent(samples(ISOLATED), "critic"), LOSS), step=3)
    assert set(moved) == {"writer"}
    assert same_tensors(adapter_of(learner, "critic").tensors, before["critic"].tensors)
    assert not same_tensors(adapter_of(learner, "writer").tensors, before["writer"].tensors)
    assert adapter_of(learner, "critic").version == before["critic"].version == 2


def test_a_step_in_which_nobody_has_signal_moves_nothing():
    learner = trained(new_learner(ISOLATED), ISOLATED)
    before = learner.digests()
    update = silent(silent(samples(ISOLATED), "critic"), "writer")
    assert learner.backward(update, LOSS) == {}
    assert learner.step({}, step=3) == {}
    assert learner.digests() == before


def test_contributions_that_cancel_move_nothing():
    learner = trained(new_learner(ROUTING), ROUTING)
    before = learner.digests()
    source, part = next(iter(learner.backward(samples(ROUTING), LOSS).items()))
    opposite = {Source("shared", "other"): part._replace(gradient=part.gradient.scaled(-1.0))}
    assert learner.step({source: part, **opposite}, step=3) == {}
    assert learner.digests() == before


def test_all_linear_layers_of_every_block_get_an_adapter_and_nothing_else_does():
    learner = new_learner(ISOLATED)
    for adapter in learner.adapters():
        adapted = {name.removeprefix("base_model.model.").rsplit(".lora_", 1)[0] for name in adapter.tensors}
        linear = {name for name, module in BASE.model.named_modules() if isinstance(module, torch.nn.Linear)}
        assert adapted == linear - {"lm_head"}
        assert len(adapted) == 2 * len(LINEAR)
        assert {name.rsplit(".", 1)[1] for name in adapted} == set(LINEAR)
        assert len(adapter.tensors) == 2 * len(adapted)


def test_every_tensor_of_an_adapter_moves_and_the_base_does_not():
    model = fresh_model()
    learner = Peft(model, ROUTING.policies, tiny_config(tiny_folder()))
    before = adapter_of(learner, "shared").tensors
    trained(learner, ROUTING)
    after = adapter_of(learner, "shared").tensors
    assert [name for name in before if torch.equal(before[name], after[name])] == []
    pristine = BASE.model.state_dict()
    frozen = {n.replace(".base_layer", ""): v for n, v in model.state_dict().items() if ".lora_" not in n}
    assert same_tensors(frozen, pristine)


def test_switching_policies_between_backward_and_step_loses_nothing():
    plain, switching = new_learner(ISOLATED), new_learner(ISOLATED)
    for step in (1, 2):
        update = samples(ISOLATED, seed=step)
        plain.step(plain.backward(update, LOSS), step=step)
        contributions = switching.backward(update, LOSS)
        for policy in ("critic", "writer", "critic"):
            switching.logprobs([one.call for one in update if one.call.policy == policy])
        moved = switching.step(contributions, step=step)
        assert set(moved) == {"writer", "critic"}
    assert switching.digests() == plain.digests()


def test_every_policy_starts_as_exactly_the_base():
    learner = new_learner(ISOLATED)
    asked = calls(ISOLATED)
    found = [learner.logprobs([replace(one, policy=policy) for one in asked]) for policy in ("writer", "critic")]
    assert found[0] == found[1]
    for row, expected in zip(found[0], plain_logprobs(BASE.model, asked), strict=True):
        assert row == pytest.approx(expected.tolist(), rel=1e-5, abs=2e-5)
    for adapter in learner.adapters():
        assert not any(tensor.any() for name, tensor in adapter.tensors.items() if ".lora_B." in name)


def test_initial_values_depend_on_the_seed_and_the_policys_name_alone():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = new_learner(Routing({"writer": "writer", "critic": "critic", "judge": "judge"}))
    assert torch.equal(torch.random.get_rng_state(), state), "building a learner should leave the random state alone"
    torch.manual_seed(6)
    other_way_round = new_learner(Routing({"judge": "judge", "critic": "critic"}))
    for policy in ("judge", "critic"):
        assert same_tensors(adapter_of(first, policy).tensors, adapter_of(other_way_round, policy).tensors)
    assert not same_tensors(adapter_of(first, "judge").tensors, adapter_of(first, "critic").tensors)
    other_seed = new_learner(Routing({"judge": "judge"}), {"run": {"seed": 1}})
    assert not same_tensors(adapter_of(first, "judge").tensors, adapter_of(other_seed, "judge").tensors)


def test_the_gradient_is_clipped_to_the_limit_and_reported_before(tmp_path):
    limit = 1e-3
    learner = new_learner(ROUTING, {"policies": {"gradient_clip": limit}})
    contributions = learner.backward(samples(ROUTING), LOSS)
    moved = learner.step(contributions, step=1)
    assert moved["shared"].norm == pytest.approx(joint_of(contributions, "shared").norm().item(), rel=1e-6)
    assert moved["shared"].norm > 10 * limit
    learner.save(tmp_path)
    moments = load_file(tmp_path / "shared" / "optimizer.safetensors")
    first = torch.cat([value.reshape(-1) for name, value in moments.items() if name.endswith("/exp_avg")])
    assert first.norm().item() == pytest.approx(0.1 * limit, rel=1e-5)


def test_a_step_is_adamw_at_the_scheduled_rate():
    learner = new_learner(ROUTING, {"policies": {"warmup": 4, "gradient_clip": 1e9}})
    before = adapter_of(learner, "shared").tensors
    flat = joint_of(contributions := learner.backward(samples(ROUTING), LOSS), "shared")
    moved = learner.step(contributions, step=1)["shared"]
    expected = [tensor.clone().requires_grad_() for tensor in before.values()]
    for parameter, gradient in zip(expected, FlatGradient(flat).split(expected), strict=True):
        parameter.grad = gradient.clone()
    torch.optim.AdamW(expected, lr=0.01 / 4, betas=(0.9, 0.999), weight_decay=0.0).step()
    after = adapter_of(learner, "shared").tensors
    for mine, reference in zip(after.values(), expected, strict=True):
        assert torch.allclose(mine, reference, rtol=1e-6, atol=1e-9)
    assert moved.learning_rate == pytest.approx(0.0025)
    change = torch.cat([(after[name] - before[name]).reshape(-1) for name in after]).norm().item()
    assert moved.change == pytest.approx(change, rel=1e-5)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [0.25, 0.5, 0.5, 0.5, 0.5, 0.5]),
        ("linear", [0.25, 0.5, 0.5, 0.375, 0.25, 0.125]),
        ("cosine", [0.25, 0.5, 0.5, 0.25 + 0.125 * 2**0.5, 0.25, 0.25 - 0.125 * 2**0.5]),
    ],
)
def test_learning_rates_are_those_worked_out_by_hand(schedule, rates):
    config = TrainingSettings(learning_rate=0.5, warmup=2, schedule=schedule)
    assert [learning_rate(config, step=step, steps=6) for step in range(1, 7)] == pytest.approx(rates)


def rates(settings, steps=6, policies=1):
    return [learning_rate(settings, step=step, steps=steps, policies=policies) for step in range(1, steps + 1)]


def test_a_warm_up_from_zero_has_the_studys_factors():
    """Step k has (k - 1) / 15 of the rate; one scheduler for R policies makes that R (k - 1) / 15."""
    matched = TrainingSettings(learning_rate=2e-5, warmup=15, warmup_from_zero=True)
    study = matched.model_copy(update={"warmup_clock": "all"})
    for policies in (1, 2, 3):
        expected = [2e-5 * min(1.0, policies * (step - 1) / 15) for step in range(1, 21)]
        assert rates(study, steps=20, policies=policies) == pytest.approx(expected)
    assert rates(matched, steps=20, policies=3) == rates(study, steps=20, policies=1)


@pytest.mark.parametrize(
    ("changes", "policies", "expected"),
    [
        ({"warmup": 2}, 2, [0.25, 0.5, 0.5, 0.5, 0.5, 0.5]),
        ({"warmup": 2, "warmup_clock": "all"}, 2, [0.5] * 6),
        ({"warmup": 3, "warmup_clock": "all"}, 2, [1 / 3, 0.5, 0.5, 0.5, 0.5, 0.5]),
        ({"warmup": 2, "warmup_from_zero": True}, 1, [0.0, 0.25, 0.5, 0.5, 0.5, 0.5]),
        ({"warmup": 0, "warmup_from_zero": True, "warmup_clock": "all"}, 3, [0.5] * 6),
        ({"warmup": 1, "warmup_from_zero": True}, 1, [0.0, 0.5, 0.5, 0.5, 0.5, 0.5]),
        ({"warmup": 2, "warmup_from_zero": True, "schedule": "linear"}, 1, [0.0, 0.25, 0.5, 0.375, 0.25, 0.125]),
        ({"warmup": 4, "warmup_clock": "all", "schedule": "linear"}, 2, [0.25, 0.5, 0.5, 0.375, 0.25, 0.125]),
        ({"warmup": 6, "warmup_from_zero": True}, 1, [step / 12 for step in range(6)]),
        ({"warmup": 99, "warmup_from_zero": True, "warmup_clock": "all"}, 2, [step / 99 for step in range(6)]),
    ],
)
def test_warm_ups_are_those_worked_out_by_hand(changes, policies, expected):
    assert rates(TrainingSettings(learning_rate=0.5, **changes), policies=policies) == pytest.approx(expected)


def test_at_a_rate_of_zero_the_moments_take_in_the_gradient_and_no_weight_moves():
    table = {"policies": {"warmup": 2, "warmup_from_zero": True, "weight_decay": 0.1}}
    learner, other = new_learner(ROUTING, table), new_learner(ROUTING, table)
    for one in (learner, other):  # to -0.0 AdamW would add 0.0, which is another pattern of bits
        next(iter(one._parameters["shared"].values())).data.view(-1)[0] = -0.0
    before, tensors = learner.digests(), adapter_of(learner, "shared").tensors
    moved = learner.step(learner.backward(samples(ROUTING, seed=1), LOSS), step=1)["shared"]
    assert (moved.learning_rate, moved.change, moved.updates) == (0.0, 0.0, 1)
    assert learner.digests() == before
    assert adapter_of(learner, "shared").version == 1
    learner.step(learner.backward(samples(ROUTING, seed=2), LOSS), step=2)
    expected = [tensor.clone().requires_grad_() for tensor in tensors.values()]
    optimizer = torch.optim.AdamW(expected, lr=0.01, betas=(0.9, 0.999), weight_decay=0.1)
    for step, rate in ((1, 0.0), (2, 0.005)):
        flat = joint_of(other.backward(samples(ROUTING, seed=step), LOSS), "shared")
        flat = flat * min(1.0, 1.0 / float(flat.norm()))
        for parameter, gradient in zip(expected, FlatGradient(flat).split(expected), strict=True):
            parameter.grad = gradient.clone()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    for mine, reference in zip(adapter_of(learner, "shared").tensors.values(), expected, strict=True):
        assert torch.allclose(mine, reference, rtol=1e-5, atol=1e-8)


def test_frozen_policies_do_not_advance_the_clock_of_the_others():
    table = {"policies": {"warmup": 4, "warmup_clock": "all"}, "policy": {"critic": {"trainable": False}}}
    learner = new_learner(ISOLATED, table)
    mine = [one for one in samples(ISOLATED) if one.call.policy == "writer"]
    assert learner.step(learner.backward(mine, LOSS), step=1)["writer"].learning_rate == pytest.approx(0.0025)


def test_a_saved_learner_goes_on_bit_for_bit_as_if_nothing_had_happened(tmp_path):
    original = trained(new_learner(ISOLATED), ISOLATED, steps=3)
    original.save(tmp_path)
    other = new_learner(ISOLATED, {"run": {"seed": 7}})
    other.load(tmp_path)
    for learner in (original, other):
        for step in (4, 5):
            learner.step(learner.backward(silent(samples(ISOLATED, seed=step), "critic"), LOSS), step=step)
    for one, two in zip(original.adapters(), other.adapters(), strict=True):
        assert same_tensors(one.tensors, two.tensors)
        assert one.version == two.version == (5 if one.policy == "writer" else 3)


def test_a_policy_that_never_moved_is_saved_and_loaded_too(tmp_path):
    original = new_learner(ISOLATED)
    original.step(original.backward(silent(samples(ISOLATED), "critic"), LOSS), step=1)
    original.save(tmp_path)
    other = new_learner(ISOLATED, {"run": {"seed": 7}})
    other.load(tmp_path)
    assert other.digests() == original.digests()
    assert {adapter.policy: adapter.version for adapter in other.adapters()} == {"writer": 1, "critic": 0}


def test_loading_takes_away_a_momentum_that_the_saved_learner_did_not_have(tmp_path):
    fresh = new_learner(ROUTING)
    fresh.save(tmp_path)
    used = trained(new_learner(ROUTING), ROUTING)
    used.load(tmp_path)
    for learner in (fresh, used):
        learner.step(learner.backward(samples(ROUTING, seed=9), LOSS), step=1)
    assert used.digests() == fresh.digests()


def test_folders_that_do_not_fit_are_refused(tmp_path):
    learner = new_learner(ISOLATED)
    trained(new_learner(ROUTING), ROUTING).save(tmp_path / "shared-run")
    trained(new_learner(ISOLATED, {"policies": {"rank": 2}}), ISOLATED).save(tmp_path / "other-rank")
    before = learner.digests()
    with pytest.raises(LearnerError, match="does not hold policy 'writer'"):
        learner.load(tmp_path / "shared-run")
    with pytest.raises(LearnerError, match="another base model or of another rank"):
        learner.load(tmp_path / "other-rank")
    with pytest.raises(LearnerError, match="does not hold policy 'writer'"):
        learner.load(tmp_path / "nowhere")
    assert learner.digests() == before


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "optimizer.safetensors"])
def test_a_damaged_file_is_refused(tmp_path, name):
    learner = trained(new_learner(ROUTING), ROUTING)
    learner.save(tmp_path)
    file = tmp_path / "shared" / name
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(LearnerError, match="shared"):
        new_learner(ROUTING).load(tmp_path)


class Doubled:
    """A gradient of a class of its own: twice another one."""

    def __init__(self, half):
        self.half = half

    def norm(self):
        return 2 * self.half.norm()

    def scaled(self, factor):
        return FlatGradient(self.vector() * factor)

    def plus(self, other):
        return FlatGradient(self.vector() + other.vector())

    def dot(self, other):
        return 2 * self.half.dot(other)

    def vector(self):
        return 2 * self.half.flat


def test_a_gradient_of_another_class_counts_by_its_vector(tmp_path):
    own, flat = new_learner(ROUTING), new_learner(ROUTING)
    for learner, wrap in ((own, Doubled), (flat, lambda one: one.scaled(2.0))):
        contributions = learner.backward(samples(ROUTING), LOSS)
        doubled = {source: part._replace(gradient=wrap(part.gradient)) for source, part in contributions.items()}
        learner.step(doubled, step=1)
    assert own.digests() == flat.digests() != new_learner(ROUTING).digests()
    one = FlatGradient(torch.tensor([3.0, 4.0]))
    save_gradients(tmp_path / "saved", {"a": Doubled(one), "b": one})
    found = load_gradients(tmp_path / "saved")
    assert found["a"].vector().tolist() == [6.0, 8.0]
    assert one.dot(Doubled(one)) == found["b"].dot(found["a"]) == 50.0


def test_a_flat_gradient_is_a_value():
    one, other = FlatGradient(torch.tensor([3.0, 4.0])), FlatGradient(torch.tensor([-4.0, 3.0]))
    assert (one.norm(), one.dot(other), one.dot(one)) == (5.0, 0.0, 25.0)
    assert one.plus(other).flat.tolist() == [-1.0, 7.0]
    assert one.scaled(-2.0).flat.tolist() == [-6.0, -8.0]
    assert (one.flat.tolist(), other.flat.tolist()) == ([3.0, 4.0], [-4.0, 3.0])
