"""Plans of training pictures: crops, collages, mixtures, mirror, colours, softening, mosaic, MixUp, CutMix. No pixels, no torch.

Everything random comes from the generator that is passed in, so a plan is a function of (seed, epoch, position).
"""

from dataclasses import replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from featherface_core.data.annotation import Faces, PictureSource
from featherface_core.data.augment.collage import Choice, around_a_face, choose_crop, collage
from featherface_core.data.augment.mixture import Mixture
from featherface_core.data.augment.plan import (
    VISIBLE,
    Colour,
    Part,
    Piece,
    Plan,
    joined,
    mirrored,
    windowed,
    within,
)
from featherface_core.errors import DataError
from featherface_core.recipe import AugmentConfig

MIX_BETA = 1.5  # of the Beta distribution that MixUp and CutMix draw their share from
LARGEST_SHRINK = 3.0  # of softening
STRETCH = 1.25  # of softening, between the axes: thumbnails are often made square
SMALLEST_SIDE = 8  # pixels, of a softened window
DETAIL = 7.0  # pixels of detail that softening leaves of a face that still counts


class UnreadableError(DataError):
    """Picture ``index`` of the source cannot be read."""

    def __init__(self, index: int, problem: DataError) -> None:
        super().__init__(problem.message, problem.hint)
        self.index = index


class Planner:
    """Plans of the pictures of a source; the same for all processes, and cheap to copy into workers.

    weights (n,): how often each picture comes, relative to the others; None for equally. size: the side of the canvas that a
    target distribution of face sizes is fitted at. Raises ConfigError for a distribution that these pictures cannot give.
    """

    def __init__(
        self, source: PictureSource, config: AugmentConfig, size: int, weights: NDArray[np.float64] | None = None
    ) -> None:
        self.source, self.config = source, config
        self.count = len(source)
        self.weights = np.ones(self.count) if weights is None else weights
        self.sums = None if weights is None else np.cumsum(weights)
        self.mixture: Mixture | None = None
        if config.crop == "mixture":
            known = self.weights.copy()
            for index in range(self.count):
                try:
                    self.look(index)
                except UnreadableError:
                    known[index] = 0.0  # said when its turn comes
            self.mixture = Mixture(self.look, known, config)
            if config.size_shares and known.any():
                unreadable = frozenset(np.flatnonzero((known == 0) & (self.weights > 0)).tolist())
                self.mixture.fit(lambda rng: self.plan(self.draw(rng), size, rng, unreadable))

    def plan(self, index: int, size: int, rng: np.random.Generator, unreadable: frozenset[int] = frozenset()) -> Plan:
        """A plan of ``size`` x ``size`` pixels that begins with picture ``index``.

        Mosaic, MixUp, CutMix and collages show others beside it; only one of the first three is applied to a picture.
        unreadable: pictures that the next one takes the place of. Raises UnreadableError for a picture whose size cannot be
        read, DataError where ``unreadable`` leaves none.
        """
        part = _Plans(self, unreadable, size, rng).part(index)
        return Plan(size, part.pieces, ignore_small(within(part.faces, 0, 0, size, size), self.config.min_face))

    def look(self, index: int) -> tuple[tuple[int, int], Faces]:
        """(height, width) of a picture and its faces."""
        try:
            return self.source.shape(index), self.source.faces(index)
        except DataError as problem:
            raise UnreadableError(index, problem) from None

    def draw(self, rng: np.random.Generator) -> int:
        """A random picture."""
        if self.sums is None:
            return int(rng.integers(self.count))
        return int(np.searchsorted(self.sums, rng.random() * self.sums[-1], "right"))


