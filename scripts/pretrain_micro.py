#!/usr/bin/env python
"""Pre-train a micro base model on synthetic transcripts of the workflows' roles, with deliberate mistakes.

    python scripts/pretrain_micro.py micro-medium --out counterpoint/models/micro-medium

Every problem comes from the train split of `arithmetic`, so validation and test problems are never seen. The mistakes
are noise, not ignorance: at temperature 1 the model is right part of the time, and reinforcement learning has something
to find. The same arguments give the same weights on the same machine.
"""

import argparse
import copy
import json
import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from counterpoint.task import Task
from counterpoint.tasks.arithmetic import arithmetic, steps_of
from counterpoint.workflows import _prompts as prompts

VOCABULARY = 640
END = "<|im_end|>"
PAD = "<|endoftext|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


class Size(NamedTuple):
    hidden: int
    layers: int
    heads: int
    intermediate: int


SIZES = {
    "micro-small": Size(hidden=80, layers=3, heads=4, intermediate=240),
    "micro-medium": Size(hidden=128, layers=4, heads=4, intermediate=384),
    "micro-large": Size(hidden=192, layers=5, heads=6, intermediate=640),
}


class Mistakes(NamedTuple):
    """How often a transcript goes wrong on purpose."""

    step: float = 0.30
    """A step of a solution has a wrong result, carried on."""
    no_box: float = 0.04
    """A solution or a choice ends without a box."""
    choice: float = 0.35
    """The aggregator chooses at random instead of a right solution."""


FLAWLESS = Mistakes(step=0.0, no_box=0.0, choice=0.0)
SKILL_PART = 0.6
"""This part of the steps teaches arithmetic without mistakes; the rest teaches all roles, with them."""


class Transcript(NamedTuple):
    prompt: str
    reply: str


def solution(task: Task, source: random.Random, mistakes: Mistakes) -> str:
    """A worked solution."""
    terms = steps_of(task.problem.text)
    value = terms[0][0]
    lines = []
    for _, operator, right, _ in terms:
        result = value + right if operator == "+" else value - right
        if source.random() < mistakes.step:
            result += source.choice((-10, -2, -1, 1, 2, 10))
        lines.append(f"{value} {operator} {right} = {result}")
        value = result
    if source.random() >= mistakes.no_box:
        lines.append(rf"\boxed{{{value}}}")
    return "\n".join(lines)


def generator_transcript(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    return Transcript(prompts.solve(task.problem), solution(task, source, mistakes))


def aggregator_transcript(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    """The candidates' answers read out, then the number of a right one, unless this transcript is a mistake."""
    candidates = mistakes._replace(step=source.choice((0.05, mistakes.step, 0.5)))
    solutions = [solution(task, source, candidates) for _ in range(source.choice((2, 3, 3, 3, 3, 4)))]
    answers = [task.problem.extract(text) for text in solutions]
    right = [index for index, answer in enumerate(answers) if answer == task.key]
    pool = right if right and source.random() >= mistakes.choice else range(len(solutions))
    number = source.choice(list(pool)) + 1
    read_out = ", ".join(answer or "none" for answer in answers)
    choice = rf"\boxed{{{number}}}" if source.random() >= mistakes.no_box else str(number)
    return Transcript(prompts.choose(task.problem, solutions), f"Answers: {read_out}\n{choice}")


class Role(NamedTuple):
    make: Callable[[Task, random.Random, Mistakes], Transcript]
    rows: int
    """Transcripts a step, so that all roles' steps cost about the same."""
    weight: float
    """How often a step is this role's."""


ROLES = (Role(generator_transcript, rows=80, weight=1.0), Role(aggregator_transcript, rows=32, weight=1.0))


def batches(seed: int, steps: int) -> Iterator[list[Transcript]]:
    """One list of transcripts a step, all of one role, over several difficulties."""
    source = random.Random(seed)
    pools = [
        arithmetic(operands=operands, high=high, train=size, validation=1, test=1, seed=seed).train
        for operands, high, size in ((2, 30, 500), (3, 30, 6000), (3, 50, 6000), (4, 30, 6000))
    ]
    for step in range(steps):
        skill = step < SKILL_PART * steps
        role = ROLES[0] if skill else source.choices(ROLES, weights=[role.weight for role in ROLES])[0]
        mistakes = FLAWLESS if skill else Mistakes()
        tasks = (source.choice(pool) for pool in source.choices(pools, weights=(1, 5, 1, 2), k=role.rows))
        yield [role.make(task, source, mistakes) for task in tasks]


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE over the transcripts, digits one by one, with the ChatML template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\\boxed\{| ?\d|\n+| ?[A-Za-z]+| ?[^\sA-Za-z\d]"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, "<|im_start|>", END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = ["system\nuser\nassistant\n"] * 4000
    texts += [f"{item.prompt}\n{item.reply}" for batch in batches(seed, 100) for item in batch]
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, model_max_length=2048)
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_model(name: str, tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    size = SIZES[name]
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads // 2,
        head_dim=size.hidden // size.heads,
        intermediate_size=size.intermediate,
        max_position_embeddings=2048,
        rope_theta=10_000.0,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        initializer_range=0.05,
    )
    return Qwen3ForCausalLM(config)


def encoded(batch: list[Transcript], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    """Transcripts as right-padded ids and labels (B, T); the prompt and the padding carry label -100."""
    pairs = []
    for item in batch:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": item.prompt}], tokenize=False, add_generation_prompt=True
        )
        prompt = tokenizer.encode(text, add_special_tokens=False)
        reply = tokenizer.encode(item.reply + END, add_special_tokens=False)
        pairs.append((prompt, reply))
    width = max(len(prompt) + len(reply) for prompt, reply in pairs)
    ids_BT = torch.full((len(batch), width), tokenizer.pad_token_id)
    labels_BT = torch.full((len(batch), width), -100)
    for row, (prompt, reply) in enumerate(pairs):
        end = len(prompt) + len(reply)
        ids_BT[row, :end] = torch.tensor(prompt + reply)
        labels_BT[row, len(prompt) : end] = torch.tensor(reply)
    return ids_BT, labels_BT


def pretrain(name: str, out: Path, *, steps: int, peak_rate: float, seed: int) -> None:
    """Write a trained model and its tokenizer to `out` as float16 safetensors."""
    tokenizer = make_tokenizer(seed)
    model = make_model(name, tokenizer, seed)
    print(f"{name}: {sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens")
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}], lr=0.0, betas=(0.9, 0.98)
    )
    began = time.monotonic()
    for step, batch in enumerate(batches(seed + 1, steps), start=1):
        for group in optimizer.param_groups:
            group["lr"] = peak_rate * min(step / 100, 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.02)
        ids_BT, labels_BT = encoded(batch, tokenizer)
        loss = model(input_ids=ids_BT, labels=labels_BT).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == 1:
            print(f"step {step:5d}/{steps}  loss {loss.item():.4f}  {time.monotonic() - began:6.0f} s", flush=True)
        if step % 500 == 0 or step == steps:
            save(model, tokenizer, out, {"steps": step, "peak_rate": peak_rate, "seed": seed})


def save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path, made_with: dict[str, float]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(out)
    copy.deepcopy(model).half().save_pretrained(out)
    (out / "pretraining.json").write_text(json.dumps({**made_with, "mistakes": Mistakes()._asdict()}, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(SIZES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pretrain(
        arguments.name,
        arguments.out,
        steps=arguments.steps,
        peak_rate=arguments.rate,
        seed=arguments.seed,
    )


if __name__ == "__main__":
    main()
