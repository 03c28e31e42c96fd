"""Comparing reports, checking a report against a baseline, and grouping runs that differ in their seed."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from featherface_core.charts import Row, draw_rows
from featherface_core.errors import ConfigError
from featherface_core.evaluation.report import COMPARED, EvalReport, Measured, read_report

TITLES = {"mean": "mean of Easy, Medium and Hard AP", "ap": "AP at IoU 0.5 to 0.95", "ap50": "AP at IoU 0.5"}
WORDS = {
    "names": "pictures and faces",
    "method": "method",
    "resize": "resize rule",
    "canvas": "padding",
    "top_k": "top-k",
}
ROUNDING = 1e-9  # percentage points: a drop of exactly the limit passes


@dataclass(frozen=True)
class Spread:
    """A figure over the runs of a group, 0 to 1. deviation: the sample's standard deviation (n - 1), None of a single run."""

    values: tuple[float, ...]
    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Gain:
    """The gain of a group over the first. points: percentage points of AP between the means. above: of all ``pairs`` of a run
    of this group and one of the first, those in which this group's is better.
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
    """Read reports and group them by ``--name``; the others are compared with the first name's group.

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


def draw_groups(grouped: Grouped, path: Path) -> None:
    """Write a PNG or SVG, by the name's ending. Raises as ``draw_rows``."""
    rows = []
    for group in grouped.groups:
        spread = group.figures[grouped.ranked_by]
        figure = f"{group.gain.points:+.1f}" if group.gain else f"{spread.mean * 100:.1f}"
        rows.append(Row(f"{group.name} ({len(group.paths)})", figure, _marks(spread)))
    draw_rows(rows, TITLES.get(grouped.ranked_by, grouped.ranked_by), grouped.protocol, path)


def _marks(spread: Spread) -> Callable[[Any, int, str], None]:
    def draw(axes: Any, y: int, colour: str) -> None:
        axes.plot(spread.values, [y] * len(spread.values), "o", color=colour, alpha=0.55, markersize=7, mew=0)
        axes.plot([spread.mean] * 2, [y - 0.3, y + 0.3], color=colour, linewidth=2)

    return draw


@dataclass(frozen=True)
class Difference:
    """One thing in which protocols are not equal, and its value in each, in words."""

    what: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """paths, reports: in the order given, or best first by the last of the headline's figures where ``ranked``.

    differences: of the protocols; ranked is False where there are any, unless asked for.
    """

    paths: tuple[str, ...]
    reports: tuple[EvalReport, ...]
    differences: tuple[Difference, ...]
    ranked: bool


@dataclass(frozen=True)
class Change:
    """A figure before and now, 0 to 1, None where there was none. drop: in percentage points, below 0 for a gain."""

    name: str
    before: float | None
    now: float | None
    drop: float
    passed: bool


@dataclass(frozen=True)
class Gate:
    """Whether a report is as good as a baseline. max_drop: percentage points that each figure may fall."""

    baseline: str
    max_drop: float
    changes: tuple[Change, ...]

    @property
    def passed(self) -> bool:
        """True if no figure fell by more."""
        return all(change.passed for change in self.changes)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, with the verdict."""
        return {**asdict(self), "passed": self.passed}


def compare(paths: Sequence[str | Path], rank_anyway: bool = False) -> Comparison:
    """Read and compare reports; they are ranked only where their protocols are equal, or if asked for.

    Raises ConfigError for fewer than two, DataError for a file that is no report.
    """
    if len(paths) < 2:
        raise ConfigError(f"--compare got {len(paths)} report{'s' * (len(paths) != 1)}", "name two or more report.json")
    pairs = [(str(path), read_report(path)) for path in paths]
    ranked = rank_anyway or not differing([report.protocol for _, report in pairs])
    if ranked:
        pairs.sort(key=lambda pair: _rank(pair[1]), reverse=True)
    differences = differing([report.protocol for _, report in pairs])
    return Comparison(tuple(p for p, _ in pairs), tuple(r for _, r in pairs), differences, ranked)


def differing(protocols: Sequence[Measured]) -> tuple[Difference, ...]:
    """In what protocols are not equal."""
    found = []
    for name in COMPARED:
        values = [getattr(protocol, name) for protocol in protocols]
        if any(value != values[0] for value in values):
            if name == "names":
                values = [f"{p.pictures:,} of {p.of:,} ({p.names[:8]})" for p in protocols]
            found.append(Difference(WORDS.get(name, name), tuple(_word(value) for value in values)))
    return tuple(found)


@dataclass(frozen=True)
class Baseline:
    """An earlier report. max_drop: percentage points, 0 or more."""

    path: Path
    report: EvalReport
    max_drop: float

    def check(self, now: Measured, any_protocol: bool) -> None:
        """Raise ConfigError where the earlier report followed another protocol, unless that does not matter."""
        differences = differing([self.report.protocol, now])
        if differences and not any_protocol:
            raise ConfigError(
                f"--baseline {self.path} was measured by another protocol",
                "evaluate as it was, or hold against it all the same with --any-protocol",
                [f"{d.what}: {d.values[0]} in the baseline, {d.values[1]} now" for d in differences],
            )

    def hold(self, report: EvalReport) -> Gate:
        """The comparison of a report with it, figure by figure; a missing figure has fallen."""
        now = report.headline
        changes = []
        for name, old in self.report.headline.items():
            new = now.get(name)
            drop = 0.0 if old is None else (old - (new or 0.0)) * 100
            changes.append(
                Change(name, old, new, drop, old is None or (new is not None and drop <= self.max_drop + ROUNDING))
            )
        return Gate(str(self.path), self.max_drop, tuple(changes))


def read_baseline(path: Path, max_drop: float) -> Baseline:
    """Raises ConfigError for an invalid drop, DataError for a file that is no report."""
    if not 0 <= max_drop <= 100:
        raise ConfigError(f"--max-drop {max_drop:g} is out of range", "use 0 to 100 percentage points of AP")
    return Baseline(path, read_report(path), max_drop)


def _rank(report: EvalReport) -> float:
    figures = [ap for ap in report.headline.values() if ap is not None]
    return figures[-1] if figures else -1.0


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return f"{value[1]}x{value[0]}"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
