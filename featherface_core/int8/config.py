"""What ``featherface export --int8`` was asked for. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from featherface_core.config import check_choice, check_range
from featherface_core.errors import ConfigError, ParameterError

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


NEEDS_INT8 = ("calibration", "calibration_method", "calibration_pictures", "val", "max_drop")


def check_together(given: Mapping[str, Any]) -> None:
    """Raise ParameterError for parameters of an export that have no meaning beside ``int8``, or without it.

    given: name and value of what the caller chose, defaults left out: ``int8``; the fields of Int8Config, two of them as
    ``calibration_method`` and ``calibration_pictures``; ``form``, ``package`` and ``with_postprocess``.
    """
    if "int8" not in given:
        if wrong := [f"`{name}`" for name in NEEDS_INT8 if name in given]:
            raise ParameterError(f"{', '.join(wrong)} without `int8` has no meaning", "add `int8`")
        return
    val, form = given.get("val"), given.get("form", "onnx")
    if val is not None and not val.strip():
        raise ParameterError(f"`val` {val!r} names nothing", "name labelled pictures, or leave `val` out")
    if "max_drop" in given and val is None:
        raise ParameterError(
            f"`max_drop` {given['max_drop']:g} needs an AP to hold against", "name labelled pictures with `val`"
        )
    if form != "onnx":
        raise ParameterError(f"`int8` writes an ONNX file, and `form` {form} is none", "leave out `form`, or `int8`")
    if "package" in given:
        raise ParameterError(
            "`package` promises the outputs of PyTorch, and `int8` changes them", "leave out `package`, or `int8`"
        )
    if "with_postprocess" in given:
        raise ParameterError(
            "`int8` measures the raw outputs, and `with_postprocess` has none",
            "leave out `with_postprocess`, or `int8`",
        )
