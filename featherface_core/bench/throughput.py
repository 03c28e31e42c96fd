"""Pictures per second against the batch and the number of threads."""

from collections.abc import Sequence
from contextlib import suppress

from featherface_core.bench.candidate import Candidate, Setting, Source, open_candidate
from featherface_core.bench.config import BenchConfig
from featherface_core.bench.report import Throughput
from featherface_core.bench.rounds import interleave
from featherface_core.bench.statistics import latency
from featherface_core.errors import ConfigError
from featherface_core.events import Listener, Progress
from featherface_core.pictures import Picture

MOST_RUNS = 10  # rounds at most, of each setting


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
            with suppress(ConfigError):  # what ran at the first setting does not take this batch
                candidate = open_candidate(source, Setting(config.size, batch, threads, config.device))
                candidate.load(picture)
                candidate.run()
                opened[place] = candidate
        seconds = interleave([c.run for c in opened.values()], min(config.runs, MOST_RUNS)).seconds
        paces = {place: batch * 1000 / latency(seconds[:, n]).median for n, place in enumerate(opened)}
        rows.append(Throughput(batch, threads, tuple(paces.get(place) for place in range(len(files)))))
    return tuple(rows)
