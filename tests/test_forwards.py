"""Two ways to compute a model say the same, and each shared prefix goes through it once."""

import asyncio
import copy
import gc
import json
import random
import re
import weakref
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch_build import ROUTING, fresh_model, sampled, start, tiny_base, trained
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PhimoeConfig,
    Qwen2Config,
    Qwen2MoeConfig,
)

from counterpoint.errors import LearnerError, ModelError
from counterpoint.forwards import _attention as attention_part
from counterpoint.forwards import _decoding as decoding_part
from counterpoint.forwards import _head as head_part
from counterpoint.forwards import _replay as replay_part
from counterpoint.forwards import forward_of
from counterpoint.forwards._attention import ATTENTION, FlashLayout, ForestLayout, _grouped
from counterpoint.forwards._forest import forest_of, new_tokens
from counterpoint.forwards._head import chosen_logprobs
from counterpoint.forwards._norm import fuse_norms, is_rms_norm
from counterpoint.forwards._replay import Replay
from counterpoint.forwards.base import pad
from counterpoint.forwards.packed import Packed
from counterpoint.forwards.plain import Plain, _cache_argument, completion_logits, prefill
from counterpoint.forwards.whole import Whole
from counterpoint.learners._batch import Budget, micro_batches
from counterpoint.samplers._engine import Engine
from counterpoint.samplers.base import Request
from counterpoint.samplers.in_process import InProcess
from counterpoint.testing.reference import plain_logprobs
from counterpoint.testing.tiny import tiny_adapters, tiny_calls, tiny_prompts

BASE = tiny_base()
SMALL = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
}
EXPERTS = {"num_experts": 4, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24}


def packed_model():
    model = fresh_model()
    assert isinstance(forward_of(model, "packed"), Packed)
    return model


def transcripts(count: int = 10, turns: int = 3, seed: int = 0):
    """Calls of conversations that grow: each turn's prompt goes on from the last one's tokens."""
    source = random.Random(seed)
    calls = []
    for _ in range(count):
        ids = [source.randrange(3, 250) for _ in range(source.randint(20, 40))]
        for _ in range(turns):
            said = [source.randrange(3, 250) for _ in range(source.randint(1, 12))]
            call = tiny_calls(BASE.chat, ROUTING, count=1)[0]
            calls.append(replace(call, prompt_ids=tuple(ids), completion_ids=tuple(said), logprobs=(0.0,) * len(said)))
            ids = [*ids, *said, *[source.randrange(3, 250) for _ in range(source.randint(1, 9))]]
    source.shuffle(calls)
    return calls


# The forest


def test_a_forest_gives_back_every_sequence_at_its_positions():
    source = random.Random(3)
    rows = [[source.randrange(3) for _ in range(source.randint(1, 40))] for _ in range(60)]
    rows += [rows[0], [*rows[1], 1, 2], rows[2][:1]]
    forest = forest_of(rows)
    for row, path in zip(rows, forest.paths, strict=True):
        assert forest.ids[path].tolist() == row
        assert forest.positions[path].tolist() == list(range(len(row)))


def test_a_forest_has_every_beginning_once():
    source = random.Random(4)
    rows = [[source.randrange(3) for _ in range(source.randint(1, 12))] for _ in range(50)]
    beginnings = {tuple(row[:end]) for row in rows for end in range(1, len(row) + 1)}
    assert len(forest_of(rows).ids) == len(beginnings)


def test_a_forest_by_hand():
    forest = forest_of([[1, 2, 3, 4], [1, 2, 3, 5, 6], [9, 9], [1, 2, 3]])
    assert forest.ids.tolist() == [1, 2, 3, 4, 5, 6, 9, 9]
    assert forest.positions.tolist() == [0, 1, 2, 3, 3, 4, 0, 1]
    assert [path.tolist() for path in forest.paths] == [[0, 1, 2, 3], [0, 1, 2, 4, 5], [6, 7], [0, 1, 2]]
    assert [branch.places.tolist() for branch in forest.branches] == [[0, 1, 2], [3], [4, 5], [6, 7]]
    assert [len(branch.path) for branch in forest.branches] == [3, 4, 5, 2]


