"""Take a policy out of a run: as a PEFT adapter, or merged into its base as a model of its own."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.adapter import ADAPTER_CONFIG, ADAPTER_FILE
from counterpoint.config import PolicySettings
from counterpoint.errors import ConfigError, CounterpointError, ModelError, RunError, unknown
from counterpoint.export.card import Subject, card
from counterpoint.files import partial_of
from counterpoint.models import is_on_hub
from counterpoint.policy import Policy, Routing
from counterpoint.run import Run, Step

if TYPE_CHECKING:
    from counterpoint.export.merging import Merged

DTYPES = ("float32", "bfloat16")
"""The data types that a merged model may have."""
_LONGEST_REASON = 300
"""Characters of what transformers says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The exported policy."""

    folder: Path
    policy: Policy
    step: int
    base: str
    """The name by which transformers loads the base: a folder, or a name on the hub."""
    notes: tuple[str, ...] = ()
    """One line for each fact about the export that a reader of its files would not expect."""


def export(
    run: Run,
    name: str,
    folder: Path,
    *,
    step: Step | None = None,
    merged: bool = False,
    dtype: str = "float32",
) -> Exported:
    """`folder` holds policy `name` as it was at `step` (the last checkpoint if None), its tokenizer and its card.

    An adapter that `peft` loads onto its base, or with `merged` a model that `transformers` loads by itself, in
    `dtype`. The folder is whole, or absent or empty as before, whatever interrupts. Raises ConfigError if there is no
    such policy or it has no weights of its own, RunError if the checkpoint or the place is wanting, ModelError if the
    base cannot be read or the model not saved.
    """
    if dtype not in DTYPES:
        raise ConfigError(unknown("dtype", dtype, DTYPES))
    if dtype != "float32" and not merged:
        raise ConfigError(f"dtype = {dtype!r} is for a merged model (--merged): an adapter is always float32")
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
    found = str(tokenizer.name_or_path)
    subject = Subject(
        run=run,
        policy=policy,
        settings=settings,
        step=step,
        merged=merged,
        dtype=dtype,
        date=chat.date,
        folder=folder.resolve().name,
        base=str(Path(found).resolve()) if Path(found).is_dir() else found,
        stop_ids=sorted(chat.stop_ids),
    )
    with _whole(folder, name) as partial:
        model = _merged(subject, source) if merged else None
        if model is not None:
            model.save(partial)
        else:
            _write_adapter(partial, source, subject.base, settings)
        tokenizer.save_pretrained(str(partial))
        told = replace(subject, rounding=str(model.rounding) if model else "")
        (partial / "README.md").write_text(card(told), encoding="utf-8", errors="backslashreplace")
        _as_readable_as(partial / "README.md")
    return Exported(folder=folder, policy=policy, step=step, base=subject.base, notes=_notes(model, subject))


def _merged(subject: Subject, source: Path) -> "Merged":
    from counterpoint.export.merging import merge  # it imports torch and PEFT

    return merge(subject.settings.model, source, subject.stop_ids, subject.dtype)


def _notes(model: "Merged | None", subject: Subject) -> tuple[str, ...]:
    notes = []
    if model is not None:
        notes += [str(model.rounding), *model.notes]
        if (subject.dtype, subject.settings.model.dtype) == ("float32", "bfloat16"):
            notes.append("float32 takes twice the space of the base, which is in bfloat16; --dtype bfloat16 takes half")
    if subject.date:
        notes.append(f"its chat template tells the date of the run, {subject.date}, on whichever day it is used")
    return tuple(notes)


@contextmanager
def _whole(folder: Path, name: str) -> Iterator[Path]:
    """A folder whose content is that of `folder` at the end, or is gone if anything interrupts.

    A `folder` that is there stays: it may be a mount or the current one, and its permissions are its owner's. Raises
    RunError if it cannot be written, ModelError if transformers cannot save the policy `name`.
    """
    place = folder.resolve()
    is_there = place.is_dir()
    partial = partial_of(_within(place) if is_there else place)
    missing = [parent for parent in reversed(place.parents) if not parent.exists()]
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        if is_there:
            _move_up(partial)
        else:
            partial.rename(place)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in reversed(missing):
            _remove_if_empty(parent)
        if isinstance(error, CounterpointError | MemoryError) or not isinstance(error, Exception):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
            raise RunError(f"{folder} cannot be written: {reason}; nothing of it is left") from error
        raise ModelError(f"policy {name!r} cannot be saved: {reason[:_LONGEST_REASON]}") from error


def _within(folder: Path) -> Path:
    return folder / folder.name


def _move_up(folder: Path) -> None:
    """Everything in the folder is in the one that holds it, and it is gone; or it is as before."""
    entries = sorted(folder.iterdir())
    try:
        for entry in entries:
            entry.rename(folder.parent / entry.name)
        folder.rmdir()
    except BaseException:
        for entry in entries:
            with suppress(OSError):
                (folder.parent / entry.name).rename(entry)
        raise


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def check_empty(folder: Path) -> None:
    """Raises RunError unless the folder is absent or empty; what an earlier export left half done does not count."""
    left = partial_of(_within(folder.resolve())).name
    if folder.exists() and (not folder.is_dir() or any(entry.name != left for entry in folder.iterdir())):
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
    config: dict[str, Any] = json.loads((source / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": base, "inference_mode": True}
    config["revision"] = settings.model.revision if is_on_hub(base) else None
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(source / ADAPTER_FILE, folder / ADAPTER_FILE)
