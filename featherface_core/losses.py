"""MultiBoxLoss: boxes, scores and landmarks of a batch against its faces, matched and mined over the whole batch at once."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from featherface_core.boxes import VARIANCES
from featherface_core.recipe import BoxLoss, LossConfig
from featherface_core.targets import Matches, Targets, anchors_of, match

Outputs = tuple[Tensor, Tensor, Tensor]
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0  # Lin et al. 2017
QUALITY_BETA = 2.0  # Li et al. 2020
SMALLEST = 1e-3  # pixels: keeps the logarithm of a side finite


@dataclass(frozen=True)
class LossTerms:
    """Weighted losses by name (``box``, ``cls``, ``landmark``; their sum is trained on), and what they were taken over.

    negative (M,): flat indices of the mined negatives.
    """

    terms: dict[str, Tensor]
    matches: Matches
    negative: Tensor


class MultiBoxLoss:
    """The loss of RetinaFace (Deng et al. 2020): SSD matching, 7:1 hard negatives, smooth L1 and cross-entropy.

    Called with the outputs of a network in training mode (regressions (N, A, 4), logits (N, A, 2), landmarks (N, A, 10)), the
    batch's Targets, and the input's height and width in pixels. Each term is a sum over positives divided by their number
    (for landmarks: of those that have them), at least 1. Always finite for finite outputs: pictures without faces, faces
    of one pixel and batches without a match give zero or the background's term.

    share: turns a count of this process into the mean over all processes, so that averaged gradients equal those
    of one process; by default there is one process.
    """

    def __init__(
        self, config: LossConfig, share: Callable[[Tensor], Tensor] = lambda count: count.clamp(min=1)
    ) -> None:
        self.config, self.share = config, share

    def __call__(
        self, outputs: Outputs, targets: Targets, height: int, width: int, doubtful: Tensor | None = None
    ) -> LossTerms:
        """The weighted terms of a batch. doubtful (N * A,): anchors that are not mined as negatives, bool."""
        c = self.config
        matches = match(targets, height, width, c.iou, c.ignore_iou)
        regressions, logits, landmarks = (output.float().flatten(0, 1) for output in outputs)
        anchors = anchors_of(height, width, str(regressions.device))
        matched = anchors[matches.positive % len(anchors)]
        weights = targets.weights[matches.face]
        boxes = targets.boxes[matches.face]
        points = targets.landmarks[matches.face]
        known = torch.isfinite(points).all((1, 2))
        # one sum over processes for both counts
        counts = self.share(torch.stack((weights.sum(), weights[known].sum())))

        predicted = regressions[matches.positive]
        box = box_loss(predicted, boxes, matched, c.regression, c.box_beta)
        wanted = encode_points(points[known], matched[known])
        landmark = F.smooth_l1_loss(
            landmarks[matches.positive[known]], wanted, reduction="none", beta=c.landmark_beta
        ).sum(1)
        margin = logits[:, 1] - logits[:, 0]
        negative = self._mine(margin.detach().view(targets.pictures, -1), matches, doubtful)
        if c.classification == "cross-entropy":
            faces = (weights * F.softplus(-margin[matches.positive])).sum()
            classes = faces + F.softplus(margin[negative]).sum()
        else:
            quality = weights
            if c.classification == "quality-focal":
                quality = weights * iou_of(decode(predicted.detach(), matched), boxes)[0].clamp(min=0)
            classes = _focal(margin, matches, quality, doubtful, c.classification == "quality-focal")
        return LossTerms(
            {
                "box": c.box * (weights * box).sum() / counts[0],
                "cls": c.cls * classes / counts[0],
                "landmark": c.landmark * (weights[known] * landmark).sum() / counts[1],
            },
            matches,
            negative,
        )

    def _mine(self, margin: Tensor, matches: Matches, doubtful: Tensor | None) -> Tensor:
        """The hardest negatives of each picture: ``negatives`` per positive, ``background`` where there is no face."""
        pictures, anchors = margin.shape
        candidates = margin.flatten().clone()
        candidates[matches.positive] = -torch.inf
        candidates[matches.ignored] = -torch.inf
        if doubtful is not None:
            candidates[doubtful] = -torch.inf
        positives = torch.bincount(matches.positive // anchors, minlength=pictures)
        wanted = torch.where(positives > 0, positives * self.config.negatives, self.config.background)
        wanted = wanted.clamp(max=anchors - 1)
        # a loss is monotone in the margin, so the margin alone ranks
        hardest, place = candidates.view(pictures, anchors).topk(int(wanted.max()), 1)
        taken = (torch.arange(hardest.shape[1], device=margin.device) < wanted[:, None]) & (hardest > -torch.inf)
        flat = place + torch.arange(pictures, device=margin.device)[:, None] * anchors
        return flat[taken]


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Boxes (n, 4) x1 y1 x2 y2 and their anchors (n, 4) to regressions (n, 4); the inverse of boxes.decode_boxes."""
    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).clamp(min=SMALLEST)
    moved = (centre - anchors[:, :2]) / (VARIANCES[0] * anchors[:, 2:])
    return torch.cat((moved, torch.log(size / anchors[:, 2:]) / VARIANCES[1]), 1)


