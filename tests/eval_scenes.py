"""Albums of painted pictures with their labels and official ground truth, and evaluations of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from painted import Box, Painted, detector, painting
from scipy.io import savemat

from featherface_core.data.annotation import Faces
from featherface_core.data.formats import wider
from featherface_core.data.formats.lines import Entry
from featherface_core.evaluation.config import EvalConfig
from featherface_core.evaluation.evaluate import Output, evaluate
from featherface_core.evaluation.report import EvalReport, Subject

SUBJECT = Subject("painted", "paint.bin", "ab" * 32, "torch", "cpu", 123)
SUBSET = (
    "pictures are a part of the 3,226 of the WIDER FACE validation set: these figures are not the benchmark, and compare "
    "only with others on the same pictures"
)
EVAL = ("--weights", "painted")  # what `painted` is opened by


@dataclass(frozen=True)
class Scene:
    """A picture of 160 x 200: its faces, what Painted finds in it, and how clear (0 to 2) each face is."""

    name: str
    faces: Sequence[Box] = ()
    found: Sequence[tuple[Box, int]] = ()
    blur: Sequence[int] = ()
    size: tuple[int, int] = (160, 200)
    counted: dict[str, Sequence[int]] = field(default_factory=dict)  # of the official settings, numbers from 1


A1, A2, A3 = (10, 10, 50, 60), (100, 20, 112, 34), (140, 100, 144, 105)  # 45, 13 and 4.5 pixels
B1, B2 = (20, 20, 120, 120), (140, 20, 170, 50)
SHIFTED = (36, 20, 136, 120)  # overlaps B1 by 0.724; by 0.726 with an extra pixel a side
C1, C2 = (30, 30, 60, 70), (70, 80, 90, 110)
NOWHERE = (100, 20, 130, 50)
SCENES = (
    Scene("0--Parade/a.png", (A1, A2, A3), [(A1, 250)], (0, 2, 2)),
    Scene("0--Parade/b.png", (B1, B2), [(SHIFTED, 150), (B2, 100)], (0, 1)),
    Scene("1--Riot_Police/c.png", (C1, C2), [(NOWHERE, 200)], (0, 0)),
    Scene("1--Riot_Police/d.png", (), [(NOWHERE, 60)], size=(120, 160)),
)
# of 7 faces: right, wrong, right up to an IoU of 0.7, right, wrong
AP50 = 1 / 7 + 2 / 7 * 3 / 4
AP = (5 * (15 + 28 * 3 / 4) + 5 * (15 + 14 * 2 / 4)) / 101 / 10  # 101 recall points: 15 up to 1/7, 29 to 2/7, 43 to 3/7
OFFICIAL = (
    replace(SCENES[0], counted={"easy": [1], "medium": [1, 2]}),
    replace(SCENES[1], counted={"easy": [1], "medium": [1], "hard": [1]}),  # B2 does not count
    replace(SCENES[2], counted={"easy": []}),
    SCENES[3],
)


def draw(images: Path, scenes: Iterable[Scene]) -> None:
    for scene in scenes:
        path = images / scene.name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), painting(*scene.size, *scene.found))


def make_album(folder: Path) -> Path:
    """SCENES with WIDER FACE's text and its attributes."""
    draw(folder / "images", SCENES)
    entries = [
        Entry(s.name, Faces.of(np.array(s.faces).reshape(-1, 4)), attributes={"blur": np.array(s.blur, np.int64)})
        for s in SCENES
    ]
    wider.write(folder, entries)
    return folder


def official(folder: Path, scenes: Sequence[Scene]) -> Path:
    """The four files of the official ground truth; a face counts in every setting, or in those of ``counted``."""
    folder.mkdir(parents=True, exist_ok=True)
    events = list(dict.fromkeys(scene.name.partition("/")[0] for scene in scenes))

    def cells(values: Sequence[object]) -> np.ndarray:
        column = np.empty((len(values), 1), object)
        for row, value in enumerate(values):
            column[row, 0] = value
        return column

    def by_event(of: dict[str, object]) -> np.ndarray:
        return cells([cells([v for n, v in of.items() if n.startswith(f"{event}/")]) for event in events])

    boxes = {s.name: np.array(s.faces, np.float64).reshape(-1, 4) for s in scenes}
    sizes = {n: np.concatenate((b[:, :2], b[:, 2:] - b[:, :2]), 1) for n, b in boxes.items()}
    content = {
        "event_list": cells(events),
        "file_list": by_event({s.name: Path(s.name).stem for s in scenes}),
        "face_bbx_list": by_event({**sizes}),
        "blur_label_list": by_event({s.name: np.array(s.blur or [0] * len(s.faces)).reshape(-1, 1) for s in scenes}),
    }
    savemat(folder / "wider_face_val.mat", content)
    for setting in ("easy", "medium", "hard"):
        counted = {s.name: np.array(s.counted.get(setting, range(1, len(s.faces) + 1))).reshape(-1, 1) for s in scenes}
        savemat(folder / f"wider_{setting}_val.mat", {**content, "gt_list": by_event({**counted})})
    return folder


def score(out: Path, data: Path | str = "", network: Painted | None = None, **more: Any) -> EvalReport:
    """Evaluate Painted on ``data``, or ``predictions``; ``more``: for EvalConfig, or for Output where that has it."""
    output = {key: more.pop(key) for key in ("force", "resume", "html") if key in more}
    saved = more.pop("save", None)
    config = EvalConfig(str(data), **{k: str(v) if isinstance(v, Path) else v for k, v in more.items()})
    found = None if config.predictions else detector(network)
    subject = replace(SUBJECT, backend="predictions", sha256="") if found is None else SUBJECT
    return evaluate(config, subject, found, Output(out, predictions=saved, **output))


def figures(report: EvalReport) -> EvalReport:
    """All that does not tell of time and place."""
    return replace(report, timing=None, seconds=0, files=(), data="", ground_truth="", subject=SUBJECT)


def make_world(folder: Path) -> Path:
    """Data of every kind, good and bad."""
    make_album(folder / "album")
    draw(folder / "val" / "images", OFFICIAL)
    official(folder / "truth", OFFICIAL)
    draw(folder / "holiday" / "images", [Scene("beach/sun.png")])
    (folder / "empty").mkdir()
    for name, line in (("good", "10 10 40 50 0.9"), ("four", "10 10 40 50"), ("nan", "10 10 40 50 nan")):
        (folder / name / "0--Parade").mkdir(parents=True)
        (folder / name / "0--Parade" / "a.txt").write_text(f"a\n2\n1 1 2 2 0.5\n{line}\n")
    (folder / "good" / "0--Parade" / "a.txt").rename(folder / "good" / "0--Parade" / "z.txt")
    official(folder / "text_mat", OFFICIAL)
    (folder / "text_mat" / "wider_face_val.mat").write_text("no MATLAB file")
    official(folder / "other_mat", OFFICIAL)
    savemat(folder / "other_mat" / "wider_face_val.mat", {"images": np.zeros(3)})
    official(folder / "other_pictures", OFFICIAL[:3])
    (folder / "other_pictures" / "wider_face_val.mat").write_bytes((folder / "truth/wider_face_val.mat").read_bytes())
    (folder / "trained").mkdir()
    (folder / "trained" / "config.yaml").write_text("task: train\nrecipe: {}\n")
    (folder / "peers.yaml").write_text("peers:\n  - name: x\n    easy: 1.5\n")
    (folder / "no_report.json").write_text('{"schema": 1, "command": "train"}')
    return folder
