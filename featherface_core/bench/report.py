"""What a benchmark returns: frozen dataclasses with units, and a chart of the times. Imports no torch."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featherface_core.charts import Row, draw_rows


@dataclass(frozen=True)
class Latency:
    """Milliseconds that a network takes for one batch: percentiles over the rounds, and every round in its order."""

    median: float
    p5: float
    p95: float
    rounds: tuple[float, ...]


@dataclass(frozen=True)
class Ratio:
    """Time over that of the first candidate in the same round: percentiles over the rounds. p5 to p95 is its spread."""

    median: float
    p5: float
    p95: float


@dataclass(frozen=True)
class Cost:
    """Parameters, MACs and memory traffic of a network. None where it could not be counted.

    parameters: trained ones; of a foreign file, its floating-point initialisers. macs: multiply-accumulates for one picture, of
    convolutions and matrix products, deformable kernels without their sampling. bytes_moved: what the operations of one batch
    read and write, each tensor once an operation, weights included.
    """

    parameters: int | None
    macs: int | None
    bytes_moved: int | None


@dataclass(frozen=True)
class Limit:
    """Limits of the machine's processor with ``threads`` threads, measured when the benchmark ran.

    macs_per_second: of a large float32 matrix product. bytes_per_second: of a copy in memory, read and write counted.
    """

    threads: int
    macs_per_second: float
    bytes_per_second: float


@dataclass(frozen=True)
class Achieved:
    """A network's speed at its median time, and its shares of the Limit, 0 to 1; None where one of the two is not known.

    of_copy may be above 1: data that stays in the caches does not wait for memory.
    """

    macs_per_second: float | None
    of_peak: float | None
    bytes_per_second: float | None
    of_copy: float | None


@dataclass(frozen=True)
class Stages:
    """Milliseconds a picture takes from its file to its faces, medians; faces: how many were found in it."""

    reading: float
    preparing: float
    network: float
    postprocessing: float
    total: float
    faces: int


@dataclass(frozen=True)
class Alone:
    """A candidate in a separate process that runs a few batches and ends.

    cpu_seconds: from the start of Python to the first result. peak_bytes: the most memory that the process had, libraries
    included; None where the system does not tell. problem: why neither is known, or "".
    """

    cpu_seconds: float | None = None
    peak_bytes: int | None = None
    problem: str = ""


@dataclass(frozen=True)
class NodeTime:
    """A node as the runtime executes it, after its fusions. share: of the time of all nodes, 0 to 1. shape: of its output."""

    name: str
    operator: str
    milliseconds: float
    share: float
    shape: tuple[int, ...]


@dataclass(frozen=True)
class CandidateReport:
    """One network. runtime: torch or onnxruntime. file: what was opened, "" for a network that was made.

    ratio: None for the first. stages: None for a foreign network. nodes: slowest first, those that --profile asks for.
    """

    name: str
    runtime: str
    file: str
    height: int
    width: int
    milliseconds: Latency
    pictures_per_second: float
    ratio: Ratio | None
    cost: Cost
    achieved: Achieved
    stages: Stages | None
    alone: Alone
    nodes: tuple[NodeTime, ...]


@dataclass(frozen=True)
class Throughput:
    """Pictures per second of each candidate, in their order, with ``batch`` pictures at once; None where a file does not fit."""

    batch: int
    threads: int
    pictures_per_second: tuple[float | None, ...]


@dataclass(frozen=True)
class BenchReport:
    """A benchmark. batch, threads: of everything but ``throughput``. runs: rounds counted, in all of ``starts`` processes; each
    begins with ``warm_up`` others.

    cpu_share: processor seconds of the networks in a second of the rounds. picture: the networks' input. limit: None for
    other devices than the CPU. machine: facts, with the versions of the runtimes. warnings: what makes figures doubtful.
    """

    batch: int
    threads: int
    device: str
    runs: int
    starts: int
    warm_up: int
    cpu_share: float
    picture: str
    candidates: tuple[CandidateReport, ...]
    limit: Limit | None
    throughput: tuple[Throughput, ...]
    machine: dict[str, Any]
    warnings: tuple[str, ...]
    seconds: float

    @property
    def labels(self) -> tuple[str, ...]:
        """The candidates' names, with the runtime where a name alone would stand for two."""
        often = Counter(candidate.name for candidate in self.candidates)
        return tuple(c.name if often[c.name] == 1 else f"{c.name}, {c.runtime}" for c in self.candidates)


def draw_bench(report: BenchReport, path: Path) -> None:
    """Write a PNG or SVG, by the name's ending. Raises as ``draw_rows``."""
    rows = []
    for name, c in zip(_names(report), report.candidates, strict=True):
        figure = f"{c.milliseconds.median:.3g} ms" + (f", {c.ratio.median:.2f}x" if c.ratio else "")
        rows.append(Row(name, figure, _marks(c.milliseconds)))
    title = "milliseconds a batch" if report.batch > 1 else "milliseconds a picture"
    longest = max(c.milliseconds.p95 for c in report.candidates)
    draw_rows(rows, title, _protocol(report), path, (0, 1.04 * longest))


def _marks(ms: Latency) -> Callable[[Any, int, str], None]:
    def draw(axes: Any, y: int, colour: str) -> None:
        axes.plot([ms.p5, ms.p95], [y, y], color=colour, linewidth=2, alpha=0.55, solid_capstyle="round")
        axes.plot([ms.median], [y], "o", color=colour, markersize=7, mew=0)

    return draw


def _names(report: BenchReport) -> list[str]:
    several = len(_sizes(report)) > 1
    return [
        f"{label}, {c.height}x{c.width}" if several else label
        for label, c in zip(report.labels, report.candidates, strict=True)
    ]


def _sizes(report: BenchReport) -> set[str]:
    return {f"{c.height}x{c.width}" for c in report.candidates}


def _protocol(report: BenchReport) -> str:
    threads = "1 thread" if report.threads == 1 else f"{report.threads} threads"
    runtimes = {c.runtime for c in report.candidates}
    same = ", ".join(what for kinds in (_sizes(report), runtimes) if len(kinds) == 1 for what in kinds)
    how = f"{report.runs} rounds in {report.starts} processes, in which the networks took turns"
    return (
        f"The network alone: {same and same + ', '}batch {report.batch}, {threads}, {report.device}, "
        f"{report.machine['processor']}. Median and 5th to 95th percentile of {how}. "
        f"x: time over that of {report.labels[0]} in the same round."
    )
