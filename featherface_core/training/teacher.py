"""A teacher that looks through onnxruntime, which on a processor is faster than PyTorch; docs/performance.md has by how much."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featherface_core.config import ExportConfig
from featherface_core.detect.detector import OUTPUTS
from featherface_core.detect.session import open_graph, session_options
from featherface_core.errors import ConfigError, ExportError, first_line
from featherface_core.events import Note, RunListener
from featherface_core.export.graph import INPUT, trace
from featherface_core.export.rewrites import REWRITES, rewritten
from featherface_core.models.featherface import FeatherFace
from featherface_core.recipe import DistillConfig, FeatureLoss, Recipe
from featherface_core.training.assignment import rows_where
from featherface_core.training.device import autocast_type
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


LEVELS = ("level3", "level4", "level5")
# what is rewritten: single heads would give the background's score as 1 - the face's, which loses its logarithm
KEPT = tuple(name for name in REWRITES if name != "heads")
AGREES = 1e-3  # of the largest value of an output, between the two runtimes
WORTH = 1000 * 640**2  # pixels to look at: with many fewer the export takes longer than it saves


def make_teacher(model: FeatherFace, recipe: Recipe, pictures: int, on_event: RunListener) -> Teacher:
    """The teacher that fits ``recipe.machine``, to look at so many pictures of ``recipe.size``.

    Raises ConfigError where ``machine.teacher`` is onnxruntime and the model is not on a CPU.
    """
    kind, device = recipe.machine.teacher, next(model.parameters()).device
    if kind == "onnxruntime" and device.type != "cpu":
        raise ConfigError(
            f"machine.teacher onnxruntime does not go with --device {device}", "use --set machine.teacher=auto"
        )
    if kind == "auto":
        whole = autocast_type(recipe.machine.amp, device) is None
        kind = "onnxruntime" if device.type == "cpu" and whole and pictures * recipe.size**2 >= WORTH else "torch"
    if kind == "torch":
        return Teacher(model)
    on_event(Note("the teacher is exported first, to look through onnxruntime; that takes a while"))
    try:
        return RuntimeTeacher(model, torch.get_num_threads())
    except ExportError as problem:
        on_event(Note(f"the teacher stays in PyTorch: {problem.message}", warning=True))
        return Teacher(model)


class RuntimeTeacher(Teacher):
    """A Teacher whose network is exported, and run by onnxruntime on the CPU; its views are the same but for rounding.

    threads: of one operator, 0 for onnxruntime's choice. Raises ExportError where the network cannot be exported, or
    where the two runtimes disagree.
    """

    def __init__(self, model: FeatherFace, threads: int = 0) -> None:
        super().__init__(model)
        graph = trace(_Seen(rewritten(model, KEPT)), ExportConfig().opset, None, (*OUTPUTS, *LEVELS), model.config.name)
        options = session_options(threads)
        # threads that wait for the next batch would otherwise take the student's processors
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = open_graph(graph.SerializeToString(), options)
        except Exception as problem:  # onnxruntime has no common base class for its errors
            raise ExportError(f"onnxruntime cannot run {model.config.name}: {first_line(problem)}") from problem
        self._compare()

    def see(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """As Teacher.see."""
        made = self._session.run(None, {INPUT: np.ascontiguousarray(pixels.numpy())})
        regressions, scores, landmarks, *pyramid = (torch.from_numpy(output) for output in made)
        return regressions, scores, landmarks, pyramid

    @torch.no_grad()
    def _compare(self) -> None:
        pixels = 60 * torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
        *theirs, their_pyramid = super().see(pixels)
        *ours, our_pyramid = self.see(pixels)
        names = (*OUTPUTS, *LEVELS)
        for name, a, b in zip(names, (*ours, *our_pyramid), (*theirs, *their_pyramid), strict=True):
            apart, limit = float((a - b).abs().max()), AGREES * max(1.0, float(b.abs().max()))
            if not apart <= limit:  # nor is NaN
                raise ExportError(f"{name} of {self.config.name} in onnxruntime is {apart:.2g} from PyTorch's")


class _Seen(nn.Module):
    """All that a teacher shows: regressions, scores, landmarks, and the neck's outputs."""

    def __init__(self, model: FeatherFace) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Of pixels (N, 3, H, W)."""
        pyramid = self.model.pyramid(x)
        return (*self.model.predict(list(pyramid)), *pyramid)
