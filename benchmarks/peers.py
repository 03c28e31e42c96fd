"""Our networks beside other small detectors: AP by one evaluator, and the time of the networks in one interleaved run.

    python benchmarks/peers.py --data WIDER_val --peers FOLDER --out runs/peers --chart docs/models.png

FOLDER holds ONNX files as their authors put them out, under the names in PEERS; those that are missing are left out. They see
pictures letterboxed to their input (640x640, Ultra-Light RFB 480x640); ours are measured at original size and at 640. AP by
`featherface eval`: scores above 0.02, NMS 0.4. Parameters, MACs and times by `featherface bench`: onnxruntime, one thread, batch
1, the networks in turns.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from featherface_core.boxes import nms
from featherface_core.pictures import read_picture

SCORE, NMS = 0.02, 0.4
Decode = Callable[
    [list[np.ndarray], int, int], tuple[np.ndarray, np.ndarray]
]  # outputs, height, width to boxes, scores


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def cells(height: int, width: int, stride: int) -> np.ndarray:
    """Column and row (n, 2) of each cell, row by row."""
    rows, columns = np.mgrid[: height // stride, : width // stride]
    return np.stack((columns.ravel(), rows.ravel()), 1)


def yunet(outputs: list[np.ndarray], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    boxes, scores = [], []
    for i, stride in enumerate((8, 16, 32)):
        cls, obj, box = (outputs[k + i][0] for k in (0, 3, 6))
        scores.append(np.sqrt(np.clip(cls * obj, 0, 1)).ravel())
        centre, half = (cells(height, width, stride) + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride / 2
        boxes.append(np.hstack((centre - half, centre + half)))
    return np.concatenate(boxes), np.concatenate(scores)


def scrfd(outputs: list[np.ndarray], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    boxes, scores = [], []
    for i, stride in enumerate((8, 16, 32)):
        centre = np.repeat(cells(height, width, stride), 2, 0) * stride
        away = outputs[3 + i][0] * stride
        scores.append(outputs[i][0].ravel())
        boxes.append(np.hstack((centre - away[:, :2], centre + away[:, 2:])))
    return np.concatenate(boxes), np.concatenate(scores)


YOLO_ANCHORS = (((4, 5), (8, 10), (13, 16)), ((23, 29), (43, 55), (73, 105)), ((146, 217), (231, 300), (335, 433)))


def yolo(outputs: list[np.ndarray], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    boxes, scores = [], []
    for (output,), stride, anchors in zip(outputs, (8, 16, 32), YOLO_ANCHORS, strict=True):
        for raw, anchor in zip(output.reshape(3, -1, 16), anchors, strict=True):
            place, scores_here = sigmoid(raw[:, :4]), sigmoid(raw[:, 4]) * sigmoid(raw[:, 15])
            centre = (place[:, :2] * 2 - 0.5 + cells(height, width, stride)) * stride
            half = (place[:, 2:] * 2) ** 2 * np.array(anchor) / 2
            boxes.append(np.hstack((centre - half, centre + half)))
            scores.append(scores_here)
    return np.concatenate(boxes), np.concatenate(scores)


def rfb(outputs: list[np.ndarray], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return outputs[1][0] * np.array((width, height, width, height)), outputs[0][0, :, 1]


@dataclass(frozen=True)
class Peer:
    """name: in the report. mean, scale: pixels become (pixel - mean) / scale, RGB where ``rgb``."""

    name: str
    decode: Decode
    mean: float
    scale: float
    rgb: bool


PEERS = {
    "yunet_n_640_640.onnx": Peer("YuNet_n", yunet, 0, 1, False),
    "scrfd_500m_kps.onnx": Peer("SCRFD-0.5G-KPS", scrfd, 127.5, 128, True),
    "yolov5n-0.5.onnx": Peer("yolov5n-0.5-face", yolo, 0, 255, True),
    "version-RFB-640.onnx": Peer("Ultra-Light RFB", rfb, 127, 128, True),
}


def session_of(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def predict(path: Path, peer: Peer, data: Path, out: Path) -> None:
    """Detections of all pictures of ``data`` in WIDER FACE's layout."""
    session = session_of(path)
    given = session.get_inputs()[0]
    height, width = given.shape[2:]
    data = data / "images" if (data / "images").is_dir() else data
    for picture_path in sorted(data.rglob("*.jpg")):
        picture = read_picture(picture_path)
        scale = min(height / picture.shape[0], width / picture.shape[1])
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas[: small.shape[0], : small.shape[1]] = small[:height, :width]
        pixels = (canvas[..., ::-1] if peer.rgb else canvas).astype(np.float32)
        pixels = ((pixels - peer.mean) / peer.scale).transpose(2, 0, 1)[None]
        boxes, scores = peer.decode(session.run(None, {given.name: np.ascontiguousarray(pixels)}), height, width)
        chosen = scores > SCORE
        boxes, scores = boxes[chosen] / scale, scores[chosen]
        kept = nms(boxes.astype(np.float32), scores.astype(np.float32), NMS)
        lines = [
            f"{x1:.2f} {y1:.2f} {x2 - x1:.2f} {y2 - y1:.2f} {score:.6f}"
            for (x1, y1, x2, y2), score in zip(boxes[kept], scores[kept], strict=True)
        ]
        target = out / picture_path.relative_to(data).with_suffix(".txt")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join((picture_path.stem, str(len(lines)), *lines)) + "\n")


