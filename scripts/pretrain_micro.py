#!/usr/bin/env python
"""Pre-train a micro base model on synthetic transcripts of the workflows' roles, with deliberate mistakes.

    python scripts/pretrain_micro.py micro-medium --out counterpoint/models/micro-medium

Every problem comes from a train split, so validation and test problems are never seen. At temperature 1 a model is
right part of the time, and reinforcement learning has something to find; `lessons_*.py` say what each is taught. The
same arguments give the same weights on the same machine, also if the call was killed and made again.
"""

import argparse
import copy
import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from lessons_arithmetic import ARITHMETIC
from lessons_both import BOTH
from lessons_synthesis import SYNTHESIS
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transcript import Lessons, Transcript
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

PART = 6
"""So many rows are computed at once, those of like length together, so that little is padded."""
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
    "micro-coder": Size(hidden=128, layers=4, heads=4, intermediate=256),
    "lab-small": Size(hidden=80, layers=3, heads=4, intermediate=240),
    "lab-medium": Size(hidden=128, layers=4, heads=4, intermediate=384),
    "lab-large": Size(hidden=192, layers=5, heads=6, intermediate=640),
}


LESSONS = {
    "micro-small": ARITHMETIC,
    "micro-medium": ARITHMETIC,
    "micro-coder": SYNTHESIS,
    "lab-small": BOTH,
    "lab-medium": BOTH,
    "lab-large": BOTH,
}


def make_tokenizer(lessons: Lessons, seed: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE over the transcripts, with the ChatML template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(lessons.pieces), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=lessons.vocabulary,
        special_tokens=[PAD, "<|im_start|>", END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = ["system\nuser\nassistant\n"] * 4000
    transcripts = [item for batch in lessons.read(seed, 200) for item in batch]
    texts += ["\n".join([*(message["content"] for message in item.messages), item.reply]) for item in transcripts]
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


def pieces(item: Transcript) -> Iterator[tuple[str, bool]]:
    """A transcript as the chat template writes it, in pieces that are to be learned or not."""
    for message in item.messages:
        yield f"<|im_start|>{message['role']}\n", False
        yield f"{message['content']}{END}", item.own and message["role"] == "assistant"
        yield "\n", False
    yield "<|im_start|>assistant\n", False
    if item.drill:
        yield from ((text, text.startswith(" ")) for text in re.split(r"(?<==)|(?<=\n)", item.reply))
    yield f"{'' if item.drill else item.reply}{END}", True


def encoded(batch: list[Transcript], tokenizer: PreTrainedTokenizerFast) -> list[tuple[Tensor, Tensor]]:
    """Transcripts as parts of like length: right-padded ids and labels (B, T), -100 where nothing is learned."""
    rows = []
    for item in batch:
        ids, labels = [], []
        for text, learned in pieces(item):
            found = tokenizer.encode(text, add_special_tokens=False)
            ids += found
            labels += found if learned else [-100] * len(found)
        rows.append((ids, labels))
    rows.sort(key=lambda row: len(row[0]))
    parts = [rows[begin : begin + PART] for begin in range(0, len(rows), PART)]
    return [padded(part, tokenizer.pad_token_id) for part in parts]


def padded(rows: list[tuple[list[int], list[int]]], pad: int) -> tuple[Tensor, Tensor]:
    width = max(len(ids) for ids, _ in rows)
    ids_BT = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in rows])
    labels_BT = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows])
    return ids_BT, labels_BT


def pretrain(name: str, out: Path, *, steps: int, peak_rate: float, seed: int, every: int = 250) -> None:
    """Write a trained model and its tokenizer to `out` as float16 safetensors.

    A call that was killed continues: every so many steps `<out>.pretraining` gets weights in float32 and the optimizer.
    """
    lessons = LESSONS[name]
    tokenizer = make_tokenizer(lessons, seed)
    model = make_model(name, tokenizer, seed)
    print(f"{name}: {sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens", flush=True)
    optimizer = make_optimizer(model)
    state = out.with_name(f"{out.name}.pretraining")
    done = restored(state, model, optimizer)
    began = time.monotonic()
    for step, batch in enumerate(lessons.batches(seed + 1, steps), start=1):
        if step <= done:
            continue
        for group in optimizer.param_groups:
            group["lr"] = peak_rate * min(step / 100, 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.02)
        loss = learned(model, optimizer, encoded(batch, tokenizer))
        if step % 50 == 0 or step == 1:
            print(f"step {step:5d}/{steps}  loss {loss:.4f}  {time.monotonic() - began:6.0f} s", flush=True)
        if step % every == 0 or step == steps:
            made_with = {"steps": step, "peak_rate": peak_rate, "seed": seed}
            save(model, tokenizer, out, {**made_with, "mistakes": lessons.mistakes})
            keep(state, model, optimizer, step)
    state.unlink(missing_ok=True)


def make_optimizer(model: Qwen3ForCausalLM) -> torch.optim.AdamW:
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98))


def learned(model: Qwen3ForCausalLM, optimizer: torch.optim.AdamW, parts: list[tuple[Tensor, Tensor]]) -> float:
    """The mean loss of a token that is to be learned, after one step that lowers it."""
    tokens = sum((labels_BT[:, 1:] != -100).sum() for _, labels_BT in parts)
    optimizer.zero_grad()
    total = torch.zeros(())
    for ids_BT, labels_BT in parts:
        loss = model(input_ids=ids_BT, labels=labels_BT, num_items_in_batch=tokens).loss
        loss.backward()
        total += loss.detach()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return total.item()


def keep(state: Path, model: Qwen3ForCausalLM, optimizer: torch.optim.AdamW, step: int) -> None:
    """What a later call needs to continue, replaced in one piece."""
    unfinished = state.with_name(f"{state.name}.unfinished")
    torch.save({"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, unfinished)
    unfinished.replace(state)


def restored(state: Path, model: Qwen3ForCausalLM, optimizer: torch.optim.AdamW) -> int:
    """The steps that an earlier call made, whose weights and optimizer are loaded; 0 if there was none."""
    if not state.exists():
        return 0
    kept = torch.load(state, weights_only=True)
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    return kept["step"]


def save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path, made_with: dict[str, object]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(out)
    copy.deepcopy(model).half().save_pretrained(out)
    (out / "pretraining.json").write_text(json.dumps(made_with, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(SIZES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3600)
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
