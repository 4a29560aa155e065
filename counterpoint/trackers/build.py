"""The trackers that a recipe names: whether they can be made, and what each is called in a run."""

from collections import Counter
from collections.abc import Sequence
from importlib.machinery import PathFinder

from counterpoint.config import Config
from counterpoint.errors import ConfigError
from counterpoint.family import plain
from counterpoint.options import Spec
from counterpoint.trackers import TRACKERS
from counterpoint.trackers.base import Tracker


def check_trackers(specs: Sequence[Spec]) -> None:
    """Raises ConfigError if a tracker cannot be made, its package is not installed, or two have one name."""
    for label, count in Counter(map(label_of, specs)).items():
        if count > 1:
            raise ConfigError(f"track: {count} trackers have the name {label!r}, which each has once")
    for spec in specs:
        tracker = build_tracker(spec)
        if tracker.package and not _is_installed(tracker.package):
            install = f"counterpoint[{tracker.extra}]" if tracker.extra else tracker.package
            raise ConfigError(f"track: pip install '{install}' first ({tracker.package} is not installed)")


def build_tracker(spec: Spec) -> Tracker:
    """The tracker that a recipe names, with its options. Raises ConfigError."""
    member = TRACKERS.build(spec, f"track.{label_of(spec)}")
    if not isinstance(member, Tracker):
        raise ConfigError(
            f"tracker {spec.name!r} is a {type(member).__name__}: it must be a subclass of counterpoint.Tracker"
        )
    return member


def label_of(spec: Spec) -> str:
    """The name of a tracker in `run.json` and in `trackers/`."""
    return plain(spec.name).rpartition(":")[2]


def repeats_differ(config: Config) -> bool:
    """True if a step that is repeated after a kill may differ, because an endpoint answers again."""
    return any(settings.endpoint is not None for settings in config.policy.values())


def _is_installed(package: str) -> bool:
    """True if there is a package of this name; the folder `wandb` that wandb makes is none."""
    found = PathFinder.find_spec(package)
    return found is not None and found.origin is not None
