"""Take a policy out of a run: as a PEFT adapter, or merged into its base as a model of its own."""

import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.adapter import ADAPTER_CONFIG, ADAPTER_FILE
from counterpoint.config import PolicySettings
from counterpoint.errors import ConfigError, ModelError, RunError, unknown
from counterpoint.export.card import Subject, card
from counterpoint.models import is_on_hub
from counterpoint.policy import Policy, Routing
from counterpoint.run import Run, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The exported policy."""

    folder: Path
    policy: Policy
    step: int
    base: str
    """The name by which transformers loads the base: a folder, or a name on the hub."""


def export(run: Run, name: str, folder: Path, *, step: Step | None = None, merged: bool = False) -> Exported:
    """`folder` holds policy `name` as it was at `step` (the last checkpoint if None), its tokenizer and its card.

    An adapter that `peft` loads onto its base, or with `merged` a model that `transformers` loads by itself, in the
    recipe's dtype. The folder is whole or absent. Raises ConfigError if there is no such policy or it has no weights of
    its own, RunError if the checkpoint or the place is wanting, ModelError if the base cannot be read.
    """
    policy = _policy(run, name)
    settings = _with_weights(run, policy)
    step = run.saved_step(step)
    source = run.checkpoint_path(step) / name
    if not (source / ADAPTER_FILE).is_file() or not (source / ADAPTER_CONFIG).is_file():
        raise RunError(f"{source} does not hold an adapter: the checkpoint is damaged")
    check_empty(folder)
    from transformers import PreTrainedTokenizerBase  # after whatever can be wrong without it

    from counterpoint.base_model import load_chat

    chat = load_chat(settings.model)
    tokenizer = chat.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ModelError(f"model.path = {settings.model.path!r}: its tokenizer cannot be saved")
    stop_ids = sorted(chat.stop_ids)
    found = str(tokenizer.name_or_path)
    base = str(Path(found).resolve()) if Path(found).is_dir() else found
    subject = Subject(
        run=run,
        policy=policy,
        settings=settings,
        step=step,
        merged=merged,
        folder=folder.resolve().name,
        base=base,
        stop_ids=stop_ids,
    )
    partial = folder.resolve().with_name(f".{subject.folder}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if merged:
        _write_merged(partial, source, settings, stop_ids)
    else:
        _write_adapter(partial, source, base, settings)
    tokenizer.save_pretrained(str(partial))
    (partial / "README.md").write_text(card(subject))
    _as_readable_as(partial / "README.md")
    partial.rename(folder.resolve())
    return Exported(folder=folder, policy=policy, step=step, base=base)


def check_empty(folder: Path) -> None:
    """Raises RunError unless the folder is absent or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} exists and is not empty: choose another directory for the policy")


def _policy(run: Run, name: str) -> Policy:
    routes = run.facts.get("routing")
    if routes is None:
        raise RunError(f"{run.path} has not begun: its run.json does not say which policies it has")
    table = {role: found if isinstance(found, str) else tuple(found) for role, found in routes.items()}
    policies = {policy.name: policy for policy in Routing(table).policies}
    if name not in policies:
        raise ConfigError(unknown("policy", name, policies))
    return policies[name]


def _with_weights(run: Run, policy: Policy) -> PolicySettings:
    settings = run.config.policy_settings(policy.name)
    if settings.endpoint is not None:
        raise ConfigError(f"policy {policy.name!r} is played by an endpoint: it has no weights here to export")
    if not settings.trainable and not settings.adapter:
        raise ConfigError(
            f"policy {policy.name!r} is frozen and without an adapter: it is its base, {settings.model.path!r}, and has"
            " no weights of its own to export"
        )
    return settings


def _as_readable_as(file: Path) -> None:
    """The other files of its folder have the permissions of `file`; safetensors writes its own for the owner alone."""
    for other in file.parent.iterdir():
        if other.is_file():
            other.chmod(file.stat().st_mode)


def _write_adapter(folder: Path, source: Path, base: str, settings: PolicySettings) -> None:
    """The saved adapter, which names a base that can be found."""
    config: dict[str, Any] = json.loads((source / ADAPTER_CONFIG).read_text())
    config |= {"base_model_name_or_path": base, "inference_mode": True}
    config["revision"] = settings.model.revision if is_on_hub(base) else None
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    shutil.copyfile(source / ADAPTER_FILE, folder / ADAPTER_FILE)


def _write_merged(folder: Path, source: Path, settings: PolicySettings, stop_ids: list[int]) -> None:
    """The base with the adapter added in float32, rounded once to the recipe's dtype."""
    from peft import PeftModel

    from counterpoint.base_model import DTYPES, load_base_model

    exact = settings.model.model_copy(update={"dtype": "float32", "device": "cpu"})
    with warnings.catch_warnings():
        # PEFT still asks transformers by this name, and no user of ours can change that.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        adapted = PeftModel.from_pretrained(load_base_model(exact).model, str(source))
    model = adapted.merge_and_unload().to(DTYPES[settings.model.dtype])
    model.generation_config.eos_token_id = stop_ids
    model.save_pretrained(str(folder))
    for file in folder.glob("*.safetensors"):  # which safetensors leaves for its owner alone
        file.chmod((folder / "config.json").stat().st_mode)
