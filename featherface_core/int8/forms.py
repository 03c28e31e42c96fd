"""A network in float32, float16 and int8: size, time and AP beside each other."""

from collections.abc import Sequence
from pathlib import Path

from featherface_core.bench.candidate import Setting, Source
from featherface_core.bench.config import SIZE
from featherface_core.bench.rounds import Rounds
from featherface_core.bench.starts import measure_rounds
from featherface_core.bench.statistics import latency, ratio
from featherface_core.detect import Detector
from featherface_core.events import Listener, Progress
from featherface_core.int8.precision import Figures
from featherface_core.int8.report import Form
from featherface_core.pictures import PORTRAIT

NAMES = ("float32", "float16", "int8")


def timed_size(detector: Detector) -> tuple[int, int]:
    """(height, width) to time at: of a file with a fixed size its own."""
    fixed = detector.network.fixed
    return (fixed[1], fixed[2]) if fixed else (SIZE, SIZE)


def time_forms(files: Sequence[Path], size: tuple[int, int], runs: int, on_event: Listener) -> Rounds:
    """The files of NAMES in turns, as ``featherface bench`` has it: one picture and one thread in onnxruntime."""
    sources = [Source("onnxruntime", onnx=str(file), name=name) for file, name in zip(files, NAMES, strict=True)]

    def told(done: int, total: int) -> None:
        on_event(Progress(done, total, "timing"))

    return measure_rounds(sources, Setting(size, 1, 1, "cpu"), PORTRAIT, runs, told)


def forms_of(files: Sequence[Path], rounds: Rounds, figures: Sequence[Figures]) -> tuple[Form, ...]:
    """What there is to say of each of NAMES."""
    seconds = rounds.seconds
    return tuple(
        Form(
            name,
            file.stat().st_size,
            latency(seconds[:, i]),
            ratio(seconds[:, i], seconds[:, 0]) if i else None,
            ap,
        )
        for i, (name, file, ap) in enumerate(zip(NAMES, files, figures, strict=True))
    )
