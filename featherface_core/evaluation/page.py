"""An evaluation as one HTML page that works offline: it contains all pictures, styles and figures."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from featherface_core.errors import DataError
from featherface_core.evaluation.curves import TITLES, not_benchmark, panels, title_of
from featherface_core.evaluation.matching import by_group
from featherface_core.evaluation.peers import Peer
from featherface_core.evaluation.report import STAGES, EvalReport
from featherface_core.files import write_text

TEMPLATE = Path(__file__).parent / "page.html.jinja"
NONE, UNKNOWN = "none", "unknown"


@dataclass(frozen=True)
class _Figure:
    """A number of the headline."""

    title: str
    value: str
    note: str


@dataclass(frozen=True)
class _Panel:
    """A drawing for light and for dark, as data URIs, and what it shows in words."""

    light: str
    dark: str
    words: str


@dataclass(frozen=True)
class _Rank:
    """A detector in the table of peers. figures: AP of each setting, best: which of them no other one beats."""

    name: str
    parameters: str
    figures: tuple[str, ...]
    best: tuple[bool, ...]
    source: str
    ours: bool


def write_page(report: EvalReport, peers: Sequence[Peer], worst: Path | None, path: Path) -> None:
    """Write the page. peers: those that are comparable (peers_of). worst: the sheet of the worst pictures.

    The page loads nothing and runs no script. Raises DataError where ``worst`` cannot be read, or ``path``
    not be written.
    """
    from jinja2 import Environment, StrictUndefined

    shapes = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    shapes.filters |= {"ap": _ap, "thousands": _thousands, "percent": _percent, "share": _share, "duration": _duration}
    page = shapes.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        report=report,
        title=title_of(report),
        name=report.subject.model or title_of(report),
        file=Path(report.subject.weights).name,
        not_benchmark=not_benchmark(report.protocol),
        figures=_figures(report),
        panels=_panels(report, peers),
        settings=[TITLES[setting.name] for setting in report.settings],
        ranks=_ranks(report, peers),
        groups=by_group(report.recall),
        stages=[(stage, getattr(report.timing, stage)) for stage in STAGES] if report.timing else [],
        worst=_picture(worst) if worst else "",
        size=_size(report),
    )
    # a file name may have bytes that are not text
    write_text(path, page.encode("utf-8", "replace").decode())


def _figures(report: EvalReport) -> list[_Figure]:
    figures = [
        _Figure(TITLES[s.name], _ap(s.ap), f"{s.faces:,} faces" if s.faces else "no face counts")
        for s in report.settings
    ]
    if report.protocol.method != "plain":
        figures.append(_Figure("Mean", _ap(report.mean), "of the three"))
    return figures


def _panels(report: EvalReport, peers: Sequence[Peer]) -> list[_Panel]:
    figures = {s.name: s for s in report.settings}
    made = []
    for (name, light), (_, dark) in zip(panels(report, peers, False), panels(report, peers, True), strict=True):
        ap = figures[name].ap
        words = f"Precision against recall, {TITLES[name]}: "
        words += "no face counts, so there is no curve" if ap is None else f"AP {ap:.3f}"
        words += f", beside the AP of {len(peers)} other detectors, which the table lists" if peers else ""
        made.append(_Panel(_uri("image/svg+xml", light.encode()), _uri("image/svg+xml", dark.encode()), words))
    return made


def _ranks(report: EvalReport, peers: Sequence[Peer]) -> list[_Rank]:
    """This run among the peers, by the mean over the settings that all have; nothing where there are no peers."""
    if not peers:
        return []
    names = [s.name for s in report.settings]
    ours = {s.name: s.ap for s in report.settings if s.ap is not None}
    parameters = report.subject.parameters
    entries = [(report.subject.model or title_of(report), parameters, ours, "this run", True)]
    entries += [(p.name, p.parameters, dict(p.figures), p.source, False) for p in peers]
    # rounded as printed, so that equal figures share the mark
    tops = {n: max((_ap(entry[2][n]) for entry in entries if n in entry[2]), default="") for n in names}
    common = [n for n in names if all(n in entry[2] for entry in entries)]
    entries.sort(key=lambda entry: -sum(entry[2][n] for n in common))
    return [
        _Rank(
            name,
            _thousands(count),
            tuple(_ap(figures.get(n)) for n in names),
            tuple(n in figures and _ap(figures[n]) == tops[n] for n in names),
            source,
            own,
        )
        for name, count, figures, source, own in entries
    ]


def _size(report: EvalReport) -> str:
    """How much was evaluated."""
    pictures, of = report.protocol.pictures, report.protocol.of
    part = f"{pictures:,} of {of:,} pictures" if pictures != of else f"{pictures:,} pictures"
    return f"{part}, {report.detections:,} detections, {_duration(report.seconds)}"


def _picture(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise DataError(
            f"cannot read {path}: {problem.strerror or problem}",
            "evaluate again: the sheet is part of the run's folder",
        ) from None
    return _uri("image/png" if content.startswith(b"\x89PNG") else "image/jpeg", content)


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _ap(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _thousands(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _share(part: float, whole: float) -> float:
    """Per cent, 0 to 100, of bars too."""
    return 100 * part / whole if whole else 0.0


def _percent(part: float, whole: float) -> str:
    return f"{_share(part, whole):.1f} %"


def _duration(seconds: float) -> str:
    """Whole hours, minutes and seconds.

    >>> _duration(4.25), _duration(251.3), _duration(7260)
    ('4.2 s', '4 min 11 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
