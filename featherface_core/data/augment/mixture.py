"""The pieces of a mixture: pictures as evaluation shows them, and faces of wanted sizes."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from featherface_core.data.annotation import Faces
from featherface_core.data.augment.collage import ELSEWHERE, LARGEST_ZOOM, ROOM, SMALLEST_PIECE, Choice
from featherface_core.data.augment.plan import Plan
from featherface_core.errors import ConfigError
from featherface_core.recipe import AugmentConfig

ENLARGED = 2.0  # the most that a face is enlarged by to reach a wanted size: what is blurred is no small face
NATURAL = 0.5  # share of the faces taken from pictures that have them at the wanted size as evaluation shows them
ROUNDS, PLANS = 14, 240  # of fitting shares: rounds, and plans of the last one
OFF = 0.08  # a share may be so far from what was asked for

Look = Callable[[int], tuple[tuple[int, int], Faces]]


class Mixture:
    """Chooses pictures, scales and windows; see AugmentConfig.

    look: (height, width) and faces of a picture. weights (n,): how often each picture comes; those of 0 are not looked at.
    """

    def __init__(self, look: Look, weights: NDArray[np.float64], config: AugmentConfig) -> None:
        self.look, self.config = look, config
        low, high = config.face_sizes
        self.edges = np.array([low, *config.size_edges, high])
        self.bins = len(self.edges) - 1
        # by bin: pictures that have such faces as evaluation shows them, and those that can be brought to them
        natural: list[list[int]] = [[] for _ in range(self.bins)]
        reachable: list[list[int]] = [[] for _ in range(self.bins)]
        for index in np.flatnonzero(weights):
            shape, faces = look(int(index))
            for b in range(self.bins):
                if self._natural(shape, faces, b).any():
                    natural[b].append(int(index))
                if self._reachable(shape, faces, b).any():
                    reachable[b].append(int(index))
        self.natural = [_Weighted(chosen, weights) for chosen in natural]
        self.reachable = [_Weighted(chosen, weights) for chosen in reachable]
        self.shares = np.array([1.0 if len(r) else 0.0 for r in self.reachable])
        self.shares /= max(self.shares.sum(), 1.0)

    def choose(
        self, index: int, room: tuple[int, int], rng: np.random.Generator, unreadable: frozenset[int] = frozenset()
    ) -> Choice:
        """A choice for a room (height, width). index: the picture to show where it is a view, or would be of ``unreadable``."""
        if rng.random() < self.config.views or not self.shares.any():
            return self._view(index, rng)
        largest = ROOM * min(room)
        shares = np.where(self.edges[:-1] < largest, self.shares, 0.0)
        if not shares.any():
            return self._view(index, rng)
        b = int(rng.choice(self.bins, p=shares / shares.sum()))
        naturally = len(self.natural[b]) > 0 and rng.random() < NATURAL
        picture = (self.natural if naturally else self.reachable)[b].draw(rng)
        if picture in unreadable:
            return self._view(index, rng)
        return self._face(picture, b, naturally, largest, rng)

    def _view(self, index: int, rng: np.random.Generator) -> Choice:
        """A picture at ``view_scales`` times the scale that brings its long side to ``view_side``."""
        shape, faces = self.look(index)
        scale = float(np.exp(rng.uniform(*np.log(self._view_scales(shape)))))
        boxes = faces.boxes[~faces.ignored]
        corner, sides = rng.random(2) * shape, np.zeros(2)
        if len(boxes) and rng.random() >= ELSEWHERE:
            box = boxes[rng.integers(len(boxes))]
            corner, sides = box[1::-1].astype(np.float64), np.maximum(box[2:] - box[:2], 1.0)[::-1].astype(np.float64)
        return Choice(index, shape, faces, scale, corner, sides)

    def _face(self, picture: int, b: int, naturally: bool, largest: float, rng: np.random.Generator) -> Choice:
        """The picture at a scale that shows one of its faces in bin ``b``, with that face in view."""
        shape, faces = self.look(picture)
        fits = (self._natural if naturally else self._reachable)(shape, faces, b)
        face = int(rng.choice(np.flatnonzero(fits)))
        box = faces.boxes[face].astype(np.float64)
        own = float(_sizes(faces)[face])
        smallest, most = self._view_scales(shape) if naturally else _face_scales(shape)
        low, high = max(float(self.edges[b]), own * smallest), min(float(self.edges[b + 1]), own * most)
        high = max(low, min(high, largest))
        wanted = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        return Choice(picture, shape, faces, wanted / own, box[1::-1], (box[2:] - box[:2])[::-1])

    def _natural(self, shape: tuple[int, int], faces: Faces, b: int) -> NDArray[np.bool_]:
        return self._fits(faces, b, *self._view_scales(shape))

    def _reachable(self, shape: tuple[int, int], faces: Faces, b: int) -> NDArray[np.bool_]:
        return self._fits(faces, b, *_face_scales(shape))

    def _fits(self, faces: Faces, b: int, smallest: float, most: float) -> NDArray[np.bool_]:
        """(n,): faces that a scale from ``smallest`` to ``most`` brings into bin ``b``."""
        own = _sizes(faces)
        fits: NDArray[np.bool_] = (own * most > self.edges[b]) & (own * smallest < self.edges[b + 1]) & ~faces.ignored
        return fits

    def _view_scales(self, shape: tuple[int, int]) -> tuple[float, float]:
        """The least and the largest scale of a view of a picture (height, width), as ``placed`` can show it."""
        least = SMALLEST_PIECE / min(shape)
        low, high = (
            min(max(scale * self.config.view_side / max(shape), least), max(LARGEST_ZOOM, least))
            for scale in self.config.view_scales
        )
        return low, high

    def fit(self, plan: Callable[[np.random.Generator], Plan]) -> NDArray[np.float64]:
        """Choose the shares of wanted sizes so that plans hold faces as ``size_shares`` asks; returns what they then hold.

        A picture brought to a wanted size shows other faces too, so what is drawn is not what is seen: the shares are corrected
        by what sample plans hold, round by round. Raises ConfigError where these pictures cannot give it.
        """
        asked = np.array(self.config.size_shares)
        for turn in range(ROUNDS):
            held = self.held([plan(np.random.default_rng((turn, number))) for number in range(PLANS // 2)])
            ratio = np.clip(asked / np.maximum(held, 1e-3), 0.25, 4.0)
            self.shares = self.shares * ratio ** (0.9 if turn < ROUNDS // 2 else 0.45)
            self.shares /= max(self.shares.sum(), 1e-12)
        held = self.held([plan(np.random.default_rng((ROUNDS, number))) for number in range(4 * PLANS)])
        worst = int(np.abs(held - asked).argmax())
        if abs(held[worst] - asked[worst]) <= OFF:
            return held
        if not held.any():
            raise ConfigError(
                "augment.size_shares asks for faces, and these pictures show none that counts",
                "leave augment.size_shares away, or look at the labels with: featherface data stats",
            )
        can = ", ".join(f"{percent / 100:g}" for percent in _percents(held))
        raise ConfigError(
            f"augment.size_shares asks for {asked[worst]:.0%} of the faces {self._words(worst)}; "
            f"these pictures give {held[worst]:.0%}",
            f"what can be met: augment.size_shares=[{can}]; or change augment.views, view_scales or face_sizes",
        )

    def held(self, plans: Sequence[Plan]) -> NDArray[np.float64]:
        """(bins,): shares of the faces that count in ``plans``, by size."""
        sizes = np.concatenate([_sizes(p.faces)[~p.faces.ignored] for p in plans])
        edges = [0.0, *self.edges[1:-1], np.inf]
        counts: NDArray[np.float64] = np.histogram(sizes, edges)[0] / max(1, len(sizes))
        return counts

    def _words(self, b: int) -> str:
        low, high = self.edges[b], self.edges[b + 1]
        if b == 0:
            return f"below {high:g} px"
        return f"of {low:g} px and more" if b == self.bins - 1 else f"of {low:g} to {high:g} px"


class _Weighted:
    """Pictures to draw from, each as often as its weight says."""

    def __init__(self, pictures: list[int], weights: NDArray[np.float64]) -> None:
        self.pictures = np.array(pictures, np.int64)
        self.sums = np.cumsum(weights[self.pictures]) if len(pictures) else np.zeros(0)

    def __len__(self) -> int:
        return len(self.pictures)

    def draw(self, rng: np.random.Generator) -> int:
        return int(self.pictures[np.searchsorted(self.sums, rng.random() * self.sums[-1], "right")])


def _face_scales(shape: tuple[int, int]) -> tuple[float, float]:
    """The least and the largest scale at which a picture (height, width) is shown for one of its faces."""
    least = SMALLEST_PIECE / min(shape)
    return least, max(ENLARGED, least)


def _percents(shares: NDArray[np.float64]) -> list[int]:
    """Shares in whole percent that add up to 100, by the largest remainders."""
    whole = np.floor(100 * shares).astype(int)
    rest = np.argsort(whole - 100 * shares, kind="stable")[: 100 - whole.sum()]
    whole[rest] += 1
    percents: list[int] = whole.tolist()
    return percents


def _sizes(faces: Faces) -> NDArray[np.float64]:
    sides = np.maximum(faces.boxes[:, 2:] - faces.boxes[:, :2], 0).astype(np.float64)
    roots: NDArray[np.float64] = np.sqrt(sides.prod(1))
    return roots
