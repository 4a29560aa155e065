"""Where pages are: as addresses of the viewer, or as files of a bundle, relative to the page that links to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from counterpoint.reports.assets import Assets
from counterpoint.reports.viewer.names import coded

TRAIN = "train"
"""The name of the episodes of training, beside those of the splits that are evaluated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """The addresses of pages of the viewer."""

    assets: Assets
    is_live: bool = True
    """True if the page can ask a server: for its parts, and for lists that are filtered."""

    @property
    def kind(self) -> str:
        """Equal for links that write the same addresses."""
        return "server"

    def home(self, query: Mapping[str, str] | None = None) -> str:
        """The table of runs."""
        return _with("/", query)

    def run(self, id: str) -> str:
        """The page of a run."""
        return f"/run/{id}"

    def study(self, id: str) -> str:
        """The page of a study."""
        return f"/study/{id}"

    def episodes(self, id: str, query: Mapping[str, str]) -> str:
        """A list of episodes; empty where there is no such page."""
        return _with(f"/run/{id}/episodes", query)

    def episode(self, id: str, step: int, split: str, task: str, rollout: int) -> str:
        """One episode; empty where there is no such page."""
        query = {} if split == TRAIN else {"split": split}
        return _with(f"/run/{id}/episode/{step}/{coded(task)}/{rollout}", query)

    def compare(self, query: Mapping[str, str]) -> str:
        """Two runs side by side; empty where there is no such page."""
        return _with("/compare", query)


def _with(path: str, query: Mapping[str, str] | None) -> str:
    given = {name: text for name, text in (query or {}).items() if text != ""}
    return f"{path}?{urlencode(given, errors='surrogateescape')}" if given else path
