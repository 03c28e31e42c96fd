"""What ``featherface bench`` was asked for. Imports no torch."""

from dataclasses import dataclass

from featherface_core.config import check_range, check_size
from featherface_core.errors import ConfigError

SIZE = 640  # pixels, where neither the user nor the file says


@dataclass(frozen=True)
class BenchConfig:
    """How candidates are measured.

    size: (height, width) in pixels; None for a fixed file's own, else 640x640. batches, threads: the first of each is what
    everything is measured at, all of them together are the throughput table. device: cpu, cuda, cuda:1, mps. runs: rounds,
    each of which runs every candidate once. profile: also list the slowest nodes of ONNX files.
    """

    size: tuple[int, int] | None = None
    batches: tuple[int, ...] = (1,)
    threads: tuple[int, ...] = (1,)
    device: str = "cpu"
    runs: int = 30
    profile: bool = False

    def __post_init__(self) -> None:
        for side in self.size or ():
            check_size("--size", side)
        if 0 in self.threads:
            raise ConfigError(
                "--threads 0 leaves the number to each runtime, and says of none which it took", "name it: 1"
            )
        for name, numbers in (("--batch", self.batches), ("--threads", self.threads)):
            for number in numbers:
                check_range(name, number, 1, 1024)
            if len(set(numbers)) < len(numbers) or not numbers:
                raise ConfigError(f"{name} {','.join(map(str, numbers))} names a number twice", "name each once")
        check_range("--runs", self.runs, 3, 100_000)


def parse_counts(name: str, text: str) -> tuple[int, ...]:
    """Whole numbers from "1,2,4"; ``name`` is the option they come from.

    >>> parse_counts("--batch", "1, 2,4")
    (1, 2, 4)
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{name} {text!r} is not a number or a list of them", "write 1 or 1,2,4") from None
