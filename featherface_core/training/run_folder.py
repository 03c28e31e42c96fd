"""A run's folder: what is in it, and reading and writing it so that a kill at any moment leaves it usable.

config.yaml (the recipe as resolved, data and command), env.json (machine and versions), metrics.jsonl (one line an epoch),
last.pt (all that a resume needs), best.safetensors (averaged weights of the best validation), report.json (when
finished), samples/ (what the network was shown). Loads torch for checkpoints alone.
"""

import io
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from featherface_core.config import load_yaml, with_values
from featherface_core.errors import ConfigError, DataError, WeightsError, first_sentence
from featherface_core.files import comment, existing_folder, fresh_folder, make_folder, replacing, write_text
from featherface_core.machine import machine_facts
from featherface_core.recipe import Recipe, ValidationConfig, as_mapping

if TYPE_CHECKING:
    import torch

METRICS = "metrics.jsonl"
CHECKPOINT_SCHEMA = 1
MOST_BAD_BATCHES = 10  # kept of a run: each may be tens of megabytes


@dataclass(frozen=True)
class MetricsFile:
    """Records in the order of the file, and the numbers (from 1) of lines that hold none: a half line, say."""

    records: tuple[dict[str, Any], ...]
    damaged: tuple[int, ...] = ()


def metrics_path(path: Path) -> Path:
    """``path`` itself if it is a file or is called ``*.jsonl``, else metrics.jsonl inside of it."""
    path = Path(path)
    return path if path.is_file() or (path.suffix == ".jsonl" and not path.is_dir()) else path / METRICS


def read_metrics(path: Path) -> MetricsFile:
    """The records of a file; an empty one where it does not exist. Raises DataError where it cannot be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return MetricsFile(())
    except OSError as problem:
        raise DataError(f"cannot read {path}: {problem.strerror or problem}", "may you read the file?") from None
    records, damaged = [], []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        record = _record(line)
        if record is None:
            damaged.append(number)
        else:
            records.append(record)
    return MetricsFile(tuple(records), tuple(damaged))


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line.decode("utf-8"), parse_constant=lambda _: None)  # NaN is not JSON, but some write it
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    epoch = record.get("epoch")
    return record if isinstance(epoch, int) and not isinstance(epoch, bool) and epoch >= 1 else None


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Add one line, handed to the system before this returns: a killed process loses nothing. Raises DataError."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line_of(record))
    except OSError as problem:
        raise DataError(
            f"cannot write {path}: {problem.strerror or problem}", "check the folder and the free space"
        ) from problem


def write_records(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Replace the file by these records, whole or not at all. Raises DataError."""
    write_text(path, "".join(line_of(record) for record in records))


def line_of(record: dict[str, Any]) -> str:
    """One line of valid JSON."""
    return json.dumps(record, allow_nan=False) + "\n"


class Curves:
    """Writes each epoch's numbers below ``folder``/tensorboard; does nothing where TensorBoard is missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tensorboard"
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._writer = SummaryWriter(str(self.folder))

    def add(self, record: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl."""
        if self._writer is None:
            return
        for name, value in record.items():
            if name != "epoch" and value is not None:
                self._writer.add_scalar(name, value, record["epoch"])
        self._writer.flush()


class Stateful(Protocol):
    """Anything that a checkpoint keeps."""

    def state_dict(self) -> dict[str, Any]:
        """All that it is made of."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Become what ``state_dict`` gave."""
        ...


class RunFolder:
    """The files of one run. path: the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.last = path / "last.pt"
        self.best = path / "best.safetensors"
        self.report = path / "report.json"
        self.samples = path / "samples"

    @classmethod
    def create(cls, path: Path, force: bool = False) -> "RunFolder":
        """A new, empty folder. Raises ConfigError if it holds anything, unless ``force`` says that it may go."""
        return cls(fresh_folder(path, force, {"task", "recipe"}))

    @classmethod
    def existing(cls, path: Path) -> "RunFolder":
        """The folder of an earlier run. Raises ConfigError if it is none."""
        return cls(existing_folder(path))

    def write_config(self, recipe: Recipe, more: dict[str, Any], command: str) -> None:
        """Keep the recipe as resolved, with ``more`` keys (data, task) beside it."""
        import yaml

        text = yaml.safe_dump({**more, "recipe": as_mapping(recipe)}, sort_keys=False, allow_unicode=True)
        write_text(self.config, comment(command) + text, ConfigError)

    def read_config(self) -> tuple[Recipe, dict[str, Any]]:
        """The recipe and the other keys of an earlier run."""
        mapping = load_yaml(self.config)
        # a run that began before pictures were shown small too goes on as it began
        base = Recipe(validation=ValidationConfig(small=0.0))
        stored = mapping.pop("recipe", {})
        if isinstance(stored, dict) and isinstance(stored.get("augment"), dict):
            stored["augment"].pop("interpolation", None)  # a key of older runs; pictures are always shrunk cleanly now
        recipe = with_values(base, stored, str(self.config))
        return recipe, mapping

    def write_environment(self, device: "torch.device", world: int) -> None:
        """Keep what the run ran on."""
        import torch

        facts = machine_facts() | {
            "torch": torch.__version__,
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
            "processes": world,
            "command": sys.argv,
        }
        write_text(self.path / "env.json", json.dumps(facts, indent=2) + "\n", ConfigError)

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint, whole or not at all: until the new one is on the disk, the old one stays."""
        import torch

        stream = io.BytesIO()
        torch.save({"schema": CHECKPOINT_SCHEMA, **state}, stream)
        with replacing(self.last, WeightsError) as temporary:
            temporary.write_bytes(stream.getbuffer())

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, None if the run was stopped before its first. Raises WeightsError for a damaged one."""
        if not self.last.is_file():
            return None
        import torch

        try:
            state: dict[str, Any] = torch.load(self.last, map_location="cpu", weights_only=True)
        except Exception as problem:  # torch raises whatever its unpickler meets
            raise WeightsError(
                f"{self.last} is a damaged checkpoint: {first_sentence(problem)}", "begin anew with --force"
            ) from None
        if state.get("schema") != CHECKPOINT_SCHEMA:
            raise WeightsError(
                f"{self.last} has checkpoint schema {state.get('schema')}, this version reads {CHECKPOINT_SCHEMA}",
                "resume it with the version that wrote it",
            )
        return state

    def keep_bad_batch(self, name: str, kept: dict[str, Any]) -> tuple[Path, bool]:
        """Keep a batch that gave NaN or infinity. Returns its file and True; their folder and False if full."""
        import torch

        folder = make_folder(self.path / "bad_batches")
        if len(list(folder.iterdir())) >= MOST_BAD_BATCHES:
            return folder, False
        with replacing(folder / name) as temporary:
            torch.save(kept, temporary)
        return folder / name, True

    def write_report(self, report: Any) -> None:
        """Keep the result; its presence says that the run is finished."""
        write_text(self.report, json.dumps(asdict(report), indent=2) + "\n", ConfigError)

    def read_report(self) -> dict[str, Any] | None:
        """The result of a finished run, else None."""
        if not self.report.is_file():
            return None
        content: dict[str, Any] = json.loads(self.report.read_text(encoding="utf-8"))
        return content
