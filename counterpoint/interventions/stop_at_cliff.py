"""An end before the fall."""

from collections.abc import Collection, Mapping

from counterpoint.config import Config
from counterpoint.errors import ConfigError
from counterpoint.interventions.base import Intervention, Stop


class StopAtCliff(Intervention):
    """Ends the run at the first cliff warning (`warning/cliff`), with `roll_back` at the weights of the peak.

    The peak is the checkpoint with the best smoothed validation accuracy.
    """

    name = "stop_at_cliff"

    def __init__(self, *, roll_back: bool = True) -> None:
        self._roll_back = roll_back

    def check(self, config: Config, roles: Collection[str]) -> None:
        """Raises ConfigError if there are evaluations without a checkpoint, to which it could not go back."""
        every, save_every = config.evaluation.every, config.run.save_every
        if self._roll_back and every % save_every:
            raise ConfigError(
                f"interventions.stop_at_cliff: run.save_every = {save_every} must divide evaluation.every = {every}, or"
                " the peak may have no checkpoint to roll back to (or set roll_back = false)"
            )

    def stop(self, numbers: Mapping[str, float]) -> Stop | None:
        if not numbers.get("warning/cliff"):
            return None
        return Stop("validation accuracy fell off its peak", self._roll_back)
