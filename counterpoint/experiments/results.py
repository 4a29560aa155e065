"""The results that a study leaves in its folder when it ends."""

from pathlib import Path

from counterpoint.experiments.calibrated import FILE, calibrated
from counterpoint.experiments.collect import collect
from counterpoint.experiments.collected import Collected
from counterpoint.experiments.collected_files import write

COLLECTED = "collected"
"""The folder of the results within that of the study."""


def write_results(folder: Path, study: str) -> Collected:
    """The collected results of a study's folder, which holds them and their calibration in `collected/`.

    Raises RunError.
    """
    found = collect([folder])
    write(found, folder / COLLECTED)
    if any(record.state == "finished" and not record.control for record in found.runs):
        calibrated(found, study).write(folder / COLLECTED / FILE)
    return found
