"""How far sampling and learning are from the floor at each scale: the row `floor` for every shipped micro model.

Small matrices are further from the rate of a large one, so a smaller model is further from its floor.
"""

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.base import Figure, Setting
from benchmarks.floor import floor
from counterpoint.models import MICRO_MODELS


def scales(setting: Setting) -> Iterator[Figure]:
    for name in MICRO_MODELS:
        for figure in floor(replace(setting, model=name)):
            yield replace(figure, name=f"{name}: {figure.name}", target=None)
