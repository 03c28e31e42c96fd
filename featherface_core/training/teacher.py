"""Distillation: a frozen teacher, adapters at the neck's outputs, and losses where there is something to learn.

docs/training.md has the formulas. Nothing here enters the student: adapters and teacher are this module's own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featherface_core.errors import ConfigError
from featherface_core.models.featherface import FeatherFace
from featherface_core.recipe import DistillConfig, FeatureLoss, TeacherKind
from featherface_core.training.assignment import rows_where
from featherface_core.training.losses import LossTerms, Outputs
from featherface_core.training.targets import Targets, anchors_of, decode, iou_of

TINY = 1e-12  # of a probability before its logarithm
CWD_TEMPERATURE = 4.0


@dataclass(frozen=True)
class TeacherView:
    """What a teacher makes of a batch. margin (N * A,): log of face to background odds. pyramid: its neck's outputs."""

    regressions: Tensor
    margin: Tensor
    landmarks: Tensor
    pyramid: list[Tensor]


def check_runtime(kind: TeacherKind, device: torch.device) -> None:
    """Raise ConfigError where a teacher on ``device`` cannot run as MachineConfig.teacher ``kind`` says."""
    if kind == "onnxruntime" and device.type != "cpu":
        raise ConfigError(
            f"machine.teacher onnxruntime does not go with --device {device}", "use --set machine.teacher=auto"
        )


class Teacher:
    """A trained network that only looks: evaluation mode, no gradients, its own pre-processed pixels."""

    def __init__(self, model: FeatherFace) -> None:
        self.model = model.eval().requires_grad_(False)
        self.config = model.config

    @torch.no_grad()
    def look(self, pixels: Tensor) -> TeacherView:
        """The view of pixels (N, 3, H, W), BGR minus the mean."""
        *outputs, pyramid = self.see(pixels)
        regressions, scores, landmarks = (t.float().flatten(0, 1) for t in outputs)
        odds = scores.clamp(min=TINY).log()
        return TeacherView(regressions, odds[:, 1] - odds[:, 0], landmarks, pyramid)

    def see(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Regressions (N, A, 4), softmax scores (N, A, 2), landmarks (N, A, 10) and the neck's outputs."""
        pyramid = self.model.pyramid(pixels)
        return (*self.model.predict(list(pyramid)), pyramid)


class Adapters(nn.Module):
    """A 1x1 convolution at each level from the student's width to the teacher's; made once, trained, left behind."""

    def __init__(self, student: int, teacher: int, levels: int = 3) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(student, teacher, 1) for _ in range(levels))

    def forward(self, pyramid: list[Tensor]) -> list[Tensor]:
        """(N, student, H_i, W_i) to (N, teacher, H_i, W_i)."""
        return [adapt(level) for adapt, level in zip(self.levels, pyramid, strict=True)]


class DistillationLoss:
    """What the student is held to beside the labels; see ``__call__``. share: as MultiBoxLoss's; box_beta, landmark_beta:
    as LossConfig's."""

    def __init__(
        self,
        config: DistillConfig,
        share: Callable[[Tensor], Tensor] = lambda count: count.clamp(min=1),
        box_beta: float = 1.0,
        landmark_beta: float = 1.0,
    ) -> None:
        self.config, self.share = config, share
        self.box_beta, self.landmark_beta = box_beta, landmark_beta

    def __call__(
        self,
        outputs: Outputs,
        adapted: list[Tensor],
        view: TeacherView,
        targets: Targets,
        labelled: LossTerms,
        height: int,
        width: int,
    ) -> dict[str, Tensor]:
        """Weighted terms by name, before alpha.

        ``teacher/score``: T^2 KL(teacher || student) of scores softened by T (Hinton et al. 2015), over positives, mined
        negatives and anchors the teacher believes in. ``teacher/box``, ``teacher/landmark``: smooth L1 to the teacher's
        regressions at positives where its own box fits the labelled face. ``teacher/feature``: of the adapted neck outputs.
        """
        c, matches = self.config, labelled.matches
        regressions, logits, landmarks = (output.float().flatten(0, 1) for output in outputs)
        believed = view.margin.sigmoid() >= c.believes
        faces = believed | matches.taken
        chosen, matters = rows_where(faces | labelled.negative, len(faces))

        anchors = anchors_of(height, width, str(logits.device))
        matched = anchors[matches.positive % len(anchors)]
        seen, _ = iou_of(decode(view.regressions[matches.positive], matched), targets.boxes[matches.face])
        agreed = matches.valid & believed[matches.positive] & (seen >= c.agree_iou)
        counts = self.share(torch.stack((faces.sum(), agreed.sum())).float())

        margin = (logits[:, 1] - logits[:, 0])[chosen]
        score = (softened_kl(margin, view.margin[chosen], c.temperature) * matters).sum() / counts[0]
        terms = {"teacher/score": c.score * score}
        for name, weight, beta, mine, theirs in (
            ("box", c.box, self.box_beta, regressions, view.regressions),
            ("landmark", c.landmark, self.landmark_beta, landmarks, view.landmarks),
        ):
            apart = F.smooth_l1_loss(mine[matches.positive], theirs[matches.positive], reduction="none", beta=beta).sum(
                1
            )
            terms[f"teacher/{name}"] = weight * (apart * agreed).sum() / counts[1]
        if c.features != "none" and c.feature:
            levels = [
                feature_loss(mine.float(), theirs.float(), c.features)
                for mine, theirs in zip(adapted, view.pyramid, strict=True)
            ]
            terms["teacher/feature"] = c.feature * torch.stack(levels).sum()
        return terms


def softened_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """(n,): T^2 KL of two Bernoulli distributions given by their log odds (n,), divided by T before; Hinton et al. 2015."""
    wanted = (teacher / temperature).sigmoid()
    cross = F.binary_cross_entropy_with_logits(student / temperature, wanted, reduction="none")
    own = F.binary_cross_entropy_with_logits(teacher / temperature, wanted, reduction="none")
    return temperature**2 * (cross - own)


def feature_loss(student: Tensor, teacher: Tensor, kind: FeatureLoss) -> Tensor:
    """A scalar for feature maps (N, C, H, W) of one shape.

    ``pearson``: 1 - correlation of each channel over pictures and places, averaged (PKD, Cao et al. 2022: MSE of standardised
    maps, halved). ``cwd``: KL of each channel's softmax over places at temperature 4 (Shu et al. 2021), times T^2,
    averaged. ``mse``: mean squared difference.
    """
    if kind == "mse":
        return F.mse_loss(student, teacher)
    if kind == "cwd":
        mine, theirs = (x.flatten(2) / CWD_TEMPERATURE for x in (student, teacher))
        divergence = F.kl_div(mine.log_softmax(2), theirs.log_softmax(2), reduction="none", log_target=True).sum(2)
        return CWD_TEMPERATURE**2 * divergence.mean()
    mine, theirs = (standardise(x.transpose(0, 1).flatten(1)) for x in (student, teacher))
    return (mine - theirs).square().mean() / 2


def standardise(rows: Tensor) -> Tensor:
    """Rows (C, n) with mean 0 and variance 1; constant rows become 0."""
    centred = rows - rows.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
