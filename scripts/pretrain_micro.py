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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from lessons_synthesis import SYNTHESIS
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transcript import Lessons, Transcript, turns
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from counterpoint.episode import Message
from counterpoint.task import Task
from counterpoint.tasks.arithmetic import arithmetic, steps_of
from counterpoint.workflows import _prompts as prompts
from counterpoint.workflows._parse import read_verdict
from counterpoint.workflows.base import assistant, user

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
    "micro-coder": Size(hidden=128, layers=4, heads=4, intermediate=256),
}


class Mistakes(NamedTuple):
    """How often a transcript goes wrong on purpose."""

    step: float = 0.30
    """A step of a solution has a wrong result, carried on."""
    no_box: float = 0.04
    """A reply that should end with a box does not."""
    choice: float = 0.35
    """Who compares candidates takes any of them instead of a right one."""
    check: float = 0.10
    """A step that is checked is said to be right when it is wrong, or the other way round."""
    refined: float = 0.20
    """A step that is written anew after a review has a wrong result."""
    plan: float = 0.05
    """A proposal solves the problem instead."""


FLAWLESS = Mistakes(step=0.0, no_box=0.0, choice=0.0, check=0.0, refined=0.0, plan=0.0)
ARITHMETIC_PART = 0.25
"""This part of the steps teaches mostly arithmetic, without mistakes."""
SKILL_PART = 0.5
"""From there to this part of the steps mostly checking is taught, without mistakes; then all roles, with them."""


class Line(NamedTuple):
    """A step as it was written down."""

    left: int
    operator: str
    right: int
    result: int

    @property
    def true_result(self) -> int:
        return self.left + self.right if self.operator == "+" else self.left - self.right

    @property
    def holds(self) -> bool:
        return self.result == self.true_result

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right} = {self.result}"


Terms = Sequence[tuple[str, int]]
"""What is added or subtracted, in order; the first is always added."""


def terms_of(task: Task) -> Terms:
    steps = steps_of(task.problem.text)
    return [("+", steps[0][0]), *((operator, right) for _, operator, right, _ in steps)]


def from_left(terms: Terms) -> Terms:
    return terms


def add_first(terms: Terms) -> Terms:
    return [term for term in terms if term[0] == "+"] + [term for term in terms if term[0] == "-"]


def largest_first(terms: Terms) -> Terms:
    return add_first(sorted(terms, key=lambda term: -term[1]))


ORDERS: dict[str, Callable[[Terms], Terms]] = {
    "From left to right.": from_left,
    "Add first, then subtract.": add_first,
    "Largest numbers first.": largest_first,
}
AT_ONCE = "In one step."
"""A strategy that is worse than the others, for the model's own lack of skill."""
STRATEGIES = (*ORDERS, AT_ONCE)


def worked(terms: Terms, source: random.Random, wrong: float) -> list[Line]:
    """Step after step, each with a wrong result as often as `wrong` says."""
    value, lines = terms[0][1], []
    for operator, right in terms[1:]:
        result = value + right if operator == "+" else value - right
        if source.random() < wrong:
            result += source.choice((-10, -2, -1, 1, 2, 10))
        lines.append(Line(value, operator, right, result))
        value = result
    return lines


def boxed(text: object, source: random.Random, mistakes: Mistakes) -> list[str]:
    """A line with a box, or none."""
    return [rf"\boxed{{{text}}}"] if source.random() >= mistakes.no_box else []


def written(lines: Sequence[Line], source: random.Random, mistakes: Mistakes) -> str:
    return "\n".join([*map(str, lines), *boxed(lines[-1].result, source, mistakes)])


def solution(task: Task, source: random.Random, mistakes: Mistakes) -> str:
    """A worked solution, from left to right."""
    return written(worked(terms_of(task), source, mistakes.step), source, mistakes)