def test_new_tokens_add_up_to_the_forest():
    rows = sorted((*call.prompt_ids, *call.completion_ids) for call in transcripts(6, 3))
    assert sum(new_tokens(rows)) == len(forest_of(rows).ids)


# The layout


def test_the_layout_is_attention_over_every_path(monkeypatch):
    calls = transcripts(6, 3)
    forest = forest_of([(*call.prompt_ids, *call.completion_ids) for call in calls])
    torch.manual_seed(0)
    query, key, value = (torch.randn(len(forest.ids), heads, 8) for heads in (4, 2, 2))
    found = ForestLayout(forest, torch.device("cpu")).attend(0, query, key, value, 0.3)
    for branch in forest.branches:
        for place, end in zip(
            branch.places, range(len(branch.path) - len(branch.places) + 1, len(branch.path) + 1), strict=True
        ):
            seen = branch.path[:end]
            for head in range(4):
                weights = torch.softmax(0.3 * key[seen, head // 2] @ query[place, head], dim=0)
                assert torch.allclose(found[place, head], weights @ value[seen, head // 2], atol=1e-5)


def slow_attention(query, key, value, query_ends, key_ends, most_queries, most_keys, *, scale, window_size, **_):
    """What flash attention is asked for: in every row the last queries look at all keys up to their own."""
    assert window_size == (-1, 0)
    found = torch.empty_like(query)
    assert max(query_ends.diff()) == most_queries
    assert max(key_ends.diff()) == most_keys
    for row in range(len(query_ends) - 1):
        keys = slice(int(key_ends[row]), int(key_ends[row + 1]))
        first, end = int(query_ends[row]), int(query_ends[row + 1])
        for place in range(first, end):
            seen = slice(keys.start, keys.stop - (end - 1 - place))
            for head in range(query.shape[1]):
                of = head * key.shape[1] // query.shape[1]
                weights = torch.softmax(scale * key[seen, of] @ query[place, head], dim=0)
                found[place, head] = weights @ value[seen, of]
    return found


def test_flash_attention_is_asked_for_the_same(monkeypatch):
    monkeypatch.setattr(attention_part, "varlen_attn", slow_attention)
    forest = forest_of([(*call.prompt_ids, *call.completion_ids) for call in transcripts(6, 3)])
    torch.manual_seed(0)
    query, key, value = (torch.randn(len(forest.ids), heads, 8) for heads in (4, 2, 2))
    wanted = ForestLayout(forest, torch.device("cpu")).attend(0, query, key, value, 0.3)
    found = FlashLayout(forest, torch.device("cpu")).attend(0, query, key, value, 0.3)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_branches_of_like_shape_stand_together_and_each_stands_once():
    branches = forest_of([(*call.prompt_ids, *call.completion_ids) for call in transcripts(40, 3)]).branches
    groups = _grouped(branches)
    assert sorted(id(branch) for group in groups for branch in group) == sorted(map(id, branches))
    assert len(groups) < len(branches) / 4
    for group in groups:
        area = sum(len(branch.places) * len(branch.path) for branch in group)
        padded = len(group) * max(len(branch.places) for branch in group) * max(len(branch.path) for branch in group)
        assert padded <= max(2**16, 1.25 * area) or len(group) == 1


# The head


@pytest.mark.parametrize("at_once", [1, 3, 512])
def test_chosen_log_probabilities_and_their_slopes_are_those_of_autograd(monkeypatch, at_once):
    monkeypatch.setattr(head_part, "rows_at_once", lambda device, vocabulary: at_once)
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 30, bias=True).requires_grad_(False)
    hidden, targets = torch.randn(13, 8, requires_grad=True), torch.randint(0, 30, (13,))
    warmth, pull = torch.rand(13) + 0.5, torch.randn(13)
    expected = torch.log_softmax(head(hidden) / warmth[:, None], -1)[torch.arange(13), targets]
    found = chosen_logprobs(hidden, head, targets, warmth)
    assert torch.allclose(found, expected, atol=1e-6)
    (slope,) = torch.autograd.grad((found * pull).sum(), hidden)
    (wanted,) = torch.autograd.grad((expected * pull).sum(), hidden)
    assert torch.allclose(slope, wanted, atol=1e-6)
    with torch.no_grad():
        assert torch.allclose(chosen_logprobs(hidden, head, targets, warmth), expected, atol=1e-6)


def test_the_logits_of_all_tokens_are_never_held(monkeypatch):
    monkeypatch.setattr(head_part, "rows_at_once", lambda device, vocabulary: 2)
    head = torch.nn.Linear(8, 30)
    seen = []
    head.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    chosen_logprobs(torch.randn(7, 8, requires_grad=True), head, torch.zeros(7, dtype=torch.long), torch.ones(7))
    assert seen == [(2, 30), (2, 30), (2, 30), (1, 30)]


@pytest.mark.parametrize(
    ("device", "vocabulary", "rows"),
    [("cpu", 525, 512), ("cpu", 151_936, 110), ("cpu", 2**25, 1), ("cuda", 151_936, 883), ("cuda", 2**28, 1)],
)
def test_the_logits_held_at_a_time_are_bounded_for_any_vocabulary(device, vocabulary, rows):
    assert head_part.rows_at_once(device, vocabulary) == rows


# Scoring


@pytest.mark.parametrize("way", ["packed", "plain"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_scores_are_those_of_the_reference(way, temperature):
    model = fresh_model()
    forward = forward_of(model, way)
    calls = [replace(call, temperature=temperature) for call in [*tiny_calls(BASE.chat, ROUTING), *transcripts()]]
    scored = forward.score(model, calls)
    for row, mask, wanted in zip(scored.logprobs_CT, scored.mask_CT, plain_logprobs(BASE.model, calls), strict=True):
        assert mask.tolist() == [1.0] * len(wanted) + [0.0] * (len(mask) - len(wanted))
        assert torch.allclose(row[: len(wanted)], wanted, atol=1e-4)
        assert not row[len(wanted) :].any()


def test_gradients_of_the_two_ways_are_the_same():
    calls = transcripts(8, 3)
    found = {}
    for way in ("packed", "plain"):
        model = fresh_model()
        forward = forward_of(model, way)
        weights = [parameter.requires_grad_() for name, parameter in model.named_parameters() if "proj" in name]
        pull = torch.linspace(-1, 1, len(calls))[:, None]
        found[way] = torch.autograd.grad((forward.score(model, calls).logprobs_CT * pull).sum(), weights)
    for one, other in zip(found["packed"], found["plain"], strict=True):
        assert float((one - other).norm() / other.norm()) < 1e-5


def test_every_shared_prefix_goes_through_the_model_once(monkeypatch):
    model, calls = packed_model(), transcripts(5, 4)
    seen = []
    embed = model.model.embed_tokens.forward
    monkeypatch.setattr(model.model.embed_tokens, "forward", lambda ids: seen.append(len(ids)) or embed(ids))
    Packed().score(model, calls)
    rows = [(*call.prompt_ids, *call.completion_ids[:-1]) for call in calls]
    assert seen == [len(forest_of(rows).ids)]
    assert seen[0] < 0.5 * sum(map(len, rows))


# Going on


@pytest.fixture
def decoding_as_on_a_gpu(monkeypatch):
    """Shapes that stay from step to step; nothing is recorded, since there is no GPU."""
    monkeypatch.setattr(decoding_part, "_on_a_gpu", lambda model: True)
    monkeypatch.setattr(replay_part, "_WARM_UP", 10**9)


def test_on_a_gpu_calls_that_go_on_predict_what_whole_sequences_predict(decoding_as_on_a_gpu, monkeypatch):
    monkeypatch.setattr(decoding_part, "_CAPACITY_ON_A_GPU", 16)
    goes_on_as_whole_sequences_do("packed")


@pytest.mark.parametrize("way", ["packed", "plain"])
def test_calls_that_go_on_predict_what_whole_sequences_predict(way):
    goes_on_as_whole_sequences_do(way)


@torch.no_grad()
def goes_on_as_whole_sequences_do(way):
    model = fresh_model()
    forward = forward_of(model, way)
    prompts = [*tiny_prompts(BASE.chat, 4), tuple(range(5, 8))]
    rows = [2, 0, 0, 1, 2, 4, 3, 0, 2]
    source = random.Random(1)
    said = [[source.randrange(3, 250) for _ in range(70)] for _ in rows]
    decoding, going = forward.start(model, prompts, rows, 70), list(range(len(rows)))
    for step in range(70):
        if step in (5, 20, 50):
            kept = [place for place in range(len(going)) if (place + step) % 3]
            decoding.keep(torch.tensor(kept))
            going = [going[place] for place in kept]
        last = torch.tensor([said[row][step - 1] if step else prompts[rows[row]][-1] for row in going])
        logits = decoding.logits(last)
        for place, row in enumerate(going):
            whole = torch.tensor([[*prompts[rows[row]], *said[row][:step]]])
            assert torch.allclose(logits[place], BASE.model(input_ids=whole).logits[0, -1], atol=1e-4)
    assert len(going) < len(rows)


@pytest.mark.parametrize("way", ["on a CPU", "on a GPU"])
@torch.no_grad()
def test_calls_that_join_predict_what_whole_sequences_predict(way, monkeypatch, request):
    """The places of the reply cache are used several times over, since no rows are dropped for long."""
    if way == "on a GPU":
        request.getfixturevalue("decoding_as_on_a_gpu")
    monkeypatch.setattr(decoding_part, "_CAPACITY", 4)
    monkeypatch.setattr(decoding_part, "_CAPACITY_ON_A_GPU", 8)
    model, most, source = packed_model(), 12, random.Random(1)
    prompts = [*tiny_prompts(BASE.chat, 3), tuple(range(5, 8)), (9, 4)]
    joining = {0: [1, 0, 1], 5: [3], 9: [1, 1, 4], 14: [2], 20: [0, 2], 31: [4, 3], 40: [1]}
    dropping = {23: lambda place: place > 3, 33: lambda place: place % 2, 41: lambda place: place}
    decoding = None
    calls: list[list[int]] = []
    began: list[int] = []
    for step in range(45):
        if step in dropping:
            kept = [place for place in range(len(calls)) if dropping[step](place)]
            decoding.keep(torch.tensor(kept))
            calls, began = [calls[place] for place in kept], [began[place] for place in kept]
        if step in joining:
            calls += [list(prompts[prompt]) for prompt in joining[step]]
            began += [step for _ in joining[step]]
            if decoding is None:
                decoding = Packed().start(model, prompts, joining[0], most)
            else:
                decoding.admit(joining[step])
        logits = decoding.logits(torch.tensor([call[-1] for call in calls]))
        for place, call in enumerate(calls):
            if step - began[place] < most:
                assert torch.allclose(
                    logits[place], BASE.model(input_ids=torch.tensor([call])).logits[0, -1], atol=1e-4
                )
            call.append(source.randrange(3, 250))


@torch.no_grad()
def test_what_calls_remember_is_gone_with_them(monkeypatch):
    """Without waiting for the garbage collector: it may hold gigabytes."""
    model = packed_model()
    monkeypatch.setattr(decoding_part, "_on_a_gpu", lambda model: True)
    decoding = Packed().start(model, tiny_prompts(BASE.chat, 2), [0, 1], 8)
    decoding.logits(torch.tensor([5, 6]))
    alive = weakref.ref(decoding)
    gc.disable()
    try:
        del decoding
        assert alive() is None
    finally:
        gc.enable()


class Recorder:
    """Stands in for CUDA's graphs: what was recorded is computed again with what its tensors hold then."""

    def __init__(self):
        self.replayed = 0

    def replay(self):
        self.replayed += 1
        self.again()


@pytest.fixture
def recorders(monkeypatch):
    """Every graph that is recorded."""
    made, devices = [], []

    @contextmanager
    def on(device):
        devices.append(device)
        yield
        devices.pop()

    @contextmanager
    def recording(graph, capture_error_mode):
        assert not gc.isenabled()
        assert devices == [torch.device("cpu")]
        made.append(graph)
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recorder)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "device", on)
    return made


def test_a_step_is_computed_as_it_is_then_recorded_then_replayed(recorders):
    device, given, found, seen = torch.device("cpu"), torch.zeros(2), torch.zeros(2), []

    def doubled():
        seen.append(len(recorders))
        if recorders and not hasattr(recorders[-1], "again"):
            recorders[-1].again = lambda: torch.mul(given, 2, out=found)
        else:
            torch.mul(given, 2, out=found)

    replay = Replay()
    for number in range(5):
        given.fill_(number)
        replay(doubled, device)
        assert found.tolist() == [2 * number] * 2
    assert seen == [0, 1]  # as it is, and to be recorded
    assert recorders[0].replayed == 4
    assert gc.isenabled()
    replay.forget()
    seen.clear()
    for number in range(3):
        given.fill_(number)
        if number == 0:
            del recorders[:]
        replay(doubled, device)
        assert found.tolist() == [2 * number] * 2
    assert seen == [0, 1]


def test_what_cannot_be_recorded_is_computed_as_it_is_and_logged(recorders, caplog):
    device, counted = torch.device("cpu"), torch.zeros(1)

    def reads():
        if not gc.isenabled():
            raise RuntimeError("operation not permitted when stream is capturing")
        counted.add_(1)

    replay = Replay()
    for _ in range(4):
        replay(reads, device)
    replay.forget()
    for _ in range(4):
        replay(reads, device)
    assert counted.item() == 8
    assert len(recorders) == 1
    assert caplog.text.count("cannot be recorded") == 1
    assert gc.isenabled()


@torch.no_grad()
def test_each_distinct_prompt_is_read_once(monkeypatch):
    model = packed_model()
    seen = []
    embed = model.model.embed_tokens.forward
    monkeypatch.setattr(model.model.embed_tokens, "forward", lambda ids: seen.append(len(ids)) or embed(ids))
    prompts = tiny_prompts(BASE.chat, 3)
    Packed().start(model, prompts, [0, 1, 2] * 20, 8)
    assert seen == [len(forest_of([prompt[:-1] for prompt in prompts]).ids)]


def test_padding_is_on_the_right_and_masked():
    ids, mask = pad([[5, 6, 7], [8], []], torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0], [0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]


@torch.no_grad()
def test_remembered_prompts_predict_what_whole_sequences_predict():
    prompts, rows = tiny_prompts(BASE.chat, 3), [2, 0, 0, 1, 2]
    completions = [[7, 8, 9], [10], [11, 12, 13, 14], [15, 16], [17]]
    prefix = prefill(BASE.model, prompts, rows)
    assert prefix.lengths_C.tolist() == [len(prompts[row]) - 1 for row in rows]
    inputs, mask = pad(
        [[prompts[row][-1], *ids] for row, ids in zip(rows, completions, strict=True)], BASE.model.device
    )
    logits = completion_logits(BASE.model, prefix, inputs, mask)
    for index, (row, ids) in enumerate(zip(rows, completions, strict=True)):
        whole = BASE.model(input_ids=torch.tensor([[*prompts[row], *ids]])).logits[0, len(prompts[row]) - 1 :]
        assert torch.allclose(logits[index, : len(ids) + 1], whole, atol=1e-4)


# Which way


def model_of(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


@pytest.mark.parametrize("kind", [LlamaConfig, Qwen2Config, Phi3Config])
def test_usual_models_are_packed(kind):
    extra = {"pad_token_id": 0, "sliding_window": None} if kind is Phi3Config else {}
    model = model_of(kind(**SMALL, **extra))
    assert isinstance(forward_of(model), Packed)


def test_a_window_that_no_layer_has_keeps_no_model_from_being_packed():
    unused = {"use_sliding_window": True, "sliding_window": 80, "layer_types": ["full_attention"] * 2}
    for extra in ({}, unused):
        assert isinstance(forward_of(model_of(Qwen2MoeConfig(**SMALL, **EXPERTS, **extra))), Packed)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (MistralConfig(**SMALL, sliding_window=16), "sliding_window"),
        (Gemma2Config(**SMALL, head_dim=8), "its head says|softcap|sliding_window"),
        (GptOssConfig(**SMALL, num_local_experts=4, layer_types=["full_attention"] * 2), "the option s_aux = a tensor"),
        # These tell a window to their masks alone, and the test calls are shorter than it.
        (PhimoeConfig(**SMALL, sliding_window=80, num_local_experts=4), "a mask, such as one over a window"),
        (Qwen2MoeConfig(**SMALL, **EXPERTS, use_sliding_window=True, sliding_window=80), "a mask, such as one over"),
    ],
)
def test_a_model_that_cannot_be_packed_is_plain_and_says_why(config, why):
    model = model_of(config)
    forward = forward_of(model)
    assert isinstance(forward, Plain)
    assert re.search(why, forward.why)
    calls = [replace(call, completion_ids=tuple(one % 90 for one in call.completion_ids)) for call in transcripts()]
    calls = [replace(call, prompt_ids=tuple(one % 90 for one in call.prompt_ids)) for call in calls]
    scored = forward.score(model, calls)
    for row, wanted in zip(scored.logprobs_CT, plain_logprobs(model, calls), strict=True):
        assert torch.allclose(row[: len(wanted)], wanted, atol=1e-4)
    with pytest.raises(ModelError, match=r"model\.forward = 'packed' is not supported"):
        forward_of(copy.deepcopy(model), "packed")


def test_a_model_that_is_set_up_for_packed_tokens_refuses_other_calls():
    model = packed_model()
    assert model.config._attn_implementation == ATTENTION
    with pytest.raises(ModelError, match="without a layout"):
        model(input_ids=torch.tensor([[1, 2, 3]]))


def test_bfloat16_can_be_packed():
    model = fresh_model().to(torch.bfloat16)
    assert isinstance(forward_of(model), Packed)


# Norms


@pytest.mark.parametrize("number", [torch.float32, torch.bfloat16])
def test_norms_are_known_by_what_they_give(number):
    model = fresh_model().to(number)
    norms = [module for name, module in model.named_modules() if name.endswith("norm")]
    assert len(norms) == 2 * 4 + 1
    for norm in norms:
        norm.weight.data.uniform_(0.5, 1.5)
        assert is_rms_norm(norm)
    other = copy.deepcopy(norms[0])
    other.forward = lambda given: (1 + other.weight) * given / (given.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
    assert not is_rms_norm(other)
    assert not is_rms_norm(model_of(Gemma2Config(**SMALL, head_dim=8)).model.norm)
    assert not any(is_rms_norm(module) for module in model.modules() if module not in norms)


def test_norms_stay_as_they_are_without_a_gpu():
    model = fresh_model()
    fuse_norms(model)
    assert "forward" not in vars(model.model.norm)


# Budgets


@pytest.mark.parametrize("most_tokens", [1, 60, 10**9])
@pytest.mark.parametrize("forward", [Packed(), Plain(), Whole()], ids=["packed", "plain", "whole"])
def test_micro_batches_hold_every_call_once_and_keep_the_limit(forward, most_tokens):
    asked = [*tiny_calls(BASE.chat, ROUTING, count=23), *transcripts(3, 2)]
    batches = micro_batches(asked, forward, most_tokens)
    assert sorted(index for batch in batches for index in batch) == list(range(len(asked)))
    for batch in batches:
        rows = [(*asked[i].prompt_ids, *asked[i].completion_ids) for i in batch]
        tokens = (
            len(forest_of([row[:-1] for row in rows]).ids)
            if forward.name == "packed"
            else max(map(len, rows)) * len(rows)
        )
        assert len(batch) == 1 or tokens <= most_tokens


def test_calls_of_one_prompt_stand_in_one_micro_batch_when_they_fit():
    calls = tiny_calls(BASE.chat, ROUTING, count=24)
    batches = micro_batches(calls, Packed(), 10**9)
    assert len(batches) == 1
    prompts = [calls[index].prompt_ids for index in batches[0]]
    assert prompts == sorted(prompts)


def test_out_of_memory_is_answered_by_a_smaller_budget_and_a_message(caplog):
    calls = tiny_calls(BASE.chat, ROUTING, count=16)
    budget = Budget(Packed(), 10**6)

    def compute(batch):
        if len(batch) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return len(batch)

    found = list(budget.each(calls, compute))
    assert sorted(index for batch, _ in found for index in batch) == list(range(16))
    assert all(count == len(batch) <= 5 for batch, count in found)
    assert budget.max_tokens < 10**6
    assert "out of memory with 16 calls at once: from here on learner.max_tokens_per_micro_batch is" in caplog.text
    caplog.clear()
    assert list(budget.each(calls, compute)) == found or all(
        len(batch) <= 5 for batch, _ in budget.each(calls, compute)
    )
    assert not caplog.text


def test_out_of_memory_with_one_call_says_what_to_do():
    budget = Budget(Plain(), 10**6)

    def compute(batch):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with pytest.raises(LearnerError, match=r"out of memory with one call of \d+ \+ \d+ tokens: use a smaller model"):
        list(budget.each(tiny_calls(BASE.chat, ROUTING, count=4), compute))


def test_other_errors_are_not_taken_for_want_of_memory():
    with pytest.raises(RuntimeError, match="shapes"):
        list(Budget(Plain(), 10).each(tiny_calls(BASE.chat, ROUTING, count=2), lambda batch: _raise()))


def _raise():
    raise RuntimeError("shapes do not fit")


# Nothing changes but the time


def asked(count: int = 60) -> list[Request]:
    prompts = tiny_prompts(BASE.chat, 7)
    return [
        Request(policy="one", prompt_ids=prompts[place % 7], max_tokens=40 - place % 5, temperature=1.0, seed=place)
        for place in range(count)
    ]


def test_the_same_seeds_give_the_same_tokens_whatever_way_they_are_computed():
    found = {}
    for name, options in {
        "packed": {},
        "plain": {"forward": "plain"},
        "few rows": {"max_rows": 7},
        "little room": {"max_cache_tokens": 300},
        "one by one": {"max_rows": 1, "forward": "plain"},
    }.items():
        sampler = InProcess(Engine(BASE.model, BASE.chat.stop_ids, **options))
        asyncio.run(sampler.load(tiny_adapters(BASE.model, ["one"])))
        found[name] = sampled(sampler, asked())
    assert len({len(one.ids) for one in found["packed"]}) > 5
    for other in found.values():
        pairs = list(zip(other, found["packed"], strict=True))
        # A number that falls within rounding of the border between two tokens may fall to either: rare, not never.
        assert sum((one.ids, one.finish) == (two.ids, two.finish) for one, two in pairs) >= 57
        for one, two in pairs:
            same = next(
                (at for at, (mine, theirs) in enumerate(zip(one.ids, two.ids, strict=False)) if mine != theirs), None
            )
            assert one.logprobs[:same] == pytest.approx(two.logprobs[:same], abs=1e-5)


def test_runs_learn_the_same_whatever_way_they_are_computed(tmp_path):
    curves = {}
    for name, table in {
        "packed": {},
        "plain": {"model": {"forward": "plain"}},
        "checkpointing": {"learner": {"gradient_checkpointing": True, "max_tokens_per_micro_batch": 100}},
    }.items():
        run = trained(start(tmp_path / name, table))
        rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        curves[name] = [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]
    for rows in curves.values():
        assert len(rows) == 3
        for row, wanted in zip(rows, curves["packed"], strict=True):
            assert row.keys() == wanted.keys()
            for key, value in row.items():
                if "/mismatch" not in key:
                    assert value == pytest.approx(wanted[key], rel=2e-3, abs=2e-5), key


def test_the_cache_is_passed_by_the_name_that_the_model_has_for_it():
    class Renamed:
        def forward(self, input_ids=None, cache=None): ...

    class Former:
        def forward(self, input_ids=None, past_key_values=None): ...

    class Adapted:
        def get_base_model(self):
            return Renamed()

    assert [_cache_argument(one()) for one in (Renamed, Former, Adapted)] == ["cache", "past_key_values", "cache"]