class _Plans:
    """The making of one plan."""

    def __init__(self, planner: Planner, unreadable: frozenset[int], size: int, rng: np.random.Generator) -> None:
        self.planner, self.unreadable, self.size, self.rng = planner, unreadable, size, rng
        self.config = planner.config

    def part(self, index: int) -> Part:
        config, size, rng = self.config, self.size, self.rng
        draw = rng.random()
        if draw < config.mosaic:
            return self._mosaic(index)
        if draw < config.mosaic + config.mixup:
            return mixup(self._one(index, size), self._one(self._another(), size), rng)
        if draw < config.mosaic + config.mixup + config.cutmix:
            return cutmix(self._one(index, size), self._one(self._another(), size), size, rng)
        if config.crop in ("collage", "mixture"):
            return collage(size, lambda room, first: self._choose(index, room, first), self._vary, rng)
        return self._one(index, size)

    def _another(self) -> int:
        return self.planner.draw(self.rng)

    def _readable(self, index: int) -> int:
        """Picture ``index``, or the next one that can be read and comes at all."""
        if index not in self.unreadable:
            return index
        count, weights = self.planner.count, self.planner.weights
        following = (which % count for which in range(index + 1, index + count))
        for which in following:
            if which not in self.unreadable and weights[which] > 0:
                return which
        raise DataError("none of the pictures can be read", "look into the data with: featherface data check")

    def _choose(self, index: int, room: tuple[int, int], first: bool) -> Choice:
        mixture = self.planner.mixture
        index = self._readable(index if first else self._another())
        if mixture is None:
            return around_a_face(index, *self.planner.look(index), room, self.config, self.rng)
        return mixture.choose(index, room, self.rng, self.unreadable)

    def _one(self, index: int, side: int) -> Part:
        """A crop, varied, that fills a square; its faces are whole, or a cut one would pass for a whole one later."""
        index = self._readable(index)
        shape, faces = self.planner.look(index)
        x, y, seen = choose_crop(shape, faces, self.config, side, self.rng)
        window, square = (x, y, seen, seen), (0, 0, side, side)
        piece = Piece(picture=index, window=window, place=square, shown=square, detail=(side, side))
        return self._vary(Part((piece,), windowed(faces, window, side, side)))

    def _vary(self, part: Part) -> Part:
        """Mirror, colours and softening of one piece."""
        config, rng = self.config, self.rng
        (piece,) = part.pieces
        faces = part.faces
        if rng.random() < config.mirror:
            piece, faces = replace(piece, mirrored=True), mirrored(faces, piece.place[2])
        on = rng.random(4) < config.colour
        change = rng.uniform((-32, 0.5, 0.5, -18), (32, 1.5, 1.5, 18))
        piece = replace(piece, colour=Colour(*(float(v) for v in np.where(on, change, (0.0, 1.0, 1.0, 0.0)))))
        return softened(Part((piece,), faces), config.soften, rng)

    def _mosaic(self, index: int) -> Part:
        """Four pictures around a random point (Bochkovskiy et al. 2020, section 3.3), each cropped for its own tile."""
        size = self.size
        across, down = (int(size * v) for v in self.rng.uniform(0.3, 0.7, 2))
        tiles = ((0, 0, across, down), (across, 0, size, down), (0, down, across, size), (across, down, size, size))
        indices = [index, *(self._another() for _ in range(3))]
        parts = []
        for which, (x1, y1, x2, y2) in zip(indices, tiles, strict=True):
            part = self._one(which, max(x2 - x1, y2 - y1))
            parts.append(part.moved(x1, y1).cut(x1, y1, x2, y2))
        return joined(parts)


