"""An end before the fall."""

from collections.abc import Mapping

from counterpoint.interventions.base import Intervention, Stop


class StopAtCliff(Intervention):
    """Ends the run at the first cliff warning (`warning/cliff`), with `roll_back` at the weights of the peak.

    The peak is the checkpoint with the best smoothed validation accuracy.
    """

    name = "stop_at_cliff"

    def __init__(self, *, roll_back: bool = True) -> None:
        self._roll_back = roll_back

    def stop(self, numbers: Mapping[str, float]) -> Stop | None:
        if not numbers.get("warning/cliff"):
            return None
        return Stop("validation accuracy fell off its peak", self._roll_back)
