"""The model card of an exported policy; every number in it is read from the run's directory."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from counterpoint.analysis.intervals import Interval, interval
from counterpoint.analysis.summary import Course, RoleCourse, summarize
from counterpoint.config import EvaluationConfig, ModelConfig, PolicySettings
from counterpoint.errors import counted
from counterpoint.models import MICRO_MODELS, is_on_hub
from counterpoint.options import Spec
from counterpoint.policy import Policy
from counterpoint.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The exported policy that a card describes."""

    run: Run
    policy: Policy
    settings: PolicySettings
    step: int
    """The step of the checkpoint that was exported."""
    merged: bool
    """True if the folder holds a merged model instead of an adapter."""
    dtype: str
    """The data type of a merged model."""
    date: str
    """The date that the chat template tells; empty if it tells none."""
    folder: str
    """The name of the folder that holds the card."""
    base: str
    """The name by which transformers loads the base: a folder, or a name on the hub."""
    stop_ids: Sequence[int]
    """The tokens that end a reply."""
    rounding: str = ""
    """The loss by the rounding of a merged model, in words."""


def card(subject: Subject) -> str:
    """The text of `README.md`: front matter, introduction, training, results, and code that loads the policy."""
    parts = [_front_matter(subject), _introduction(subject), _training(subject), _results(subject), _loading(subject)]
    return "\n\n".join(parts) + "\n"


def _front_matter(subject: Subject) -> str:
    model = subject.settings.model
    about = {
        "base_model": model.path,
        "base_model_relation": "finetune" if subject.merged else "adapter",
        "library_name": "transformers" if subject.merged else "peft",
        "pipeline_tag": "text-generation",
        "tags": ["counterpoint", "multi-agent", "reinforcement-learning", subject.run.config.workflow.name]
        + ([] if subject.merged else ["lora"]),
    }
    # JSON is YAML: names that a user chose cannot break out of it.
    return "\n".join(["---", *(f"{key}: {_quoted(value)}" for key, value in about.items()), "---"])


def _introduction(subject: Subject) -> str:
    config, roles = subject.run.config, " and ".join(f"`{role}`" for role in subject.policy.roles)
    kind = "The whole model, adapter merged," if subject.merged else "A LoRA adapter"
    plural = "roles" if len(subject.policy.roles) > 1 else "role"
    return (
        f"# {subject.policy.name}\n\n{kind} for the {plural} {roles} of the multi-agent workflow"
        f" `{config.workflow.name}`, trained with counterpoint. It answers the prompts of that workflow; by itself"
        " it is not a chat assistant."
        + (f" Its weights are in {subject.dtype}: {subject.rounding}." if subject.merged else "")
    )


def _training(subject: Subject) -> str:
    config, settings, facts = subject.run.config, subject.settings, subject.run.facts
    algorithm, rollouts, model = config.algorithm, config.rollout, settings.model
    adapted = _adapted(subject)
    on = f"on {adapted['on']}" if adapted else "all linear layers"
    names = {
        key: _named(getattr(algorithm, key))
        for key in ("credit", "advantage", "loss", "aggregation", "correction", "kl")
    }
    revision = f", revision `{model.revision}`" if is_on_hub(model.path) else ""
    rows = {
        "base": f"`{model.path}`{revision}, {model.dtype}",
        "task": _named(config.task),
        **{f"{split} split, SHA-256": f"`{digest}`" for split, digest in facts.get("tasks", {}).items()},
        "workflow": _named(config.workflow),
        "sharing": _sharing(config.policies.sharing),
        "algorithm": ", ".join(f"{key} {value}" for key, value in names.items()),
        "steps": f"{subject.step} of {config.run.steps}, each {counted(rollouts.tasks_per_step, 'problem')} x"
        f" {counted(rollouts.group_size, 'episode')}",
        "trained": _trained(settings),
        "adapter": f"rank {settings.rank}, alpha {settings.alpha:g}, {on}",
        "not adapted": adapted.get("not_on", ""),
        "sampling": f"temperature {rollouts.temperature:g}, at most {counted(rollouts.max_tokens, 'token')} per call",
        "seed": str(config.run.seed),
        "date": f"{subject.date}, which the chat template here tells on whichever day it is used" * bool(subject.date),
        "versions": ", ".join(f"{name} {version}" for name, version in facts.get("versions", {}).items()),
        "commit": f"`{facts['commit']}`" if facts.get("commit") else "",
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items() if value]
    return "\n".join(["## Training", "", "| | |", "|---|---|", *lines])


def _adapted(subject: Subject) -> Mapping[str, str]:
    """The layers that got adapters, the parts that did not, and the class that loads the base, unless all is usual."""
    found: Mapping[str, str] = subject.run.facts.get("adapters", {}).get(subject.policy.name, {})
    return found


def _trained(settings: PolicySettings) -> str:
    start = f", from the adapter `{settings.adapter}`" if settings.adapter else ""
    if not settings.trainable:
        return f"not in this run: frozen{start}"
    return f"AdamW, learning rate {settings.learning_rate:g}{start}"


