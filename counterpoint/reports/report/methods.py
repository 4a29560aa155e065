"""The thresholds that the methods of a report name, from the code that applies them."""

from collections.abc import Mapping
from dataclasses import fields

from counterpoint.analysis import calibration, cliff, comparison, contrast, falls, milestones, multiplicity, outliers
from counterpoint.analysis.signatures.base import Thresholds


def thresholds() -> Mapping[str, str]:
    """Name in the template -> the number as a sentence has it."""
    return {
        "confidence": f"{100 * contrast.CONFIDENCE:g}",
        "level": f"{1 - contrast.CONFIDENCE:.2g}",
        "power": f"{100 * contrast.POWER:g}",
        "margin": f"{100 * comparison.MARGIN:g}",
        "missing": f"{100 * comparison.MISSING:g}",
        "left_out": f"{100 * comparison.LEFT_OUT:g}",
        "paired": f"{100 * comparison.PAIRED:g}",
        "drop": f"{100 * falls.CLIFF_DROP:g}",
        "draws": f"{falls.DRAWS:,}",
        "last": f"{milestones.LAST}",
        "smooth": f"{milestones.SMOOTH}",
        "exact": f"{multiplicity.EXACT}",
        "flips": f"{multiplicity.DRAWS:,}",
        "fewest": f"{outliers.FEWEST}",
        "unlike": f"{100 * outliers.LEAST:g}",
        "skewed": f"{outliers.SKEWED:g}",
        "far": f"{outliers.FAR:g}",
        "window": f"{cliff.WINDOW}",
        "errors": f"{cliff.ERRORS:g}",
        "row": f"{cliff.ROW}",
        "auc": f"{calibration.LEAST_AUC:g}",
    }


def of_signatures() -> list[tuple[str, str]]:
    """(name, value) of every threshold of the shipped failure signatures."""
    limits = Thresholds()
    return [(one.name.replace("_", " "), f"{getattr(limits, one.name):g}") for one in fields(limits)]
