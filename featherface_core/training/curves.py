"""Curves for TensorBoard, where it is installed: ``pip install featherface[tensorboard]``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Curves:
    """Writes each epoch's numbers below ``folder``/tensorboard; does nothing where TensorBoard is missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tensorboard"
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._writer = SummaryWriter(str(self.folder))

    def add(self, record: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl."""
        if self._writer is None:
            return
        for name, value in record.items():
            if name != "epoch" and value is not None:
                self._writer.add_scalar(name, value, record["epoch"])
        self._writer.flush()