def _results(subject: Subject) -> str:
    """Accuracy on the test split: at the base, the peak and the end of the run, and of this checkpoint."""
    rows, final = subject.run.evaluation_rows(), subject.run.final_rows()
    of_here = [row for row in (*final, *rows) if row["split"] == "test" and row["step"] == subject.step]
    here = of_here[0] if of_here else None
    course = summarize(rows, final)
    columns: dict[str, dict[str, Interval]] = {}
    if course is not None:
        courses: dict[str, Course | RoleCourse] = {"team": course.team, **course.roles}
        columns["base"] = _stage(courses, "base")
        columns[f"peak (step {course.peak_step})"] = _stage(courses, "peak")
        steps = ", ".join(map(str, course.terminal_steps))
        columns[f"terminal (steps {steps})"] = _stage(courses, "terminal")
    if here is not None:
        columns[f"this checkpoint (step {subject.step})"] = _accuracies(here)
    if not columns:
        return "## Results\n\nThe run holds no evaluation of this checkpoint."
    shown = [name for name in ("team", *subject.policy.roles) if any(name in column for column in columns.values())]
    table = [["", *columns], ["---"] * (1 + len(columns))]
    table += [[name, *(_shown(column.get(name)) for column in columns.values())] for name in shown]
    count = next(iter(columns.values()))["team"].n
    sampled = _sampled(subject.run.config.evaluation, final=bool(final))
    return "\n".join(
        [
            "## Results",
            "",
            f"Accuracy on {counted(count, 'test problem')} in the workflow it was trained in, %, with 95 % intervals"
            f" over problems ({sampled}). Validation accuracy chooses the peak.",
            "",
            *("| " + " | ".join(cells) + " |" for cells in table),
        ]
    )


def _sampled(config: EvaluationConfig, *, final: bool) -> str:
    one, count = "one episode per problem", config.final_samples if final else config.samples
    episodes = one if count == 1 else f"{count} episodes per problem"
    return f"{episodes}, sampled at temperature {config.temperature:g}"


def _accuracies(row: Mapping[str, Any]) -> dict[str, Interval]:
    outcomes = {"team": row["outcomes"], **row["roles"]}
    return {name: interval([fmean(values) for values in found.values()]) for name, found in outcomes.items()}


def _stage(courses: Mapping[str, Course | RoleCourse], name: str) -> dict[str, Interval]:
    found = {who: getattr(course, name) for who, course in courses.items()}
    return {who: one for who, one in found.items() if one is not None}


def _shown(found: Interval | None) -> str:
    if found is None:
        return "-"
    value, low, high = (100 * part for part in found[:3])
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _loading(subject: Subject) -> str:
    """Code that loads the policy; it runs unchanged beside the folder if the base model is available."""
    model, folder = subject.settings.model, _quoted(subject.folder)
    shipped = model.path in MICRO_MODELS
    dtype = f"dtype=torch.{subject.dtype if subject.merged else model.dtype}"
    loader = _adapted(subject).get("loader", "AutoModelForCausalLM")
    if subject.merged:
        loaded = [f"model = {loader}.from_pretrained({folder}, {dtype})"]
    else:
        place = f"str(micro_model({_quoted(model.path)}))" if shipped else _quoted(subject.base)
        loaded = [
            f"base = {loader}.from_pretrained({place}{_source(model)}, {dtype})",
            f"model = PeftModel.from_pretrained(base, {folder})",
        ]
    options = "".join(f", {name}={value!r}" for name, value in model.template_options.items())
    return "\n".join(
        [
            "## Use",
            "",
            *_where_the_base_is(subject),
            "```python",
            "import torch",
            *([] if subject.merged else ["from peft import PeftModel"]),
            f"from transformers import {loader}, AutoTokenizer",
            *(["", "from counterpoint.models import micro_model"] if shipped and not subject.merged else []),
            "",
            *loaded,
            f"tokenizer = AutoTokenizer.from_pretrained({folder})",
            'messages = [{"role": "user", "content": "..."}]',
            "prompt = tokenizer.apply_chat_template(",
            f'    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True{options}',
            ")",
            f"reply = model.generate(**prompt, max_new_tokens={subject.run.config.rollout.max_tokens}, do_sample=False,"
            f" eos_token_id={list(subject.stop_ids)})",
            'print(tokenizer.decode(reply[0, prompt["input_ids"].shape[1] :]))',
            "```",
        ]
    )


def _where_the_base_is(subject: Subject) -> list[str]:
    if subject.merged or is_on_hub(subject.base):
        return []
    return [
        "`adapter_config.json` names the base by its path on the machine on which the policy was exported. On another"
        " machine, load the base yourself, as here, with its path there.",
        "",
    ]


def _source(model: ModelConfig) -> str:
    """The further arguments with which transformers loads the base."""
    if model.path.endswith(".gguf"):
        return f", gguf_file={_quoted(Path(model.path).name)}"
    return f", revision={_quoted(model.revision)}" if is_on_hub(model.path) else ""


def _named(spec: Spec) -> str:
    """A member and its options, such as `voting (votes = 3)`."""
    options = ", ".join(f"{name} = {_quoted(value)}" for name, value in spec.options.items())
    return f"{spec.name} ({options})" if options else spec.name


def _sharing(sharing: str | Mapping[str, str | Sequence[str]]) -> str:
    return sharing if isinstance(sharing, str) else f"`{_quoted(sharing)}`"


def _quoted(value: Any) -> str:
    """The value as JSON that YAML and Python read too: they take the escapes of JSON for halves of a character."""
    return json.dumps(value, ensure_ascii=False)