def decode(regressions: Tensor, anchors: Tensor) -> Tensor:
    """Regressions (n, 4) and anchors (n, 4) to boxes (n, 4), differentiable; see boxes.decode_boxes."""
    centre = anchors[:, :2] + regressions[:, :2] * VARIANCES[0] * anchors[:, 2:]
    # e^8 times an anchor is larger than any picture; beyond it a young network's boxes would overflow
    half = anchors[:, 2:] * (regressions[:, 2:] * VARIANCES[1]).clamp(-8, 8).exp() / 2
    return torch.cat((centre - half, centre + half), 1)


def encode_points(points: Tensor, anchors: Tensor) -> Tensor:
    """Landmarks (n, 5, 2) and anchors (n, 4) to regressions (n, 10); see boxes.encode_landmarks."""
    return ((points - anchors[:, None, :2]) / (VARIANCES[0] * anchors[:, None, 2:])).flatten(1)


def box_loss(regressions: Tensor, boxes: Tensor, anchors: Tensor, kind: BoxLoss, beta: float = 1.0) -> Tensor:
    """(n,): smooth L1 of encoded boxes summed over four values, or 1 - IoU, DIoU, CIoU of decoded ones."""
    if kind == "smooth-l1":
        return F.smooth_l1_loss(regressions, encode(boxes, anchors), reduction="none", beta=beta).sum(1)
    predicted = decode(regressions, anchors)
    overlap, hull = iou_of(predicted, boxes)
    loss = 1 - overlap
    if kind in ("diou", "ciou"):
        apart = (predicted[:, :2] + predicted[:, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2
        loss = loss + apart.square().sum(1) / hull.square().sum(1).clamp(min=SMALLEST)
    if kind == "ciou":
        angles = [torch.atan2(b[:, 2] - b[:, 0], (b[:, 3] - b[:, 1]).clamp(min=SMALLEST)) for b in (predicted, boxes)]
        shape = 4 / torch.pi**2 * (angles[0] - angles[1]).square()
        with torch.no_grad():
            trade = shape / (1 - overlap + shape).clamp(min=1e-6)
        loss = loss + trade * shape
    return loss


def iou_of(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU (n,) of boxes paired row by row, and the sides (n, 2) of the smallest box around each pair."""
    inside = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (a, b)]
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    return inside / (areas[0] + areas[1] - inside).clamp(min=SMALLEST**2), hull


def _focal(margin: Tensor, matches: Matches, quality: Tensor, doubtful: Tensor | None, graded: bool) -> Tensor:
    """Focal loss of all anchors but the ignored: towards ``quality`` (graded), or 0 and 1, positives weighted by it."""
    target = torch.zeros_like(margin)
    target[matches.positive] = quality if graded else 1.0
    entropy = F.binary_cross_entropy_with_logits(margin, target, reduction="none")
    if graded:
        loss = (target - margin.sigmoid()).abs().pow(QUALITY_BETA) * entropy
    else:
        missed = (target - margin.sigmoid()).abs()
        loss = torch.where(target > 0, FOCAL_ALPHA, 1 - FOCAL_ALPHA) * missed.pow(FOCAL_GAMMA) * entropy
        loss = loss.index_put((matches.positive,), loss[matches.positive] * quality)
    kept = torch.ones_like(margin)
    kept[matches.ignored] = 0
    if doubtful is not None:
        kept[doubtful] = 0
        kept[matches.positive] = 1
    return (loss * kept).sum()
