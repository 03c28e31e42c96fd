"""What ``featherface export --int8`` was asked for. Imports no torch."""

from dataclasses import dataclass
from typing import Literal

from featherface_core.config import check_choice, check_range
from featherface_core.errors import ConfigError

Method = Literal["percentile", "entropy", "minmax"]


@dataclass(frozen=True)
class Int8Config:
    """calibration: a folder of pictures. method: how the range of a tensor is taken from them. pictures: of it at most, evenly
    spread.

    val: labelled pictures that AP is measured on, as ``featherface eval --data`` has them, "" for none. max_drop: how many
    percentage points an AP figure may fall below float32's, 0 to 100. runs: rounds of the timing.
    """

    calibration: str
    method: Method = "percentile"
    pictures: int = 64
    val: str = ""
    max_drop: float = 1.0
    runs: int = 30

    def __post_init__(self) -> None:
        if not self.calibration:
            raise ConfigError(
                "--int8 without --calibration: no pictures give the ranges of values",
                "name a folder: --calibration DIR",
            )
        check_choice("--calibration-method", self.method, Method)
        check_range("--calibration-pictures", self.pictures, 1, 10_000)
        check_range("--max-drop", self.max_drop, 0.0, 100.0)
        check_range("--runs", self.runs, 3, 100_000)