def measured(files: dict[str, Path], runs: int) -> dict[str, dict[str, Any]]:
    """What `featherface bench` says of each file: parameters, MACs, milliseconds of the network alone."""
    given = [word for path in files.values() for word in ("--onnx", str(path))]
    asks = [sys.executable, "-m", "featherface_cli.app", "bench", *given, "--runs", str(runs), "--json"]
    done = subprocess.run(asks, check=True, stdout=subprocess.PIPE, text=True)
    return dict(zip(files, json.loads(done.stdout)["candidates"], strict=True))


def featherface(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "featherface_cli.app", *arguments, "--quiet"], check=True, stdout=subprocess.DEVNULL
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of WIDER FACE's val images and ground_truth")
    parser.add_argument("--peers", type=Path, help="folder of other detectors' ONNX files")
    parser.add_argument("--out", type=Path, default=Path("runs/peers"))
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--chart", type=Path)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    reports: dict[str, Path] = {}
    data = str(asked.data)
    for model in ("v2", "v1"):
        files[model] = asked.out / f"{model}.onnx"
        if not files[model].is_file():
            featherface("export", "--model", model, "--static", "--size", "640", "--out", str(files[model]))
        for rule in ("original", "vga"):
            reports[f"{model}, {rule}"] = report = asked.out / f"{model}-{rule}"
            if not (report / "report.json").is_file():
                asks = ("--model", model, "--data", data, "--protocol", rule, "--name", f"{model}, {rule}")
                featherface("eval", *asks, "--out", str(report), "--force")
    for name, peer in PEERS.items():
        if asked.peers is None or not (asked.peers / name).is_file():
            continue
        files[peer.name] = asked.peers / name
        reports[peer.name] = report = asked.out / Path(name).stem
        if not (report / "report.json").is_file():
            predict(asked.peers / name, peer, asked.data, asked.out / f"{Path(name).stem}-predictions")
            predictions = str(asked.out / f"{Path(name).stem}-predictions")
            featherface(
                "eval", "--predictions", predictions, "--data", data, "--name", peer.name, "--out", str(report), "--force"
            )  # fmt: skip
    bench = measured(files, asked.runs)
    rows = []
    print("| detector | parameters | MACs at 640 | ms | times v2 | Easy | Medium | Hard | mean |\n" + "|---" * 9 + "|")
    for name, report in reports.items():
        aps = {s["name"]: s["ap"] for s in json.loads((report / "report.json").read_text())["settings"]}
        mean = sum(aps.values()) / 3
        key = name.partition(",")[0]
        parameters, macs = (bench[key]["cost"][what] for what in ("parameters", "macs"))
        ms, ratio = bench[key]["milliseconds"]["median"], (bench[key]["ratio"] or {"median": 1.0})["median"]
        rows.append((name, parameters, macs, ms, mean))
        easy, medium, hard = (f"{aps[s]:.3f}" for s in ("easy", "medium", "hard"))
        print(
            f"| {name} | {parameters:,} | {macs / 1e9:.2f} G | {ms:.1f} | {ratio:.2f} "
            f"| {easy} | {medium} | {hard} | {mean:.3f} |"
        )
    if asked.chart:
        draw(rows, asked.chart)


# where a name stands beside its point, in points, so that names do not meet
LABELS = {
    "YuNet_n": ((-3, -14), "center"),
    "SCRFD-0.5G-KPS": ((8, -8), "left"),
    "yolov5n-0.5-face": ((9, -2), "left"),
}


def draw(rows: list[tuple[str, int, int, float, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, figsize=(11, 3.8), sharey=True, layout="constrained")
    columns = ((1, "parameters, thousands", 1e3), (2, "MACs at 640x640, G", 1e9), (3, "ms at 640x640, one thread", 1))
    for panel, (column, label, unit) in zip(panels, columns, strict=True):
        for row in rows:
            name, _, rule = row[0].partition(", ")
            figures = row[1:]
            if rule == "original" and column > 1:
                continue  # MACs and milliseconds are those at 640
            x, y = figures[column - 1] / unit, row[4]
            colour = "#d55e00" if not rule else "#0072b2"
            panel.plot(
                x,
                y,
                "o" if rule else "s",
                color=colour,
                markersize=7,
                fillstyle="none" if rule == "original" else "full",
            )
            move, side = LABELS.get(name, ((0, 8), "center"))
            shown = f"{name}, original size" if rule == "original" else name
            panel.annotate(shown, (x, y), xytext=move, textcoords="offset points", ha=side, fontsize=7.5)
        panel.set_xlabel(label, fontsize=9)
        panel.margins(0.22, 0.2)
        panel.set_xlim(left=0)
        panel.grid(color="#dde1e6")
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    panels[0].set_ylabel("mean AP of Easy, Medium, Hard", fontsize=9)
    figure.savefig(path, dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main()
