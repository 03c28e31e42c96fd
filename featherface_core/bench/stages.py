"""Where the time goes from a picture's file to its faces, and pictures per second against batch and threads."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from featherface_core.bench.candidate import Candidate, open_candidate
from featherface_core.bench.config import BenchConfig, Setting, Source
from featherface_core.bench.report import Stages, Throughput
from featherface_core.bench.rounds import Clock, interleave, latency
from featherface_core.config import PostprocessConfig
from featherface_core.detect.detector import Detector
from featherface_core.errors import ConfigError
from featherface_core.events import Listener, Progress
from featherface_core.pictures import Picture, prepare, read_picture

RUNS, WARM_UP = 10, 2  # rounds at most; the stages need no finer figures
MOST_RUNS = 10  # rounds at most, of each setting


@dataclass
class Pipeline:
    """A detector on its way through one batch of a picture, letterboxed to (height, width). seconds: of each stage, by run."""

    detector: Detector
    picture: Path
    height: int
    width: int
    batch: int
    clock: Clock = time.perf_counter
    seconds: list[tuple[float, ...]] = field(default_factory=list)
    faces: int = 0

    def run(self) -> None:
        """Read, prepare, run, decode: a batch of the same picture."""
        post = PostprocessConfig()
        times = [self.clock()]
        pictures = [read_picture(self.picture) for _ in range(self.batch)]
        times.append(self.clock())
        canvas = (self.height, self.width)
        prepared = [prepare(each, None, self.detector.mean, canvas, self.detector.channels_last) for each in pictures]
        # one picture keeps the layout in memory that its network asked for
        pixels = prepared[0][0][None] if self.batch == 1 else np.stack([each for each, _ in prepared])
        times.append(self.clock())
        outputs = self.detector.forward(pixels, post)
        times.append(self.clock())
        found = self.detector.decode(outputs, canvas, [scales for _, scales in prepared], post)
        times.append(self.clock())
        self.faces = len(found[0])
        self.seconds.append(tuple(b - a for a, b in pairwise(times)))

    def stages(self, warm_up: int) -> Stages:
        """Medians over the runs after the first ``warm_up``, in milliseconds a picture."""
        counted = np.array(self.seconds[warm_up:]) * 1000 / self.batch
        reading, preparing, network, postprocessing = (float(each) for each in np.median(counted, 0))
        total = float(np.median(counted.sum(1)))
        return Stages(reading, preparing, network, postprocessing, total, self.faces)


def measure_stages(
    pipelines: Sequence[Pipeline | None], runs: int, on_round: Callable[[int], None] = lambda _: None
) -> list[Stages | None]:
    """All pipelines in turns, at most ``RUNS`` rounds; None stays None."""
    ours = [pipeline for pipeline in pipelines if pipeline is not None]
    if ours:
        interleave([pipeline.run for pipeline in ours], min(runs, RUNS), WARM_UP, on_round)
    return [None if pipeline is None else pipeline.stages(WARM_UP) for pipeline in pipelines]


def measure_throughput(
    files: Sequence[Source], config: BenchConfig, picture: Picture, on_event: Listener
) -> tuple[Throughput, ...]:
    """Every batch with every number of threads, all candidates in turns; nothing where there is one of each."""
    settings = [(batch, threads) for threads in config.threads for batch in config.batches]
    if len(settings) == 1:
        return ()
    rows = []
    for i, (batch, threads) in enumerate(settings):
        on_event(Progress(i, len(settings), f"batch {batch}, threads {threads}"))
        opened: dict[int, Candidate] = {}
        for place, source in enumerate(files):
            with suppress(ConfigError):  # this candidate ran at the first setting, but does not take this batch
                candidate = open_candidate(source, Setting(config.size, batch, threads, config.device))
                candidate.load(picture)
                candidate.run()
                opened[place] = candidate
        seconds = interleave([c.run for c in opened.values()], min(config.runs, MOST_RUNS)).seconds
        paces = {place: batch * 1000 / latency(seconds[:, n]).median for n, place in enumerate(opened)}
        rows.append(Throughput(batch, threads, tuple(paces.get(place) for place in range(len(files)))))
    return tuple(rows)
