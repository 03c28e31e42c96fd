"""The ranges that tensors take on real pictures, by onnxruntime's calibrators."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featherface_core.detect.detector import Detector
from featherface_core.errors import DataError
from featherface_core.evaluation.dataset import spread
from featherface_core.int8.quantise import ACTIVATION, LAYERS, quiet
from featherface_core.pictures import PICTURE_SUFFIXES, Picture, read_picture
from featherface_core.results import Floats

LARGEST = 1024  # pixels: larger pictures are scaled down, for a calibrator keeps every tensor of a picture in memory
# the share of values, in per cent, that a range holds
PERCENTILE, BINS = 99.999, 2048
# a threshold is chosen from half the bins that are more than the steps; onnxruntime takes as many, which leaves no choice
ENTROPY_BINS, ENTROPY_STEPS = 256, 128


@dataclass(frozen=True)
class Pictures:
    """Picture files that can be read, those of most contrast first. unreadable: how many of those chosen could not."""

    files: tuple[Path, ...]
    unreadable: int


def find_pictures(folder: Path, at_most: int) -> Pictures:
    """``at_most`` pictures evenly spread over those below a folder, hidden ones left out.

    Raises DataError where there is no folder, or no picture in it that can be read.
    """
    if not folder.is_dir():
        state = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"--calibration {folder} {state}", "name a folder of pictures like those to come")
    files = sorted(p for p in folder.rglob("[!.]*") if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())
    if not files:
        raise DataError(f"--calibration {folder} holds no pictures", "known: " + " ".join(PICTURE_SUFFIXES))
    chosen = [files[i] for i in spread(len(files), at_most)]
    problems: list[DataError] = []
    contrast: dict[Path, float] = {}
    for file in chosen:
        try:
            contrast[file] = float(read_picture(file).std())
        except DataError as problem:
            problems.append(problem)
    if not contrast:
        raise DataError(
            f"--calibration {folder}: none of {len(chosen):,} pictures can be read; {problems[0].message}",
            problems[0].hint,
        )
    return Pictures(tuple(sorted(contrast, key=lambda file: -contrast[file])), len(problems))


def network_input(detector: Detector, picture: Picture) -> Floats:
    """(1, 3, h, w): a picture at its own size, at LARGEST at most, or as a file with a fixed size takes it."""
    size = None if detector.network.fixed or max(picture.shape[:2]) <= LARGEST else LARGEST
    return detector.prepare(picture, size)[0][None]


def measure_ranges(
    file: Path, inputs: Iterator[Floats], name: str, method: str, on_input: Callable[[], None] = lambda: None
) -> Any:
    """The range of every tensor that a quantised layer may read or give, as onnxruntime's TensorsData.

    file: of the float32 network. inputs: (1, 3, h, w) for its input ``name``. on_input: called after each. The first should be
    rich in contrast: the bins of histograms keep the width that suits it.
    """
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    kind, options = {
        "minmax": (CalibrationMethod.MinMax, {}),
        "percentile": (CalibrationMethod.Percentile, {"percentile": PERCENTILE, "num_bins": BINS}),
        "entropy": (
            CalibrationMethod.Entropy,
            {"num_bins": ENTROPY_BINS, "num_quantized_bins": ENTROPY_STEPS},
        ),
    }[method]
    with tempfile.TemporaryDirectory() as folder, quiet():
        calibrator = create_calibrator(
            file, [*LAYERS, ACTIVATION], str(Path(folder) / "augmented.onnx"), kind, extra_options=options
        )
        for pixels in inputs:
            # one by one: it keeps every tensor of all that it is given
            calibrator.collect_data(_Feed([{name: pixels}]))
            on_input()
        return calibrator.compute_data()


class _Feed:
    """A CalibrationDataReader of onnxruntime over a list."""

    def __init__(self, feeds: Sequence[dict[str, Floats]]) -> None:
        self.feeds = list(feeds)

    def get_next(self) -> dict[str, Floats] | None:
        return self.feeds.pop(0) if self.feeds else None
