"""Dashboards of others that a run's numbers are sent to while it trains."""

from counterpoint.family import Family
from counterpoint.trackers.base import Tracker

TRACKERS: Family[Tracker] = Family(
    "tracker",
    {
        "wandb": "counterpoint.trackers.wandb:Wandb",
        "trackio": "counterpoint.trackers.trackio:Trackio",
        "tensorboard": "counterpoint.trackers.tensorboard:TensorBoard",
        "mlflow": "counterpoint.trackers.mlflow:MLflow",
    },
    takes=Tracker,
)