def softened(part: Part, chance: float, rng: np.random.Generator) -> Part:
    """With ``chance``, the one piece of ``part`` shrunk by 1 to 3 and enlarged again; nothing moves, only detail goes.

    The largest face in view keeps 7 px of detail (fewer than that is no picture of a face), and faces that keep less are
    ignored. As pictures come out of a thumbnail or a far camera; the first step of Real-ESRGAN's degradation (Wang et al. 2021).
    """
    if not chance or rng.random() >= chance:
        return part
    (piece,) = part.pieces
    faces = part.faces
    width, height = piece.place[2:]
    shrink = rng.uniform(1.0, LARGEST_SHRINK) * rng.uniform(1 / STRETCH, STRETCH, 2)
    sizes = np.sqrt(np.maximum(faces.boxes[:, 2:] - faces.boxes[:, :2], 0).prod(1))
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    counted = sizes[~faces.ignored & ((centres >= 0) & (centres <= (width, height))).all(1)]
    if len(counted):
        shrink = np.minimum(shrink, counted.max() / DETAIL)
    # rounded up, or the largest face would keep a little less than it should
    detail = (
        max(min(SMALLEST_SIDE, width), ceil(width / max(1.0, shrink[0]))),
        max(min(SMALLEST_SIDE, height), ceil(height / max(1.0, shrink[1]))),
    )
    if detail == (width, height):
        return part
    kept = sizes * np.sqrt(detail[0] / width * detail[1] / height)
    ignored = faces.ignored | (kept < DETAIL - 1e-4)  # but for rounding
    return Part((replace(piece, detail=detail),), Faces(faces.boxes, faces.landmarks, ignored, faces.weights))


def mixup(a: Part, b: Part, rng: np.random.Generator) -> Part:
    """Both pictures, one shining through the other, and the faces of both, weighing as much as can be seen of them."""
    share = float(rng.beta(MIX_BETA, MIX_BETA))
    above = tuple(replace(piece, opacity=1 - share) for piece in b.pieces)
    return joined([Part(a.pieces, _weighted(a.faces, share)), Part(above, _weighted(b.faces, 1 - share))])


def cutmix(a: Part, b: Part, size: int, rng: np.random.Generator) -> Part:
    """A rectangle of ``b`` in ``a``. Faces weigh the share of their area still in view; mostly hidden ones are ignored."""
    part = np.sqrt(1 - float(rng.beta(MIX_BETA, MIX_BETA)))
    side = max(1, int(size * part))
    x, y = int(rng.integers(size - side + 1)), int(rng.integers(size - side + 1))
    behind = within(a.faces, 0, 0, size, size)
    window = np.array((x, y, x + side, y + side), np.float32)
    hidden = _share_inside(behind.boxes, window)
    behind = Faces(
        behind.boxes,
        behind.landmarks,
        behind.ignored | (hidden >= 0.5),
        (behind.weights * (1 - hidden)).astype(np.float32),
    ).select((hidden < 1 - VISIBLE) | (behind.ignored & (hidden < 1)))
    shown = _share_inside(b.faces.boxes, window)
    infront = _weighted(b.faces, shown).select(
        (shown >= VISIBLE) | (b.faces.ignored & (shown > 0))
    )  # a narrow window may hold little but a centre
    return joined([Part(a.pieces, behind), Part(b.pieces, infront).cut(x, y, x + side, y + side)])


def ignore_small(faces: Faces, smallest: float) -> Faces:
    """The same faces, those whose longer side is below ``smallest`` pixels ignored."""
    if not smallest or not len(faces):
        return faces
    small = (faces.boxes[:, 2:] - faces.boxes[:, :2]).max(1) < smallest
    return Faces(faces.boxes, faces.landmarks, faces.ignored | small, faces.weights)


def _weighted(faces: Faces, share: float | NDArray[np.float64]) -> Faces:
    return Faces(faces.boxes, faces.landmarks, faces.ignored, (faces.weights * share).astype(np.float32))


def _share_inside(boxes: NDArray[np.float32], window: NDArray[np.float32]) -> NDArray[np.float64]:
    low, high = np.maximum(boxes[:, :2], window[:2]), np.minimum(boxes[:, 2:], window[2:])
    area = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1e-6)
    share: NDArray[np.float64] = np.clip(np.clip(high - low, 0, None).prod(1) / area, 0, 1)
    return share