def generator(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    return Transcript([user(prompts.solve(task.problem))], solution(task, source, mistakes))


def candidates(task: Task, source: random.Random, mistakes: Mistakes, counts: Sequence[int]) -> list[str]:
    """Solutions of a quality that varies from one set to the next."""
    quality = mistakes._replace(step=source.choice((0.05, mistakes.step, 0.5)))
    return [solution(task, source, quality) for _ in range(source.choice(counts))]


def compared(
    task: Task, solutions: Sequence[str], source: random.Random, mistakes: Mistakes
) -> tuple[int, list[str | None]]:
    """Which candidate is taken, from 0, and what each answers."""
    answers = [task.problem.extract(text) for text in solutions]
    right = [index for index, found in enumerate(answers) if found == task.key]
    pool = right if right and source.random() >= mistakes.choice else list(range(len(solutions)))
    return source.choice(pool), answers


def read_out(answers: Sequence[str | None]) -> str:
    return "Answers: " + ", ".join(found or "none" for found in answers)


def aggregator(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    """The candidates' answers read out, then the number of a right one, unless this transcript is a mistake."""
    solutions = candidates(task, source, mistakes, (2, 3, 3, 3, 3, 4))
    index, answers = compared(task, solutions, source, mistakes)
    choice = boxed(index + 1, source, mistakes) or [str(index + 1)]
    return Transcript([user(prompts.choose(task.problem, solutions))], "\n".join([read_out(answers), *choice]))


def final(
    task: Task, solutions: Sequence[str], messages: list[Message], source: random.Random, mistakes: Mistakes
) -> Transcript:
    """The candidates' answers read out, then a right one of them, unless this transcript is a mistake."""
    index, answers = compared(task, solutions, source, mistakes)
    return Transcript(messages, "\n".join([read_out(answers), *boxed(answers[index] or 0, source, mistakes)]))


def synthesizer(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    solutions = [
        follow(task, source.choice(STRATEGIES), source, mistakes) for _ in range(source.choice((1, 2, 2, 3, 3, 3, 4)))
    ]
    return final(task, solutions, [user(prompts.synthesize(task.problem, solutions))], source, mistakes)


def debater(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    """The second round: one's own solution and the others'."""
    own, *others = candidates(task, source, mistakes, (2, 2, 3, 3))
    messages = [user(prompts.solve(task.problem)), assistant(own), user(prompts.reconsider(task.problem, others))]
    return final(task, [own, *others], messages, source, mistakes)


def orchestrator(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    asked = source.choice((2, 3, 3, 3, 3, 4))
    named = source.sample(STRATEGIES, source.randint(1, asked))
    lines = [f"Strategy {number}: {text}" for number, text in enumerate(named, start=1)]
    reply = solution(task, source, mistakes) if source.random() < mistakes.plan else "\n".join(lines)
    return Transcript([user(prompts.propose(task.problem, asked))], reply)


def follow(task: Task, strategy: str, source: random.Random, mistakes: Mistakes) -> str:
    if strategy != AT_ONCE:
        return written(worked(ORDERS[strategy](terms_of(task)), source, mistakes.step), source, mistakes)
    result = int(task.key) + (source.choice((-10, -2, -1, 1, 2, 10)) if source.random() < mistakes.step else 0)
    sum_itself = task.problem.text.removeprefix("What is ").removesuffix("?")
    return "\n".join([f"{sum_itself} = {result}", *boxed(result, source, mistakes)])


def worker(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    strategy = source.choice(STRATEGIES)
    return Transcript([user(prompts.follow(task.problem, strategy))], follow(task, strategy, source, mistakes))


class Draft(NamedTuple):
    lines: list[Line]
    text: str


class Review(NamedTuple):
    doubted: int | None
    """The first step that is said to be wrong, from 0."""
    text: str


def drafted(task: Task, source: random.Random, mistakes: Mistakes) -> Draft:
    lines = worked(terms_of(task), source, mistakes.step)
    return Draft(lines, written(lines, source, mistakes))


def reviewed(task: Task, draft: Draft, source: random.Random, mistakes: Mistakes) -> Review:
    """Each step computed and compared with what is written; the draft is correct if all agree and it has its box."""
    said = [line.holds != (source.random() < mistakes.check) for line in draft.lines]
    checks = [
        f"{line._replace(result=line.true_result)} / {line.result} {'yes' if right else 'no'}"
        for line, right in zip(draft.lines, said, strict=True)
    ]
    if task.problem.extract(draft.text) is None:
        checks.append("no answer")
    approved = all(said) and task.problem.extract(draft.text) is not None
    verdict = boxed("correct" if approved else "incorrect", source, mistakes)
    return Review(said.index(False) if False in said else None, "\n".join([*checks, *verdict]))


def refined(task: Task, draft: Draft, review: Review, source: random.Random, mistakes: Mistakes) -> Draft:
    """What stands before the doubted step is kept, the rest is written anew; all of it, if no step was doubted."""
    kept = draft.lines[: review.doubted or 0]
    terms = terms_of(task)
    begin = kept[-1].result if kept else terms[0][1]
    rest = worked([("+", begin), *terms[len(kept) + 1 :]], source, mistakes.refined)
    lines = [*kept, *rest]
    return Draft(lines, written(lines, source, mistakes))


def refinement(
    task: Task, source: random.Random, drafting: Mistakes, reviewing: Mistakes
) -> tuple[list[Draft], list[Review]]:
    """One to three drafts, each with its review; an approved one is the last."""
    drafts = [drafted(task, source, drafting)]
    reviews = [reviewed(task, drafts[0], source, reviewing)]
    for _ in range(source.choice((0, 1, 1, 2))):
        if read_verdict(reviews[-1].text):
            break
        drafts.append(refined(task, drafts[-1], reviews[-1], source, drafting))
        reviews.append(reviewed(task, drafts[-1], source, reviewing))
    return drafts, reviews


JOINT = 0.2
"""This part of the refinements has one transcript for both roles."""


def joint(task: Task, drafts: Sequence[Draft], reviews: Sequence[Review]) -> list[Message]:
    said = [assistant(one.text) for pair in zip(drafts, reviews, strict=False) for one in pair]
    return [user(prompts.solve(task.problem)), *said]


def evaluator(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    drafts, reviews = refinement(task, source, Mistakes(), mistakes)
    if source.random() < JOINT:
        said = joint(task, drafts[:-1], reviews[:-1])
        return Transcript([*said, assistant(drafts[-1].text), user(prompts.judge_above())], reviews[-1].text)
    asked = [prompts.judge(task.problem, drafts[0].text), *(prompts.judge_again(draft.text) for draft in drafts[1:])]
    return Transcript(turns(asked, [review.text for review in reviews]), reviews[-1].text, own=True)


def refiner(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    """The generator's later turns, after a draft that was not approved."""
    drafts, reviews = refinement(task, source, mistakes, Mistakes())
    while read_verdict(reviews[-1].text):
        drafts, reviews = refinement(task, source, mistakes, Mistakes())
    last = refined(task, drafts[-1], reviews[-1], source, mistakes)
    if source.random() < JOINT:
        return Transcript([*joint(task, drafts, reviews), user(prompts.refine_above(task.problem))], last.text)
    asked = [prompts.solve(task.problem), *(prompts.refine(task.problem, review.text) for review in reviews)]
    return Transcript(turns(asked, [draft.text for draft in drafts]), last.text)


class Role(NamedTuple):
    make: Callable[[Task, random.Random, Mistakes], Transcript]
    rows: int
    """Transcripts a step, so that all roles' steps cost about the same."""
    arithmetic: float
    """How often a step of the first part is this role's."""
    checking: float
    """How often a step of the second part is."""
    playing: float
    """How often a step of the last part is."""


ROLES = (
    Role(generator, rows=56, arithmetic=6.0, checking=2.0, playing=1.2),
    Role(worker, rows=48, arithmetic=2.0, checking=1.0, playing=1.0),
    Role(evaluator, rows=24, arithmetic=1.0, checking=6.0, playing=2.0),
    Role(refiner, rows=16, arithmetic=0.0, checking=0.0, playing=1.2),
    Role(aggregator, rows=22, arithmetic=0.0, checking=0.0, playing=1.0),
    Role(synthesizer, rows=24, arithmetic=0.0, checking=0.0, playing=0.8),
    Role(debater, rows=22, arithmetic=0.0, checking=0.0, playing=0.5),
    Role(orchestrator, rows=48, arithmetic=0.0, checking=0.0, playing=0.4),
)


def weight_at(role: Role, done: float) -> float:
    """How often a step is the role's, when this part of all steps is done."""
    if done < ARITHMETIC_PART:
        return role.arithmetic
    return role.checking if done < SKILL_PART else role.playing


def batches(seed: int, steps: int) -> Iterator[list[Transcript]]:
    """One list of transcripts a step, all of one role, over several difficulties."""
    source = random.Random(seed)
    pools = [
        arithmetic(operands=operands, high=high, train=size, validation=1, test=1, seed=seed).train
        for operands, high, size in ((2, 30, 500), (3, 30, 6000), (3, 50, 6000), (4, 30, 6000))
    ]
    for step in range(steps):
        role = source.choices(ROLES, weights=[weight_at(role, step / steps) for role in ROLES])[0]
        mistakes = FLAWLESS if step < SKILL_PART * steps else Mistakes()
        tasks = (source.choice(pool) for pool in source.choices(pools, weights=(1, 5, 1, 2), k=role.rows))
        yield [role.make(task, source, mistakes) for task in tasks]


ARITHMETIC = Lessons(
    batches,
    mistakes=Mistakes()._asdict(),
    pieces=r" ?\\boxed\{| ?\d|\n+| ?[A-Za-z]+| ?[^\sA-Za-z\d]",
    vocabulary=640,
)
LESSONS = {"micro-coder": SYNTHESIS}
"""What models learn that do not learn arithmetic."""


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
    transcripts = [item for batch in lessons.batches(seed, 200) for item in batch]
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
    for message in [*item.messages, assistant(item.reply)]:
        learned = message["role"] == "assistant" and (item.own or message["content"] is item.reply)
        yield f"<|im_start|>{message['role']}\n", False
        yield f"{message['content']}{END}", learned
        yield "\n", False


def encoded(batch: list[Transcript], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    """Transcripts as right-padded ids and labels (B, T); what is not to be learned carries label -100."""
    rows = []
    for item in batch:
        ids, labels = [], []
        for text, learned in list(pieces(item))[:-1]:
            found = tokenizer.encode(text, add_special_tokens=False)
            ids += found
            labels += found if learned else [-100] * len(found)
        rows.append((ids, labels))
    width = max(len(ids) for ids, _ in rows)
    ids_BT = torch.tensor([ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids, _ in rows])
    labels_BT = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows])
    return ids_BT, labels_BT


def pretrain(name: str, out: Path, *, steps: int, peak_rate: float, seed: int) -> None:
    """Write a trained model and its tokenizer to `out` as float16 safetensors."""
    lessons = LESSONS.get(name, ARITHMETIC)
    tokenizer = make_tokenizer(lessons, seed)
    model = make_model(name, tokenizer, seed)
    print(f"{name}: {sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens")
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}], lr=0.0, betas=(0.9, 0.98)
    )
    began = time.monotonic()
    for step, batch in enumerate(lessons.batches(seed + 1, steps), start=1):
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
            made_with = {"steps": step, "peak_rate": peak_rate, "seed": seed}
            save(model, tokenizer, out, {**made_with, "mistakes": lessons.mistakes})


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
