"""Results of other detectors, to be shown with an evaluation of the same protocol. Imports no torch."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from featherface_core.config import check_range, load_yaml, with_values
from featherface_core.errors import ConfigError, DataError, did_you_mean
from featherface_core.evaluation.config import parse_resize
from featherface_core.evaluation.report import WIDER_SETTINGS, EvalReport, Measured, read_report

SHIPPED = Path(__file__).parent / "peers.yaml"
NEEDED = {"wider-face": WIDER_SETTINGS, "plain": ("ap50",)}
EXAMPLE = "see the entries of the shipped peers.yaml"
SAME = 0.0005  # published figures are rounded


@dataclass(frozen=True)
class Peer:
    """The result of another detector, and its protocol.

    figures: AP by setting, 0 to 1. resize, flip: as in Measured. source: where it is published. parameters: None where they are
    not known. names: Measured.names of the pictures, "" for the WIDER FACE validation benchmark. curve: its own evaluation, to
    draw its precision-recall curve from.
    """

    name: str
    figures: Mapping[str, float]
    resize: str
    flip: bool | None
    source: str = ""
    parameters: int | None = None
    names: str = ""
    curve: EvalReport | None = None

    def comparable(self, protocol: Measured) -> bool:
        """Whether the pictures, the resize rule and the flips are those of ``protocol``.

        Thresholds must be equal only where a curve gives them: those of published figures differ slightly.
        """
        pictures = self.names == protocol.names if self.names else protocol.benchmark
        kind = NEEDED.get(protocol.method, ("",))[0] in self.figures
        views = (self.resize, self.flip) == (protocol.resize, protocol.flip)
        return pictures and kind and views and self._agrees(protocol)

    def _agrees(self, protocol: Measured) -> bool:
        if self.curve is None:
            return protocol.canvas is None
        its = self.curve.protocol
        thresholds = ((getattr(its, name), getattr(protocol, name)) for name in ("score", "nms", "top_k"))
        return (its.names, its.canvas, its.iou) == (protocol.names, protocol.canvas, protocol.iou) and all(
            a == b for a, b in thresholds if a is not None and b is not None
        )


@dataclass(frozen=True)
class _Entry:
    """One entry of the file, unchanged."""

    name: str = ""
    parameters: int | None = None
    easy: float | None = None
    medium: float | None = None
    hard: float | None = None
    ap50: float | None = None
    ap: float | None = None
    resize: str = ""
    flip: bool | None = None
    source: str = ""
    names: str = ""
    curve: str = ""

    def __post_init__(self) -> None:
        for key, value in self.figures.items():
            check_range(key, value, 0.0, 1.0)
        if self.parameters is not None:
            check_range("parameters", self.parameters, 0, 10**12)
        if self.names and not re.fullmatch(r"[0-9a-f]{64}", self.names):
            raise ConfigError(f"names {self.names!r} is not a SHA-256", "copy protocol.names from a report.json")

    @property
    def figures(self) -> dict[str, float]:
        values = {key: getattr(self, key) for key in (*WIDER_SETTINGS, "ap50", "ap")}
        return {key: value for key, value in values.items() if value is not None}


def load_peers(path: Path | None = None) -> tuple[Peer, ...]:
    """The detectors of a YAML file, by default those that ship. Raises ConfigError naming the file, the entry and the key.

    Beside the shipped keys an entry may have ``ap50`` and ``ap`` (of the plain method, in place of easy, medium, hard);
    ``names``, the ``protocol.names`` of a report, for figures on those pictures and not on the benchmark; and ``curve``, the
    report.json of its own evaluation (beside the YAML), which then gives the values that the entry leaves out.
    """
    path = SHIPPED if path is None else Path(path)
    if not path.is_file():
        raise ConfigError(f"the file of peers {path} does not exist", "give a YAML file, " + EXAMPLE)
    content = load_yaml(path)
    for key in content:
        if key != "peers":
            raise ConfigError(f"unknown key {str(key)!r} in {path}", did_you_mean(str(key), ["peers"]))
    entries = content.get("peers")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"peers in {path} is not a list of detectors", EXAMPLE)
    return tuple(_peer(entry, path, number) for number, entry in enumerate(entries, 1))


def peers_of(protocol: Measured, peers: Iterable[Peer]) -> tuple[Peer, ...]:
    """Those of ``peers`` that are comparable with a result by ``protocol``."""
    return tuple(peer for peer in peers if peer.comparable(protocol))


def _peer(content: object, path: Path, number: int) -> Peer:
    place = f"{path}: entry {number}"
    if not isinstance(content, Mapping):
        raise ConfigError(f"{place} is {content!r} and no set of keys", EXAMPLE)
    if isinstance(content.get("name"), str):
        place += f" ({content['name']})"
    for key in content:
        if key not in (known := [field.name for field in fields(_Entry)]):
            raise ConfigError(f"{place}: unknown key {str(key)!r}", did_you_mean(str(key), known))
    entry = with_values(_Entry(), {key: value for key, value in content.items() if value is not None}, place)
    if not entry.name.strip():
        raise _missing("name", place)
    return _from_curve(entry, path, place) if entry.curve else _from_figures(entry, place)


def _from_figures(entry: _Entry, place: str) -> Peer:
    if not entry.resize:
        raise _missing("resize", place)
    method = "plain" if entry.ap50 is not None else "wider-face"
    for key in NEEDED[method]:
        if key not in entry.figures:
            raise _missing(key, place)
    if method == "plain" and not entry.names:
        raise _missing("names", place)
    flip, resize = bool(entry.flip), _resize(entry.resize, place)
    return Peer(entry.name, entry.figures, resize, flip, entry.source, entry.parameters, entry.names)


def _from_curve(entry: _Entry, path: Path, place: str) -> Peer:
    """The report gives the values that the entry leaves out; values of the entry must agree with it."""
    try:
        report = read_report(path.parent / entry.curve)
    except DataError as problem:
        raise ConfigError(f"{place}: curve: {problem.message}", problem.hint) from None
    protocol, figures = report.protocol, {s.name: s.ap for s in report.settings if s.ap is not None}
    resize, flip = protocol.resize, protocol.flip
    if resize == "unknown":  # predictions of another program: the entry has the values
        resize = _resize(entry.resize, place) if entry.resize else resize
        flip = entry.flip
    stated: tuple[tuple[str, object, object], ...] = (
        ("resize", entry.resize and _resize(entry.resize, place), resize),
        ("flip", entry.flip, flip),
        ("names", entry.names, protocol.names),
    )
    for key, value, told in stated:
        if value not in ("", None, told):
            raise ConfigError(f"{place}: {key} {value} is not its curve's, {told}", f"leave {key} out")
    for key, ap in entry.figures.items():
        if key not in figures or abs(figures[key] - ap) > SAME:
            its = f"{figures[key]:.4f}" if key in figures else "none"
            raise ConfigError(f"{place}: {key} {ap} is not its curve's, {its}", f"leave {key} out")
    parameters = report.subject.parameters if entry.parameters is None else entry.parameters
    return Peer(entry.name, figures, resize, flip, entry.source, parameters, protocol.names, report)


def _resize(text: str, place: str) -> str:
    try:
        return parse_resize(text)
    except ConfigError as problem:
        raise ConfigError(f"{place}: resize: {problem.message}", problem.hint) from None


def _missing(key: str, place: str) -> ConfigError:
    return ConfigError(f"{place} has no {key}", EXAMPLE)
