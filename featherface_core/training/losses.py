"""MultiBoxLoss: boxes, scores and landmarks of a batch against its faces, matched and mined over the whole batch at once."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from featherface_core.recipe import BoxLoss, LossConfig
from featherface_core.training.assignment import Matches, Predictions, known, match
from featherface_core.training.targets import SMALLEST, Targets, anchors_of, decode, encode, encode_points, iou_of

Outputs = tuple[Tensor, Tensor, Tensor]
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0  # Lin et al. 2017
QUALITY_BETA = 2.0  # Li et al. 2020


@dataclass(frozen=True)
class LossTerms:
    """Weighted losses by name (``box``, ``cls``, ``landmark``; their sum is trained on), and what they were taken over.

    negative (N * A,): the mined negatives, bool.
    """

    terms: dict[str, Tensor]
    matches: Matches
    negative: Tensor


class MultiBoxLoss:
    """The loss of RetinaFace (Deng et al. 2020): SSD matching, 7:1 hard negatives, smooth L1 and cross-entropy; or as
    LossConfig says.

    Called with the outputs of a network in training mode (regressions (N, A, 4), logits (N, A, 2), landmarks (N, A, 10)), the
    batch's Targets, and the input's height and width in pixels. Each term is a sum over positives, each times its weight
    (its face's, and ``per_face``'s), divided by the sum of these weights (for landmarks: of those that have them), at least
    1; negatives are not weighted. Always finite for finite outputs: pictures without faces, faces of one pixel and batches
    without a match give zero or the background's term. Nothing waits for a GPU.

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
        regressions, logits, landmarks = (output.float().flatten(0, 1) for output in outputs)
        margin = logits[:, 1] - logits[:, 0]
        matches = match(targets, height, width, c, Predictions(regressions.detach(), margin.detach()))
        anchors = anchors_of(height, width, str(regressions.device))
        matched = anchors[matches.positive % len(anchors)]
        boxes = targets.boxes[matches.face]
        points = targets.landmarks[matches.face]
        has_points = torch.isfinite(points).all(2).all(1)
        point_weights = matches.weight * has_points
        # one sum over processes for both counts
        counts = self.share(torch.stack((matches.weight.sum(), point_weights.sum())))

        predicted = regressions[matches.positive]
        box = box_loss(predicted, boxes, matched, c.regression, c.box_beta)
        wanted = torch.where(has_points[:, None], encode_points(points, matched), 0.0)
        landmark = F.smooth_l1_loss(landmarks[matches.positive], wanted, reduction="none", beta=c.landmark_beta).sum(1)
        excluded = matches.ignored if doubtful is None else matches.ignored | (doubtful & ~matches.taken)
        place, hard = self._mine(margin.detach().view(targets.pictures, -1), matches.taken, excluded)
        if c.classification == "cross-entropy":
            faces = (matches.weight * F.softplus(-margin[matches.positive])).sum()
            background = F.softplus(margin.view(targets.pictures, -1).gather(1, place))
            classes = faces + torch.where(hard, background, 0.0).sum()
        else:
            quality = None
            if c.classification == "quality-focal":
                quality = iou_of(decode(predicted.detach(), matched), boxes)[0]
            classes = _focal(margin, matches, quality, excluded)
        negative = torch.zeros(targets.pictures, len(anchors), dtype=torch.bool, device=margin.device)
        return LossTerms(
            {
                "box": c.box * (matches.weight * box).sum() / counts[0],
                "cls": c.cls * classes / counts[0],
                "landmark": c.landmark * (point_weights * landmark).sum() / counts[1],
            },
            matches,
            negative.scatter_(1, place, hard).flatten(),
        )

    def _mine(self, margin: Tensor, taken: Tensor, excluded: Tensor) -> tuple[Tensor, Tensor]:
        """The hardest negatives of each picture: ``negatives`` per positive, ``background`` where there is no face.

        Returns places (N, k) among each picture's anchors, and which of them are negatives (N, k).
        """
        pictures, anchors = margin.shape
        candidates = margin.masked_fill((taken | excluded).view(pictures, anchors), -torch.inf)
        positives = taken.view(pictures, anchors).sum(1)
        wanted = torch.where(positives > 0, positives * self.config.negatives, self.config.background)
        wanted = wanted.clamp(max=anchors - 1)
        # a loss is monotone in the margin, so the margin alone ranks
        hardest, place = candidates.topk(known(wanted.max(), anchors - 1), 1)
        nth = torch.arange(hardest.shape[1], device=margin.device)
        return place, (nth < wanted[:, None]) & (hardest > -torch.inf)


def box_loss(regressions: Tensor, boxes: Tensor, anchors: Tensor, kind: BoxLoss, beta: float = 1.0) -> Tensor:
    """(n,): smooth L1 of encoded boxes summed over four values, or 1 - IoU, DIoU, CIoU, EIoU of decoded ones.

    EIoU (Zhang et al. 2021, https://arxiv.org/abs/2101.08158): 1 - IoU + d^2 / c^2 + dw^2 / Cw^2 + dh^2 / Ch^2, where d is the
    distance of the centres, dw and dh the differences of the sides, Cw and Ch the sides and c the diagonal of the smallest box
    around both.
    """
    if kind == "smooth-l1":
        return F.smooth_l1_loss(regressions, encode(boxes, anchors), reduction="none", beta=beta).sum(1)
    predicted = decode(regressions, anchors)
    overlap, hull = iou_of(predicted, boxes)
    loss = 1 - overlap
    if kind in ("diou", "ciou", "eiou"):
        apart = (predicted[:, :2] + predicted[:, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2
        loss = loss + apart.square().sum(1) / hull.square().sum(1).clamp(min=SMALLEST)
    if kind == "eiou":
        sides = predicted[:, 2:] - predicted[:, :2] - (boxes[:, 2:] - boxes[:, :2])
        loss = loss + (sides.square() / hull.square().clamp(min=SMALLEST)).sum(1)
    if kind == "ciou":
        angles = [torch.atan2(b[:, 2] - b[:, 0], (b[:, 3] - b[:, 1]).clamp(min=SMALLEST)) for b in (predicted, boxes)]
        shape = 4 / torch.pi**2 * (angles[0] - angles[1]).square()
        with torch.no_grad():
            trade = shape / (1 - overlap + shape).clamp(min=1e-6)
        loss = loss + trade * shape
    return loss


def _focal(margin: Tensor, matches: Matches, quality: Tensor | None, excluded: Tensor) -> Tensor:
    """Focal loss of all anchors but the excluded (N * A,): towards 0 and 1, or to the ``quality`` (P,) of positives.

    A positive's weight multiplies its loss, not its target: a face that counts half is taught half as strongly, and its
    score is none the lower.
    """
    weight = _spread(matches.weight, matches, (~excluded).float())
    if quality is not None:
        target = _spread(quality, matches, torch.zeros_like(margin))
        power = QUALITY_BETA
    else:
        target, power = matches.taken.float(), FOCAL_GAMMA
        weight = weight * torch.where(matches.taken, FOCAL_ALPHA, 1 - FOCAL_ALPHA)
    entropy = F.binary_cross_entropy_with_logits(margin, target, reduction="none")
    return (weight * (target - margin.sigmoid()).abs().pow(power) * entropy).sum()


def _spread(values: Tensor, matches: Matches, others: Tensor) -> Tensor:
    """(N * A,): the positives' ``values`` (P,) in their places, ``others`` (N * A,) elsewhere."""
    place = torch.where(matches.valid, matches.positive, len(others))
    return F.pad(others, (0, 1)).index_copy_(0, place, values)[:-1]
