"""Training: one engine for labels and teachers, its schedules, its checks. This file imports no torch."""

from featherface_core.training.early_stopping import SmartEarlyStopping
from featherface_core.training.monitor import TrainingMonitor

__all__ = ["SmartEarlyStopping", "TrainingMonitor"]
