"""Runs of one kind, that differ in their seed, taken together: mean, spread, and what one kind gains over another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from featherface_core.errors import ConfigError
from featherface_core.evaluation.compare import compare
from featherface_core.evaluation.report import EvalReport


@dataclass(frozen=True)
class Spread:
    """A figure over the runs of a group, 0 to 1. deviation: the sample's standard deviation (n - 1), None of a single run."""

    values: tuple[float, ...]
    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Gain:
    """What a group has over the first. points: of AP, of a hundred, between the means. above: of all pairs of a run here and a
    run there, in how many this one is better; of ``pairs``.
    """

    points: float
    above: int
    pairs: int

    @property
    def beyond_spread(self) -> bool:
        """Whether even the worst run is better than the first group's best."""
        return self.above == self.pairs


@dataclass(frozen=True)
class Group:
    """The runs of one name. figures: by the headline's names. gain: of the last figure; None for the first group."""

    name: str
    paths: tuple[str, ...]
    figures: dict[str, Spread]
    gain: Gain | None


@dataclass(frozen=True)
class Grouped:
    """Groups in the order in which their names were first met; protocol: that all runs followed, in words."""

    groups: tuple[Group, ...]
    ranked_by: str
    protocol: str


def group(paths: Sequence[str | Path]) -> Grouped:
    """Read reports and gather those of one ``--name``; the first name's group is what the others are held against.

    Raises ConfigError for fewer than two reports, for protocols that differ, and for a report without one of the
    figures; DataError for a file that is no report.
    """
    comparison = compare(paths, rank_anyway=True)
    if comparison.differences:
        first = comparison.differences[0]
        raise ConfigError(
            f"these runs followed different protocols: {first.what} {' and '.join(dict.fromkeys(first.values))}",
            "evaluate all of them in one way; --compare without --by-name shows what differs",
        )
    reports = dict(zip(comparison.paths, comparison.reports, strict=True))
    named: dict[str, list[tuple[str, EvalReport]]] = {}
    for path in map(str, paths):
        named.setdefault(reports[path].subject.model, []).append((path, reports[path]))
    figures = {name: _figures(runs) for name, runs in named.items()}
    last = list(next(iter(figures.values())))[-1]
    base = next(iter(figures.values()))[last]
    groups = tuple(
        Group(name, tuple(path for path, _ in runs), figures[name], _gain(base, figures[name][last]) if i else None)
        for i, (name, runs) in enumerate(named.items())
    )
    return Grouped(groups, last, comparison.reports[0].protocol.text)


def _figures(runs: list[tuple[str, EvalReport]]) -> dict[str, Spread]:
    gathered: dict[str, list[float]] = {}
    for path, report in runs:
        for name, ap in report.headline.items():
            if ap is None:
                raise ConfigError(f"{path} has no AP in {name}: no face counts there", "leave it out")
            gathered.setdefault(name, []).append(ap)
    return {
        name: Spread(tuple(values), fmean(values), stdev(values) if len(values) > 1 else None)
        for name, values in gathered.items()
    }


def _gain(base: Spread, other: Spread) -> Gain:
    above = sum(mine > theirs for mine in other.values for theirs in base.values)
    return Gain((other.mean - base.mean) * 100, above, len(other.values) * len(base.values))
