"""What ``featherface eval`` was asked for; a run's folder keeps it, so that the run can go on."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from featherface_core.config import SAME, UNTRAINED, PostprocessConfig, check_range, load_yaml, with_values
from featherface_core.errors import ConfigError
from featherface_core.evaluation.protocol import AS_PUBLISHED, Protocol, parse_resize
from featherface_core.files import write_text
from featherface_core.run_folder import CONFIG, comment

TASK = "eval"
KEYS = {"task", "evaluation"}
PATHS = ("data", "ground_truth", "predictions", "weights", "onnx", "model", "landmarks_by")
_WORDS = {"landmarks_by": SAME}  # of PATHS' values: what is no path there alone


@dataclass(frozen=True)
class EvalConfig:
    """data: pictures or labelled pictures, ``synthetic`` for drawn ones. ground_truth: folder with WIDER FACE's .mat files.

    predictions: a folder or .zip of detections made elsewhere; or weights (a file, or ``untrained``), or onnx. model: a variant
    or YAML file. name: for the report. protocol: see protocol.parse_resize. score, nms, top_k: as in PostprocessConfig.
    landmarks_by: what looks at each face again, SAME, a variant or a file. batch: pictures of one shape that run together.
    device: a torch device. threads: 0 for the runtime's choice. pictures: at most so many, evenly spread, 0 for all. "" stands
    for what is not given.
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
        check_range("--threads", self.threads, 0, 1024)
        check_range("--pictures", self.pictures, 0, 10_000_000)

    @property
    def views(self) -> Protocol:
        """How pictures are shown to the network."""
        return Protocol(parse_resize(self.protocol), self.flip, PostprocessConfig(self.score, self.nms, self.top_k))


@dataclass(frozen=True)
class Extras:
    """What is written besides the report. html: the page. predictions: folder for the official layout. peers: a YAML file."""

    html: bool = False
    predictions: str = ""
    peers: str = ""


@dataclass(frozen=True)
class Kept:
    """What a run's folder says of it. command: as typed."""

    config: EvalConfig
    extras: Extras
    command: str


def save_config(
    folder: Path, config: EvalConfig, subject: str, command: str, extras: Extras = Extras(), look: str = ""
) -> None:
    """Keep what was asked for, with paths that hold anywhere.

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
    """A path as an absolute one; what is no path, a variant's name, ``word`` and the like, as it is."""
    from featherface_core.data.open import SYNTHETIC  # not above: it loads OpenCV, and --help waits for this file
    from featherface_core.models.variants import VARIANTS

    keyword = name in VARIANTS or name in (UNTRAINED, word) or name.partition(":")[0] == SYNTHETIC
    return str(Path(name).resolve()) if name and not keyword and Path(name).exists() else name


def load_config(folder: Path) -> Kept:
    """What an earlier run was asked for. Raises ConfigError."""
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
