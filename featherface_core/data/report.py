"""What the operations on data return: frozen dataclasses with units. Imports no torch."""

from collections.abc import Iterable
from dataclasses import dataclass

from featherface_core.data.annotation import AnnotationSet, Severity
from featherface_core.results import Verdict


@dataclass(frozen=True)
class SetSummary:
    """What a label holds. name: train, val or data. empty: pictures without a face. with_landmarks: faces with all five."""

    name: str
    source: str
    form: str
    pictures: int
    faces: int
    with_landmarks: int
    ignored: int
    empty: int

    @classmethod
    def of(cls, name: str, labels: AnnotationSet) -> "SetSummary":
        """Count a label."""
        faces = [annotation.faces for annotation in labels.annotations]
        return cls(
            name,
            str(labels.source),
            labels.form,
            len(faces),
            sum(map(len, faces)),
            sum(int(f.has_landmarks.sum()) for f in faces),
            sum(int(f.ignored.sum()) for f in faces),
            sum(not len(f) for f in faces),
        )


@dataclass(frozen=True)
class ProblemGroup:
    """All problems of one kind. examples: the first few, "where: what". fix: what to do about them."""

    kind: str
    severity: Severity
    count: int
    examples: tuple[str, ...]
    fix: str


@dataclass(frozen=True)
class DataCheckReport:
    """What ``data check`` found, the worst first.

    folder: what the paths in examples are below. decoded: pictures that were opened, 0 where only labels were checked.
    """

    path: str
    folder: str
    sets: tuple[SetSummary, ...]
    problems: tuple[ProblemGroup, ...]
    decoded: int
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """fail with an error among the problems, warn with warnings alone, or else ok."""
        return worst(group.severity for group in self.problems)


def worst(severities: Iterable[Severity]) -> Verdict:
    """The verdict that problems of these severities lead to."""
    found = set(severities)
    return "fail" if "error" in found else "warn" if found else "ok"


@dataclass(frozen=True)
class DataConversionReport:
    """What ``data convert`` wrote. sets: as read. linked, copied: pictures. lost: what the new form cannot hold, in words."""

    source: str
    out: str
    source_form: str
    form: str
    sets: tuple[SetSummary, ...]
    pictures: int
    faces: int
    linked: int
    copied: int
    lost: tuple[str, ...]
    problems: int
    seconds: float


@dataclass(frozen=True)
class Bin:
    """A bar of a histogram: ``count`` values from ``low`` up to, but not including, ``high`` (None: no limit)."""

    low: float
    high: float | None
    count: int
    share: float


@dataclass(frozen=True)
class SetStats:
    """The statistics of one set. Sizes are of faces that are not ignored: the square root of the area, in pixels.

    percentiles: sizes of the 5th, 25th, 50th, 75th and 95th hundredth. sizes: shares of faces by octave. histogram: the same in
    half octaves. per_picture: pictures by how many faces they show that are not ignored.
    """

    summary: SetSummary
    percentiles: tuple[float, ...]
    sizes: tuple[Bin, ...]
    histogram: tuple[Bin, ...]
    per_picture: tuple[Bin, ...]


@dataclass(frozen=True)
class DataStatsReport:
    """What ``data stats`` counted. drawn: the picture of the histograms, or None."""

    path: str
    sets: tuple[SetStats, ...]
    seconds: float
    drawn: str | None = None


@dataclass(frozen=True, kw_only=True)
class SeenBin:
    """Faces of ``low`` up to ``high`` pixels (None: no limit) that training shows, and the anchors that learn them.

    share: of all faces that count. positive_share: of all positive anchors. positives_per_face: their number a face.
    """

    low: float
    high: float | None
    faces: int
    share: float
    positives: int
    positive_share: float
    positives_per_face: float


@dataclass(frozen=True, kw_only=True)
class SeenReport:
    """What a recipe shows the network: ``pictures`` of its first plans, at ``size`` pixels.

    Sizes are square roots of boxes' areas in pixels of the network's input. ignored: share of all faces that train nothing.
    empty: share of pictures without a face that counts. faces_per_picture: that count. assign: how anchors are given faces.
    untrained: whether the assignment asked a network that has learnt nothing yet. drawn: the picture of it, or None.
    """

    data: str
    pictures: int
    size: int
    assign: str
    untrained: bool
    faces_per_picture: float
    ignored: float
    empty: float
    bins: tuple[SeenBin, ...]
    seconds: float
    drawn: str | None = None
