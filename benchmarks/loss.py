"""Matching and MultiBoxLoss over a batch, against a loop over its pictures; and ATSS and SimOTA against IoU matching.

    python benchmarks/loss.py

The loop is the textbook one: for each picture the IoU of every anchor with every face, arg-max both ways, targets for all
anchors, then losses and hard negatives by two sorts. Both sides give the same loss (checked). Runs are interleaved, forward and
backward, and the medians of all and of the ratios to IoU matching are printed.
"""

import argparse
import math
import os

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line does

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from featherface_core.data.annotation import Faces
from featherface_core.recipe import AssignKind, LossConfig
from featherface_core.training.losses import MultiBoxLoss
from featherface_core.training.targets import Targets, anchors_of, encode, encode_points


def loop(outputs: tuple[Tensor, ...], faces: list[tuple[Tensor, Tensor]], size: int, negatives: int = 7) -> Tensor:
    """The same loss, a picture at a time. faces: boxes (n, 4) and landmarks (n, 5, 2) of each picture."""
    anchors = anchors_of(size, size)
    corners = torch.cat((anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2), 1)
    areas = anchors[:, 2] * anchors[:, 3]
    box_targets, point_targets, labels = [], [], []
    for boxes, points in faces:
        low = torch.maximum(boxes[:, None, :2], corners[None, :, :2])
        high = torch.minimum(boxes[:, None, 2:], corners[None, :, 2:])
        inside = (high - low).clamp(min=0).prod(2)
        overlap = inside / ((boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None] + areas[None] - inside)
        best_anchor = overlap.argmax(1)
        share, face = overlap.max(0)
        for n in range(len(boxes)):
            share[best_anchor[n]], face[best_anchor[n]] = 2, n
        labels.append(share >= 0.35)
        box_targets.append(encode(boxes[face], anchors))
        point_targets.append(encode_points(points[face], anchors))
    positive = torch.stack(labels)
    regressions, logits, landmarks = outputs
    count = positive.sum().clamp(min=1)
    box = F.smooth_l1_loss(regressions[positive], torch.stack(box_targets)[positive], reduction="sum")
    point = F.smooth_l1_loss(landmarks[positive], torch.stack(point_targets)[positive], reduction="sum")
    entropy = F.cross_entropy(logits.flatten(0, 1), positive.flatten().long(), reduction="none").view_as(positive)
    ranks = entropy.detach().masked_fill(positive, 0).sort(1, descending=True)[1].sort(1)[1]
    wanted = (positive.sum(1, keepdim=True) * negatives).clamp(max=positive.shape[1] - 1)
    hard = (ranks < wanted) & ~positive
    return (2 * box + entropy[positive | hard].sum() + point) / count


def compare(size: int, options: argparse.Namespace) -> str:
    """One line of results for pictures of ``size`` pixels."""
    draw = torch.Generator().manual_seed(0)
    anchors = len(anchors_of(size, size))
    first, second, third = (torch.randn(options.batch, anchors, n, generator=draw).requires_grad_() for n in (4, 2, 10))
    outputs = first, second, third
    faces = []
    for n in range(options.batch):
        count = options.faces // options.batch + (n < options.faces % options.batch)
        # thirty faces in a picture are small ones: 8 pixels to a fifth of the picture, on a logarithmic scale
        side = 8 * torch.exp(torch.rand(count, 1, generator=draw) * math.log(size / 40))
        side = side * (0.8 + 0.4 * torch.rand(count, 2, generator=draw))
        centre = torch.rand(count, 2, generator=draw) * size
        boxes = torch.cat((centre - side / 2, centre + side / 2), 1)
        points = centre[:, None] + (torch.rand(count, 5, 2, generator=draw) - 0.5) * side[:, None]
        faces.append((boxes, points))
    targets = Targets.of([Faces.of(boxes.numpy(), points.numpy()) for boxes, points in faces])

    def ours(assign: AssignKind) -> Tensor:
        criterion = MultiBoxLoss(LossConfig(assign=assign))
        return torch.stack(list(criterion(outputs, targets, size, size).terms.values())).sum()

    def theirs() -> Tensor:
        return loop(outputs, faces, size)

    a, b = float(ours("iou").detach()), float(theirs().detach())
    # where two faces share their best anchor the loop gives it to the last one, MultiBoxLoss to the closer fit
    assert abs(a - b) < 0.02 * abs(b), (a, b)
    runs: dict[str, Callable[[], Tensor]] = {
        "iou": lambda: ours("iou"),
        "atss": lambda: ours("atss"),
        "simota": lambda: ours("simota"),
        "loop": theirs,
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.pairs + 2):
        for name, run in runs.items():
            start = time.perf_counter()
            run().backward()  # type: ignore[no-untyped-call]
            times[name].append(1000 * (time.perf_counter() - start))
    rows = []
    for name, taken in times.items():
        ratio = statistics.median(y / x for x, y in zip(times["iou"][2:], taken[2:], strict=True))
        rows.append(f"{name} {statistics.median(taken[2:]):.1f} ms ({ratio:.2f})")
    return (
        f"{options.batch} pictures of {size}x{size}, {options.faces} faces, forward and backward, ratio to iou: "
        f"{', '.join(rows)}; loss {a:.4f}, loop {b:.4f}; {torch.get_num_threads()} threads, medians of {options.pairs}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--faces", type=int, default=1000, help="in the whole batch")
    parser.add_argument("--sizes", type=int, nargs="+", default=[320, 640])
    parser.add_argument("--pairs", type=int, default=15)
    options = parser.parse_args()
    for size in options.sizes:
        print(compare(size, options))


if __name__ == "__main__":
    main()
