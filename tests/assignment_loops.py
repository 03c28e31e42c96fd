"""Which anchor learns which face, by plain loops over pictures, faces and layers in float64: what ``match`` is compared with.

A decision that rounding could turn (a threshold met within 1e-5, two claims alike within 1e-5) makes a scene unclear, and
unclear scenes are not compared.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from featherface_core.boxes import ANCHOR_SIZES, STRIDES, decode_boxes, iou, make_anchors

CLOSE = 1e-5


@dataclass
class Judged:
    """learns: anchor to face (its place in the picture). ignored: anchors. unclear: whether rounding could change it."""

    learns: dict[int, int] = field(default_factory=dict)
    ignored: set[int] = field(default_factory=set)
    unclear: bool = False


class Loops:
    """One picture: its anchors, layer by layer. predicted: boxes (A, 4) and scores (A,) for SimOTA."""

    def __init__(self, height: int, width: int, regressions: np.ndarray, margin: np.ndarray) -> None:
        self.anchors = make_anchors(height, width).astype(np.float64)
        half = self.anchors[:, 2:] / 2
        self.corners = np.concatenate((self.anchors[:, :2] - half, self.anchors[:, :2] + half), 1)
        self.predicted = decode_boxes(regressions.astype(np.float64), self.anchors)
        self.cost = np.log1p(np.exp(-margin.astype(np.float64)))
        sides = [(stride, side) for stride, level in zip(STRIDES, ANCHOR_SIZES, strict=True) for side in level]
        self.layers = [(stride, side, np.flatnonzero(self.anchors[:, 2] == side)) for stride, side in sides]

    def judge(self, boxes: np.ndarray, ignored: np.ndarray, mode: str, t: float, ignore_iou: float, k: int) -> Judged:
        """What the faces (n, 4), of which some are ``ignored``, take."""
        boxes, out = boxes.astype(np.float64), Judged()
        claims: list[tuple[int, int, bool, float]] = []  # anchor, face, whether a first choice, how good
        for face, box in enumerate(boxes):
            if ignored[face]:
                out.ignored |= self.hidden_by(box, ignore_iou, out)
            elif box[2] > box[0] and box[3] > box[1]:
                if mode == "simota":
                    claims += self.cheapest(face, box, out)
                    continue
                overlaps = iou(box[None], self.corners)[0]
                chosen = self.above(overlaps, t, out) if mode == "iou" else self.atss(box, overlaps, k, out)
                claims += [(a, face, False, overlaps[a]) for a in chosen]
                best = self.best(box, overlaps, out)
                claims.append((best, face, True, overlaps[best]))
        winners: dict[int, tuple[bool, float, int]] = {}
        for anchor, face, first, good in claims:
            rival = winners.get(anchor)
            if rival and rival[2] != face and rival[0] == first and abs(rival[1] - good) < 1e-3:
                out.unclear = True
            if rival is None or (first, good) > rival[:2]:
                winners[anchor] = (first, good, face)
        out.learns = {anchor: face for anchor, (_, _, face) in winners.items()}
        out.ignored -= set(out.learns)
        return out

    def cells_around(self, box: np.ndarray, stride: int, layer: np.ndarray, reach: int) -> list[int]:
        """The anchors of a layer at most ``reach`` cells, across and down, from the one nearest to the face's centre."""
        centres = self.anchors[layer, :2]
        nearest = centres[self.distance(box, layer).argmin()]
        near: list[int] = layer[(abs(centres - nearest) <= reach * stride + 1).all(1)].tolist()
        return near

    def distance(self, box: np.ndarray, anchors: object) -> np.ndarray:
        centre = (box[:2] + box[2:]) / 2
        return np.asarray(np.hypot(*(self.anchors[anchors, :2] - centre).T))

    def inside(self, box: np.ndarray, anchor: int, out: Judged) -> bool:
        x, y = self.anchors[anchor, :2]
        margin = min(x - box[0], y - box[1], box[2] - x, box[3] - y)
        out.unclear |= abs(margin) < CLOSE
        return bool(margin > 0)

    def best(self, box: np.ndarray, overlaps: np.ndarray, out: Judged) -> int:
        """Of the anchors that overlap the face most, the smallest, and of those the nearest."""
        most = overlaps.max()
        equal = np.flatnonzero(overlaps >= most - 1e-6)
        sides = self.anchors[equal, 2]
        out.unclear |= most > 0 and len(set(sides)) > 1
        equal = equal[sides == sides.min()]
        near = self.distance(box, equal)
        out.unclear |= len(near) > 1 and float(np.diff(np.sort(near)[:2])[0]) < 1e-3
        return int(equal[near.argmin()])

    def above(self, overlaps: np.ndarray, t: float, out: Judged) -> list[int]:
        out.unclear |= bool((abs(overlaps - t) < CLOSE).any())
        return [int(a) for a in np.flatnonzero(overlaps >= t)]

    def atss(self, box: np.ndarray, overlaps: np.ndarray, k: int, out: Judged) -> list[int]:
        candidates: list[int] = []
        for stride, _, layer in self.layers:
            around = self.cells_around(box, stride, layer, 2)
            ranked = sorted(zip(self.distance(box, around).tolist(), around, strict=True))
            out.unclear |= len(ranked) > k and abs(ranked[k - 1][0] - ranked[k][0]) < 1e-3
            candidates += [a for _, a in ranked[:k]]
        shares = [overlaps[a] for a in candidates]
        mean = sum(shares) / len(shares)
        threshold = mean + math.sqrt(sum((s - mean) ** 2 for s in shares) / (len(shares) - 1))
        chosen = []
        for a in candidates:
            out.unclear |= abs(overlaps[a] - threshold) < CLOSE
            if overlaps[a] >= threshold and self.inside(box, a, out):
                chosen.append(a)
        return chosen

    def cheapest(self, face: int, box: np.ndarray, out: Judged) -> list[tuple[int, int, bool, float]]:
        side = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
        costs, shares = [], []
        for stride, size, layer in self.layers:
            factor = max(side / size, size / side)
            out.unclear |= abs(factor - 4) < 1e-4
            if factor > 4 and not (side < 4 and size == 16) and not (side > 2048 and size == 512):
                continue
            around = self.cells_around(box, stride, layer, 2)
            for a, share in zip(around, iou(box[None], self.predicted[around])[0].tolist(), strict=True):
                cost = self.cost[a] - 3 * math.log(share + 1e-8) + (0 if self.inside(box, a, out) else 200)
                costs.append((cost, a))
                shares.append(share)
        total = sum(sorted(shares)[-10:])
        k = max(1, int(total))
        out.unclear |= total >= 1 - CLOSE and abs(total - round(total)) < CLOSE
        costs.sort()
        out.unclear |= any(abs(costs[n][0] - costs[n - 1][0]) < 1e-3 for n in (1, k) if n < len(costs))
        return [(a, face, n == 0, -cost) for n, (cost, a) in enumerate(costs[:k])]

    def hidden_by(self, box: np.ndarray, ignore_iou: float, out: Judged) -> set[int]:
        """Anchors that an ignored face keeps from being negatives."""
        hidden = set()
        sides = np.maximum(box[2:] - box[:2], 0)
        clamped = min(max(math.sqrt(sides[0] * sides[1]), 16.0), 512.0)
        overlaps = iou(box[None], self.corners)[0]
        inside = np.clip(np.minimum(self.corners[:, 2:], box[2:]) - np.maximum(self.corners[:, :2], box[:2]), 0, None)
        covered = inside.prod(1) / self.anchors[:, 2] ** 2
        out.unclear |= bool((abs(overlaps - ignore_iou) < CLOSE).any() or (abs(covered - 0.5) < CLOSE).any())
        for stride, size, layer in self.layers:
            factor = max(clamped / size, size / clamped)
            out.unclear |= abs(factor - 2) < 1e-6 and clamped not in (16.0, 512.0)
            region = np.maximum(sides / 2, 1.5 * stride)
            off = abs(self.anchors[layer, :2] - (box[:2] + box[2:]) / 2) - region
            out.unclear |= factor <= 2 and bool((abs(off) < 1e-3).any())
            hidden |= {int(a) for a in layer[(off <= 0).all(1)] if factor <= 2}
        hidden |= {int(a) for a in np.flatnonzero((overlaps >= ignore_iou) | (covered >= 0.5))}
        hidden.add(self.best(box, overlaps, out))
        return hidden
