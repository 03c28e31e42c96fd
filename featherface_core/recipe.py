"""A recipe: everything that decides what a training run does, as frozen dataclasses. Imports no torch.

Defaults and their meaning live here, once: the command line, the YAML files in configs/recipes and the run folder's config.yaml
all fill these. A recipe and a seed give the same run again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from featherface_core.config import (
    MIN_SIZE,
    check_choice,
    check_range,
    check_size,
    load_yaml,
    parse_overrides,
    with_values,
)
from featherface_core.errors import ConfigError

MOST_EPOCHS = 1_000_000  # of any run
CropKind = Literal["official", "jitter", "face-size", "collage", "mixture", "none"]
ClassLoss = Literal["cross-entropy", "focal", "quality-focal"]
BoxLoss = Literal["smooth-l1", "iou", "diou", "ciou", "eiou"]
AssignKind = Literal["iou", "atss", "simota"]
LearnKind = Literal["all", "landmarks"]
ScheduleKind = Literal["cosine", "one-cycle", "constant"]
AmpKind = Literal["auto", "off", "bf16", "fp16"]
TeacherKind = Literal["auto", "torch", "onnxruntime"]
PaintKind = Literal["auto", "opencv", "device"]
AlphaStrategy = Literal["linear", "cosine", "exponential"]
FeatureLoss = Literal["pearson", "cwd", "mse", "none"]


def _check_positive(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"{name} {value!r} is not a positive number", "use a number above 0")


@dataclass(frozen=True)
class AugmentConfig:
    """How a training picture is varied. Every part can be switched off; probabilities are 0 to 1.

    crop: ``official``, a square of 0.3, 0.45, 0.6, 0.8 or 1.0 times the short side (RetinaFace); ``jitter``, a square of
    ``jitter`` times the short side, padded with the mean colour where it is larger than the picture; ``face-size``, a
    square that shows a random face at a log-uniform size of ``face_sizes`` pixels, at most the square's; ``collage``,
    pictures side by side until the square is full, each at a size that shows one of its faces so; ``mixture``, a collage
    in which ``views`` of the pieces are pictures as evaluation shows them, at ``view_scales`` times the scale that brings the
    long side to ``view_side`` pixels, and the others show a face at a size that is drawn; ``none``, the whole picture.
    size_edges, size_shares: of a mixture: the shares of faces below the first edge (pixels of the network's input, square root
    of the area), between edges, and from the last one on, that plans are to hold, within 0.08; sizes outside of ``face_sizes``
    are not drawn. Without shares, each range that the pictures have is drawn as often.
    mirror: chance of a left-right flip. colour: probability of each colour distortion (brightness by 32 levels, contrast and
    saturation 0.5 to 1.5, hue by 18 of 180; SSD, section 3.6). soften: chance that detail is lost: shrunk up to threefold,
    enlarged again; a face that keeps less than 7 pixels of detail is ignored. scales: multi-scale training; each batch's side
    is ``size`` times one of them, rounded to 32. mosaic, mixup, cutmix: probabilities of mixing four, two, two pictures;
    the faces of all of them count (MixUp: Zhang et al. 2018, weights lambda and 1 - lambda; CutMix: Yun et al. 2019,
    weights by visible area). drop_block: share of the neck's outputs that DropBlock (Ghiasi et al. 2018) zeroes during
    training. min_face: faces whose longer side is below this many pixels of the network's input train nothing; off, since
    they make up the Hard AP.
    """

    crop: CropKind = "official"
    jitter: tuple[float, float] = (0.3, 2.0)
    face_sizes: tuple[float, float] = (8.0, 200.0)
    views: float = 0.5
    view_side: int = 640
    view_scales: tuple[float, float] = (0.6, 2.0)
    size_edges: tuple[float, ...] = (12.0, 24.0, 64.0)
    size_shares: tuple[float, ...] = ()
    mirror: float = 0.5
    colour: float = 0.5
    soften: float = 0.0
    scales: tuple[float, ...] = (1.0,)
    mosaic: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    drop_block: float = 0.0
    min_face: float = 0.0

    def __post_init__(self) -> None:
        check_choice("augment.crop", self.crop, CropKind)
        for name in ("views", "mirror", "colour", "soften", "mosaic", "mixup", "cutmix"):
            check_range(f"augment.{name}", getattr(self, name), 0.0, 1.0)
        if self.mosaic + self.mixup + self.cutmix > 1:
            raise ConfigError(
                f"augment.mosaic, mixup and cutmix add up to {self.mosaic + self.mixup + self.cutmix:g}",
                "a picture has one of them at most: let them add up to 1 or less",
            )
        check_range("augment.drop_block", self.drop_block, 0.0, 0.5)
        check_range("augment.min_face", self.min_face, 0.0, 1000.0)
        check_size("augment.view_side", self.view_side)
        ranges = (("jitter", 0.05, 4.0), ("face_sizes", 2.0, 2000.0), ("view_scales", 0.05, 4.0))
        for name, low, high in ranges:
            pair = getattr(self, name)
            if len(pair) != 2 or not low <= pair[0] <= pair[1] <= high:
                raise ConfigError(f"augment.{name} {pair} is not a range", f"use two numbers from {low} to {high}")
        if not self.scales or any(not 0.25 <= s <= 4 for s in self.scales):
            raise ConfigError(f"augment.scales {self.scales} is out of range", "use factors from 0.25 to 4")
        if self.crop == "mixture":
            self._check_sizes()

    def _check_sizes(self) -> None:
        """Raise ConfigError unless the ranges of a mixture's face sizes rise, and their shares, if any, add up to 1."""
        low, high = self.face_sizes
        edges = (low, *self.size_edges, high)
        if any(not a < b for a, b in pairwise(edges)):
            raise ConfigError(
                f"augment.size_edges {list(self.size_edges)} do not rise within augment.face_sizes {[low, high]}",
                "for example size_edges: [12, 24, 64] within face_sizes: [6, 300]",
            )
        shares = self.size_shares
        if not shares:
            return
        if len(shares) != len(self.size_edges) + 1:
            raise ConfigError(
                f"augment.size_shares has {len(shares)} numbers for {len(self.size_edges) + 1} ranges",
                "name one for each: below the first edge, between edges, from the last edge on",
            )
        if any(not 0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 0.01:
            raise ConfigError(
                f"augment.size_shares {list(shares)} do not add up to 1", "for example [0.35, 0.3, 0.2, 0.15]"
            )


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """MultiBoxLoss (SSD, Liu et al. 2016; RetinaFace, Deng et al. 2020).

    assign: which anchors learn a face: ``iou``, those from the overlap ``iou`` on, and the best one (SSD); ``atss``, of the
    ``atss_k`` nearest of each level and size those that overlap it more than usual (Zhang et al. 2020); ``simota``, those whose
    predictions cost least (YOLOX, Ge et al. 2021). ignore_iou: anchors from this overlap with an ignored face on train
    nothing. per_face: each positive weighs (number of its face's positives)^-per_face: 0.5 softens what large faces have more
    of, 1 lets all faces weigh the same. most_per_face: positives of a face at most, those that overlap it most; the rest
    train nothing; 0 for no limit.
    negatives: mined hardest ones per positive. background: hardest negatives of a picture without faces.
    box, cls, landmark: weights of the three terms. box_beta, landmark_beta: error, of encoded values, at which smooth L1
    turns from a square into a straight line, for labels and teacher; a small one keeps pulling at small errors.
    classification: ``cross-entropy`` over positives and mined negatives, ``focal`` (Lin et al. 2017) or ``quality-focal``
    (Li et al. 2020; the target of a positive is the IoU of its predicted box) over all anchors. prior: score that a new class
    head gives to everything where a focal loss trains it (Lin et al. 2017, section 4.1), so that the many negatives do not
    drown the first steps. regression: ``smooth-l1`` on encoded boxes, or 1 - IoU, DIoU, CIoU (Zheng et al. 2020) or EIoU
    (Zhang et al. 2021) on decoded ones.
    """

    assign: AssignKind = "iou"
    iou: float = 0.35
    atss_k: int = 9
    ignore_iou: float = 0.25
    per_face: float = 0.0
    most_per_face: int = 0
    negatives: int = 7
    background: int = 21
    box: float = 2.0
    cls: float = 1.0
    landmark: float = 1.0
    box_beta: float = 1.0
    landmark_beta: float = 1.0
    classification: ClassLoss = "cross-entropy"
    prior: float = 0.01
    regression: BoxLoss = "smooth-l1"

    def __post_init__(self) -> None:
        check_choice("loss.assign", self.assign, AssignKind)
        check_choice("loss.classification", self.classification, ClassLoss)
        check_choice("loss.regression", self.regression, BoxLoss)
        check_range("loss.iou", self.iou, 0.1, 0.9)
        check_range("loss.atss_k", self.atss_k, 1, 25)
        check_range("loss.ignore_iou", self.ignore_iou, 0.05, 1.0)
        check_range("loss.per_face", self.per_face, 0.0, 1.0)
        check_range("loss.most_per_face", self.most_per_face, 0, 10_000)
        check_range("loss.negatives", self.negatives, 1, 1000)
        check_range("loss.background", self.background, 0, 10_000)
        check_range("loss.prior", self.prior, 1e-6, 0.5)
        for name in ("box", "cls", "landmark"):
            check_range(f"loss.{name}", getattr(self, name), 0.0, 100.0)
        for name in ("box_beta", "landmark_beta"):
            check_range(f"loss.{name}", getattr(self, name), 0.001, 10.0)


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW (Loshchilov & Hutter 2019) and its learning rate.

    learn: ``all``, or ``landmarks``: the landmark heads alone, by their term of the loss alone. All else stays as it starts,
    so boxes and scores stay bit for bit; the best epoch is that of the lowest landmark term in validation.
    frozen_stages: how many of the backbone's three stages stay as they start; they cost a forward pass alone.
    frozen_statistics: batch normalisations keep the mean and variance that they start with, all else learns: for
    fine-tuning a trained network. lr: the peak. final: share of the peak at the end. schedule: ``cosine`` after a linear
    warm-up, ``one-cycle``, or ``constant``. backbone_lr: share of the learning rate for the backbone, below 1 where it
    starts trained. offset_lr: the same for the layers that make deformable offsets and masks (0.1 in DCNv2, Zhu et al.
    2019, section 3.2: at the full rate they throw a young network about). warmup_epochs: may be a fraction. weight_decay:
    of convolution kernels alone. clip: largest norm of all gradients together, 0 for none. accumulate: batches whose
    gradients are summed before a step. ema: decay of the averaged weights that are validated and kept, 0 for none; it
    warms up as min(ema, (1 + step) / (10 + step)).
    """

    lr: float = 1e-3
    final: float = 0.01
    schedule: ScheduleKind = "cosine"
    backbone_lr: float = 1.0
    offset_lr: float = 0.1
    learn: LearnKind = "all"
    frozen_stages: int = 0
    frozen_statistics: bool = False
    warmup_epochs: float = 1.0
    weight_decay: float = 5e-4
    clip: float = 1.0
    accumulate: int = 1
    ema: float = 0.999

    def __post_init__(self) -> None:
        check_choice("optimiser.schedule", self.schedule, ScheduleKind)
        check_choice("optimiser.learn", self.learn, LearnKind)
        _check_positive("--lr", self.lr)
        check_range("--lr", self.lr, 0.0, 10.0)
        check_range("optimiser.final", self.final, 0.0, 1.0)
        check_range("optimiser.backbone_lr", self.backbone_lr, 0.0, 10.0)
        check_range("optimiser.offset_lr", self.offset_lr, 0.0, 10.0)
        check_range("optimiser.frozen_stages", self.frozen_stages, 0, 3)
        check_range("--warmup-epochs", self.warmup_epochs, 0.0, 1000.0)
        check_range("optimiser.weight_decay", self.weight_decay, 0.0, 1.0)
        check_range("--gradient-clip-norm", self.clip, 0.0, 1e6)
        check_range("--accumulate", self.accumulate, 1, 1024)
        check_range("--ema", self.ema, 0.0, 0.99999)


@dataclass(frozen=True)
class ValidationConfig:
    """How AP is taken during training. It steers the run; it is not the WIDER FACE benchmark.

    every: epochs between validations; the last epoch is always validated. pictures: how many at most, evenly spread over the
    set, 0 for all. size: long side in pixels that pictures are scaled to, 0 for their own. small: share of that side at which
    they are shown a second time, so that small faces count; the mean of both APs chooses the best epoch. 0 for no second
    time. score, nms, iou: thresholds.
    """

    every: int = 1
    pictures: int = 300
    size: int = 640
    small: float = 1 / 3
    score: float = 0.02
    nms: float = 0.4
    iou: float = 0.5

    def __post_init__(self) -> None:
        check_range("validation.every", self.every, 1, 10_000)
        check_range("validation.pictures", self.pictures, 0, 10_000_000)
        if self.size:
            check_size("validation.size", self.size)
        check_range("validation.small", self.small, 0.0, 0.999)
        for name in ("score", "nms", "iou"):
            check_range(f"validation.{name}", getattr(self, name), 0.0, 1.0)


@dataclass(frozen=True)
class StoppingConfig:
    """Early stopping that knows its epochs: see SmartEarlyStopping. enabled: off trains all epochs."""

    enabled: bool = True
    patience: int = 20
    min_epoch: int = 100
    window_start: int = 100
    window_end: int = 120

    def __post_init__(self) -> None:
        check_range("--early-stopping-patience", self.patience, 1, 100_000)
        check_range("stopping.min_epoch", self.min_epoch, 1, 100_000)
        check_range("--optimal-window-start", self.window_start, 1, 100_000)
        check_range("--optimal-window-end", self.window_end, 1, 100_000)
        if self.window_end < self.window_start:
            raise ConfigError(
                f"--optimal-window-end {self.window_end} is before --optimal-window-start {self.window_start}",
                "for example 100 and 120",
            )


@dataclass(frozen=True)
class MachineConfig:
    """Where and how fast; none of it changes what is learnt, but the results of another device, precision,
    layout or number of threads are rounded differently.

    device: a torch device, or ``auto`` (cuda, else cpu). amp: mixed precision. ``auto`` chooses once, when a run begins: on a
    GPU bfloat16, or float16 where it lacks that; on a processor with instructions for bfloat16 what is measured to be faster
    in a few steps, float32 in runs too short to measure (below 20,000 pictures of 320 px); else float32.
    channels_last: memory layout. compile: torch.compile. teacher: what runs it, ``torch`` or ``onnxruntime`` (CPU alone);
    ``auto`` is onnxruntime on a CPU in long runs. threads: of torch's CPU kernels, 0 for its choice. workers:
    processes that read and augment pictures. cache_gb: memory for decoded pictures of each process, 0 for none. paint: what makes
    training pictures of their plans: ``opencv`` in the workers, or ``device``, which needs all pictures and their halved copies
    in cache_gb of the device's memory, 5.4 bytes a pixel; where they do not fit OpenCV paints. ``auto`` is device on CUDA.
    save_minutes: how often a checkpoint is written within an epoch, besides its end; 0 for each step.
    """

    device: str = "auto"
    amp: AmpKind = "auto"
    channels_last: bool = True
    compile: bool = False
    teacher: TeacherKind = "auto"
    threads: int = 0
    workers: int = 1
    cache_gb: float = 4.0
    paint: PaintKind = "auto"
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        check_choice("machine.amp", self.amp, AmpKind)
        check_choice("machine.teacher", self.teacher, TeacherKind)
        check_choice("machine.paint", self.paint, PaintKind)
        check_range("--threads", self.threads, 0, 1024)
        check_range("--workers", self.workers, 0, 256)
        check_range("machine.cache_gb", self.cache_gb, 0.0, 100_000.0)
        check_range("machine.save_minutes", self.save_minutes, 0.0, 10_000.0)


@dataclass(frozen=True)
class DistillConfig:
    """What the student learns from its teacher (docs/training.md has the formulas).

    alpha: weight of the teacher at the first and the last epoch, 0 to 1; the labels weigh 1 - alpha. strategy: the way
    between them. adapt: the rules: alpha x0.9 after ten validations without improvement (shrink), at most 0.4 in the last
    fifth (late_cap), always within 0.1 to 0.9 (bounds). temperature: that scores are softened by. score, box, landmark,
    feature: weights of the four terms. believes: teacher score from which an anchor counts although no label says so.
    doubts: teacher score from which an anchor without a label is not mined as a negative, 1 for none. agree_iou: overlap
    of the teacher's box with the labelled face from which its box and landmarks are learnt. features: at the neck's
    outputs: ``pearson`` (PKD, Cao et al. 2022), ``cwd`` (Shu et al. 2021), ``mse``, ``none``.
    """

    alpha: tuple[float, float] = (0.8, 0.5)
    strategy: AlphaStrategy = "linear"
    shrink: bool = True
    late_cap: bool = True
    bounds: bool = True
    temperature: float = 4.0
    score: float = 1.0
    box: float = 1.0
    landmark: float = 0.5
    feature: float = 0.1
    believes: float = 0.3
    doubts: float = 1.0
    agree_iou: float = 0.5
    features: FeatureLoss = "pearson"

    def __post_init__(self) -> None:
        check_choice("--strategy", self.strategy, AlphaStrategy)
        check_choice("--feature-loss", self.features, FeatureLoss)
        if len(self.alpha) != 2:
            raise ConfigError(f"--alpha {self.alpha} is not a start and an end", "write 0.8:0.5")
        for value in self.alpha:
            check_range("--alpha", value, 0.0, 1.0)
        check_range("--temperature", self.temperature, 0.1, 100.0)
        for name in ("score", "box", "landmark"):
            check_range(f"distill.{name}", getattr(self, name), 0.0, 1000.0)
        check_range("--feature-weight", self.feature, 0.0, 1000.0)
        check_range("distill.believes", self.believes, 0.0, 1.0)
        check_range("distill.doubts", self.doubts, 0.0, 1.0)
        check_range("distill.agree_iou", self.agree_iou, 0.0, 1.0)


@dataclass(frozen=True)
class CalibrationConfig:
    """Scores of each anchor size corrected on the held-out pictures, once a run is done (training.score_calibration).

    sizes: long sides in pixels that they are shown at, none for no calibration.
    """

    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for size in self.sizes:
            check_size("calibration.sizes", size)


@dataclass(frozen=True)
class Recipe:
    """A training run, but for its data.

    model: a variant's name or YAML file. init: where the weights start: ``random``; ``teacher`` (distill alone: the
    teacher's backbone); or a file, or a name that ships (``v2``): the ImageNet backbone, or weights of any variant, of which
    what fits is taken. epochs.
    pictures_per_epoch: 0 for each once, or as often as set_weights say. set_weights: how often a picture of each joined data
    set comes in an epoch, in the order in which they are named; 1.5 is once, and once more by a chance of a half; none for
    once each. repeats: times that a batch is trained on, a few steps apart, so that it is made,
    and looked at by a teacher, once for so many steps (data echoing, Choi et al. 2019); an epoch has as many steps as
    ever. batch_size: over all processes. size: side of the square network input in pixels. seed.
    """

    model: str = "v2"
    init: str = "random"
    epochs: int = 100
    pictures_per_epoch: int = 0
    set_weights: tuple[float, ...] = ()
    repeats: int = 1
    batch_size: int = 32
    size: int = 640
    seed: int = 0
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    validation: ValidationConfig = ValidationConfig()
    stopping: StoppingConfig = StoppingConfig()
    machine: MachineConfig = MachineConfig()
    distill: DistillConfig = DistillConfig()
    calibration: CalibrationConfig = CalibrationConfig()

    def __post_init__(self) -> None:
        check_range("--epochs", self.epochs, 1, MOST_EPOCHS)
        check_range("pictures_per_epoch", self.pictures_per_epoch, 0, 1_000_000_000)
        for weight in self.set_weights:
            check_range("set_weights", weight, 0.0, 1000.0)
        if self.set_weights and not any(self.set_weights):
            raise ConfigError(f"set_weights {list(self.set_weights)} show no picture at all", "let one be above 0")
        check_range("repeats", self.repeats, 1, 100)
        check_range("--batch-size", self.batch_size, 1, 65_536)
        check_range("--seed", self.seed, 0, 2**31 - 1)
        check_range("--size", self.size, MIN_SIZE, 4096)
        if self.size % 32:
            raise ConfigError(
                f"--size {self.size} is not a multiple of 32",
                f"use {max(32, self.size // 32 * 32)} or {(self.size // 32 + 1) * 32}",
            )


def load_recipe(path: Path, base: Recipe | None = None) -> Recipe:
    """The recipe of a YAML file; what it leaves out stays as in ``base``. Raises ConfigError that names the key."""
    return with_values(base or Recipe(), load_yaml(path), str(path))


def make_recipe(file: Path, changes: Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of ``file``, with ``changes`` and then ``overrides`` on top.

    changes: values by dotted key, such as ``optimiser.lr``; a key of ``stopping`` also switches early stopping on, unless
    ``stopping.enabled`` is among them. overrides: texts such as ``optimiser.lr=5e-4``. Raises ConfigError that names the key.
    """
    if any(key.startswith("stopping.") for key in changes):
        changes = {"stopping.enabled": True, **changes}
    values: dict[str, Any] = {}
    for key, value in changes.items():
        place = values
        *parents, last = key.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    recipe = with_values(load_recipe(file), values, "the command line")
    return with_values(recipe, parse_overrides(overrides), "--set")


def as_mapping(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain values that YAML can hold, tuples as lists."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, tuple) else value

    mapping: dict[str, Any] = plain(asdict(recipe))
    return mapping
