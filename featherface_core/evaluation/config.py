"""The settings of ``featherface eval``, and the protocol: resize rule, scales, flips and thresholds."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from featherface_core.config import (
    SAME,
    SYNTHETIC,
    UNTRAINED,
    PostprocessConfig,
    check_range,
    check_size,
    check_threads,
    load_yaml,
    with_values,
)
from featherface_core.errors import ConfigError, ParameterError, refuse
from featherface_core.files import CONFIG, comment, write_text

KNOWN = "original, vga, size=N (long side in pixels) or multi-scale"
VGA = 640  # the long side of published VGA figures (SCRFD, https://arxiv.org/abs/2105.04714)
# RetinaFace's pyramid (https://arxiv.org/abs/1905.00641): short sides, where 800 is the picture within 800 x 1,200
PYRAMID, SHORT, LONG = (500, 800, 1100, 1400, 1700), 800, 1200

AS_PUBLISHED = PostprocessConfig(0.02, 0.4, 0)
TASK = "eval"
KEYS = {"task", "evaluation"}
PATHS = ("data", "ground_truth", "predictions", "weights", "onnx", "model", "landmarks_by")
_WORDS = {"landmarks_by": SAME}  # values of PATHS that are not paths
MAX_DROP = 0.5  # percentage points of AP
MACHINE = ("batch", "device", "threads")  # of EvalConfig: what a resumed evaluation may be given anew
OF_A_DETECTOR = ("weights", "onnx", "model", "protocol", "flip", "score", "nms", "top_k", "landmarks_by", *MACHINE)


@dataclass(frozen=True)
class Protocol:
    """resize: ``original``, ``size=N`` or ``multi-scale``. flip: each picture is also run mirrored. share: the scale as a share
    of a picture's own long side, above 0 to 1, where resize is ``original``.

    post: score threshold, NMS, and how many faces are kept at most. With more than one view of a picture, the faces of all
    are merged by the same NMS.
    """

    resize: str = "original"
    flip: bool = False
    post: PostprocessConfig = AS_PUBLISHED
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.resize not in ("original", "multi-scale"):
            check_size("--protocol size", int(self.resize.removeprefix("size=")))

    @property
    def size(self) -> int | None:
        """The long side in pixels, None where it differs from picture to picture."""
        return int(self.resize[5:]) if self.resize.startswith("size=") else None

    def sides(self, height: int, width: int) -> tuple[int | None, ...]:
        """Long sides in pixels that a picture is scaled to, None for its own."""
        if self.resize == "multi-scale":
            short, long = min(height, width), max(height, width)
            base = min(SHORT / short, LONG / long)
            return tuple(max(1, round(long * base * scale / SHORT)) for scale in PYRAMID)
        if self.share < 1:
            return (max(1, round(self.share * max(height, width))),)
        return (self.size,)

    def view(self) -> str:
        """The resize rule in words."""
        if self.resize == "original":
            return "original size" if self.share == 1 else f"{self.share:.3g} of the original size"
        if self.resize == "multi-scale":
            return f"5 scales (short side {', '.join(map(str, PYRAMID))} px)"
        return f"long side {self.size} px"

    def words(self) -> str:
        """The resize rule, flips and thresholds in words, to be shown with a figure."""
        mirrored = "with mirrored pictures" if self.flip else "no flip"
        most = f"at most {self.post.top_k:,} faces a picture" if self.post.top_k else "no top-k"
        return f"{self.view()}, {mirrored}, score above {self.post.score:g}, NMS {self.post.nms:g}, {most}"


def parse_resize(text: str) -> str:
    """A resize rule as a user writes it, in its one form.

    >>> parse_resize("vga"), parse_resize("size=1024"), parse_resize("800")
    ('size=640', 'size=1024', 'size=800')
    """
    plain = text.strip().lower()
    if plain in ("original", "multi-scale"):
        return plain
    number = re.fullmatch(r"(?:size=)?(\d{1,6})", str(VGA) if plain == "vga" else plain)
    if number is None:
        raise ConfigError(f"--protocol {text!r} is not known", f"use {KNOWN}")
    check_size("--protocol size", int(number[1]))
    return f"size={int(number[1])}"


@dataclass(frozen=True)
class EvalConfig:
    """data: pictures or labelled pictures, ``synthetic`` for drawn ones. ground_truth: folder with WIDER FACE's .mat files.

    predictions: a folder or .zip of detections made elsewhere; or weights (a file, or ``untrained``), or onnx. model: a variant
    or YAML file. name: for the report. protocol: see protocol.parse_resize. score, nms, top_k: as in PostprocessConfig.
    landmarks_by: the network of the second look: SAME, a variant or a file. batch: pictures of one shape in a forward pass.
    device: a torch device. threads: 0 for the runtime's choice. pictures: at most so many, evenly spread, 0 for all. "" is for
    a value that is not given.
    """

    data: str = ""
    ground_truth: str = ""
    predictions: str = ""
    weights: str = ""
    onnx: str = ""
    model: str = ""
    name: str = ""
    protocol: str = "original"
    flip: bool = False
    score: float = AS_PUBLISHED.score
    nms: float = AS_PUBLISHED.nms
    top_k: int = AS_PUBLISHED.top_k
    landmarks_by: str = ""
    batch: int = 1
    device: str = "cpu"
    threads: int = 0
    pictures: int = 0

    def __post_init__(self) -> None:
        parse_resize(self.protocol)
        PostprocessConfig(self.score, self.nms, self.top_k)
        check_range("--batch", self.batch, 1, 1024)
        check_threads(self.threads)
        check_range("--pictures", self.pictures, 0, 10_000_000)

    @property
    def views(self) -> Protocol:
        """The resize rule, flips and thresholds."""
        return Protocol(parse_resize(self.protocol), self.flip, PostprocessConfig(self.score, self.nms, self.top_k))


def check_together(given: Mapping[str, Any]) -> None:
    """Raise ParameterError for parameters of an evaluation that have no meaning beside each other, or without another.

    given: name and value of what the caller chose, defaults left out: fields of EvalConfig; ``compare`` and its ``reports``,
    ``by_name`` and ``chart``; ``baseline`` and ``max_drop``; ``resume``, ``out`` and ``force``.
    """
    config = [field.name for field in fields(EvalConfig) if field.name in given]
    if "compare" in given:
        refuse(config, "`compare` evaluates nothing")
        if "by_name" not in given:
            refuse([name for name in ("chart",) if name in given], "`compare` draws nothing without `by_name`")
        return
    refuse([name for name in ("by_name", "chart") if name in given], "reports are compared by `compare`")
    if given.get("reports"):
        raise ParameterError(
            f"{str(given['reports'][0])!r} is named without an option",
            "pictures go with `data`, reports with `compare`",
        )
    if "max_drop" in given and "baseline" not in given:
        raise ParameterError(
            f"`max_drop` {given['max_drop']:g} says nothing without a baseline", "name one with `baseline`"
        )
    if "predictions" in given:
        refuse([name for name in config if name in OF_A_DETECTOR], "`predictions` were made elsewhere")
    if "resume" in given:
        wrong = [name for name in ("out", "force") if name in given] + [n for n in config if n not in MACHINE]
        refuse(wrong, f"`resume` {given['resume']} takes the evaluation as it was")


@dataclass(frozen=True)
class Extras:
    """What is written besides the report. html: the page. predictions: folder for the official layout. peers: a YAML file."""

    html: bool = False
    predictions: str = ""
    peers: str = ""


@dataclass(frozen=True)
class Kept:
    """The record of a run in its folder. command: as typed."""

    config: EvalConfig
    extras: Extras
    command: str


def save_config(
    folder: Path, config: EvalConfig, subject: str, command: str, extras: Extras = Extras(), look: str = ""
) -> None:
    """Write the settings, with absolute paths.

    subject: checksum of what is evaluated; command: as typed; look: the network of the second look, "" without one.
    """
    import yaml

    kept = asdict(config) | {name: _anywhere(getattr(config, name), _WORDS.get(name, "")) for name in PATHS}
    content = {
        "task": TASK,
        "command": command,
        "subject": subject,
        "look": look,
        "evaluation": kept,
        "output": asdict(extras),
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_text(folder / CONFIG, comment(command) + text, ConfigError)


def _anywhere(name: str, word: str) -> str:
    """A path as an absolute one; other values, such as a variant's name or ``word``, as they are."""
    from featherface_core.models.variants import VARIANTS

    keyword = name in VARIANTS or name in (UNTRAINED, word) or name.partition(":")[0] == SYNTHETIC
    return str(Path(name).resolve()) if name and not keyword and Path(name).exists() else name


def load_config(folder: Path) -> Kept:
    """The settings of an earlier run. Raises ConfigError."""
    content, place = _content(folder), str(folder / CONFIG)
    config = with_values(EvalConfig(), content.get("evaluation", {}), place)
    return Kept(config, with_values(Extras(), content.get("output", {}), place), str(content.get("command", "")))


def check_subject(folder: Path, subject: str, look: str = "") -> None:
    """Raise ConfigError unless an earlier run evaluated what has this checksum, with this second look."""
    content = _content(folder)
    kept, before = content.get("subject"), content.get("look", "")
    if kept != subject:
        raise ConfigError(
            f"{folder} was begun with another file (sha256 {str(kept)[:12]}, now {subject[:12]})",
            "restore that file, or begin anew",
        )
    if before != look:
        raise ConfigError(
            f"{folder} was begun with another second look ({before}, now {look})", "restore that file, or begin anew"
        )


def _content(folder: Path) -> dict[str, Any]:
    content = load_yaml(folder / CONFIG)
    if content.get("task") != TASK:
        raise ConfigError(
            f"{folder} holds a run of {content.get('task')!r}, not an evaluation", "name the folder that eval printed"
        )
    return content
