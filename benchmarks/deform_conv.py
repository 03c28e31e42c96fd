"""Time this project's deformable convolution against the obvious one: nine samplings, one for each tap.

    python benchmarks/deform_conv.py

Both run on the layers that the v1 network has, at one picture of 640 pixels and at eight of 320. The two alternate, so that
whatever else the machine does falls on both alike.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from featherface_core.models.deform import deform_conv2d

SETTINGS = ((640, 1), (320, 8))  # pixels, batch
STRIDES = (8, 16, 32)
LAYERS = ((52, 26, 1), (52, 13, 1), (13, 13, 3))  # channels in, out, and how many of them a level has

Convolution = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def naive(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """A 3x3 deformable convolution with padding 1, tap by tap: sample, scale by the mask, multiply, add."""
    height, width = x.shape[2:]
    rows = torch.arange(height, dtype=x.dtype, device=x.device).view(-1, 1)
    columns = torch.arange(width, dtype=x.dtype, device=x.device)
    out = x.new_zeros(x.shape[0], weight.shape[0], height, width)
    for tap in range(9):
        y = rows + (tap // 3 - 1) + offset[:, 2 * tap]
        x_ = columns + (tap % 3 - 1) + offset[:, 2 * tap + 1]
        grid = torch.stack(((2 * x_ + 1) / width - 1, (2 * y + 1) / height - 1), -1)
        sampled = F.grid_sample(x, grid, align_corners=False) * mask[:, tap : tap + 1]
        out = out + F.conv2d(sampled, weight[:, :, tap // 3, tap % 3, None, None])
    return out


def ours(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """The same by ``deform_conv2d``."""
    return deform_conv2d(x, offset, mask, weight, padding=1)


@dataclass(frozen=True)
class Row:
    """Seconds of one layer, run by run, in pairs: the naive one's and ours."""

    name: str
    layers: int
    naive: list[float]
    ours: list[float]


def make_inputs(channels: int, out_channels: int, side: int, batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, offsets of about a pixel, masks between 0 and 2, and weights."""
    draw = torch.Generator().manual_seed(0)
    return (
        torch.randn(batch, channels, side, side, generator=draw),
        torch.randn(batch, 18, side, side, generator=draw),
        torch.rand(batch, 9, side, side, generator=draw) * 2,
        torch.randn(out_channels, channels, 3, 3, generator=draw) / (9 * channels) ** 0.5,
    )


def compare(inputs: tuple[Tensor, ...]) -> float:
    """Largest difference of the two, outputs and gradients, relative to max(1, |value|). Exits if they disagree."""
    found = []
    for convolution in (naive, ours):
        leaves = [t.detach().clone().requires_grad_() for t in inputs]
        output = convolution(*leaves)
        output.square().mean().mul(output[0].numel()).backward()  # type: ignore[no-untyped-call]
        found.append([output.detach(), *(leaf.grad for leaf in leaves)])
    worst = max(float(((a - b).abs() / b.abs().clamp(min=1)).max()) for a, b in zip(*found, strict=True))
    if not worst < 1e-3:
        raise SystemExit(f"the two disagree by {worst:.1e}: their times mean nothing")
    return worst


def once(convolution: Convolution, inputs: tuple[Tensor, ...], backward: bool) -> float:
    """Seconds of one run."""
    leaves = [t.requires_grad_(backward) for t in inputs]
    for leaf in leaves:
        leaf.grad = None
    start = time.perf_counter()
    with torch.set_grad_enabled(backward):
        output = convolution(*leaves)
        if backward:
            output.sum().backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - start


def measure(name: str, layers: int, inputs: tuple[Tensor, ...], backward: bool, runs: int) -> Row:
    """``runs`` pairs after three that do not count."""
    row = Row(name, layers, [], [])
    for run in range(runs + 3):
        pair = once(naive, inputs, backward), once(ours, inputs, backward)
        if run >= 3:
            row.naive.append(pair[0])
            row.ours.append(pair[1])
    return row


def ratio(slow: list[float], fast: list[float]) -> tuple[float, float, float]:
    """Median, 5th and 95th percentile of the ratio of a pair."""
    low, middle, high = np.percentile(np.array(slow) / np.array(fast), [5, 50, 95])
    return float(middle), float(low), float(high)


def print_row(name: str, slow: list[float], fast: list[float]) -> None:
    """One line of the table."""
    middle, low, high = ratio(slow, fast)
    times = f"{statistics.median(slow) * 1e3:9.2f} {statistics.median(fast) * 1e3:9.2f}"
    print(f"{name:<34} {times} {middle:8.2f}x   {low:.2f} to {high:.2f}")


def total(rows: list[Row], side: str) -> list[float]:
    """Seconds of all deformable layers of the network, run by run."""
    return [sum(row.layers * seconds for row, seconds in zip(rows, run, strict=True)) for run in
            zip(*(getattr(row, side) for row in rows), strict=True)]  # fmt: skip


def processor() -> str:
    """The CPU's name, as the system gives it."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


def main() -> None:
    """Read the options, time both and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0 for torch's choice")
    parser.add_argument("--runs", type=int, default=21, help="timed pairs of runs for each layer (15 or more)")
    options = parser.parse_args()
    if options.runs < 15:
        parser.error("--runs: a median of fewer than 15 says little")
    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {options.runs} pairs of runs")
    if hasattr(os, "getloadavg"):
        print(f"load before the start: {os.getloadavg()[0]:.2f} (other work on the machine widens the spread)")

    worst = 0.0
    for backward in (False, True):
        print(f"\n{'forward and backward' if backward else 'forward':<34}  naive ms   ours ms    ratio   p5 to p95")
        for pixels, batch in SETTINGS:
            rows = []
            for stride in STRIDES:
                for channels, out_channels, layers in LAYERS:
                    side = pixels // stride
                    inputs = make_inputs(channels, out_channels, side, batch)
                    worst = max(worst, compare(inputs))
                    name = f"{pixels} px, batch {batch}: {channels} to {out_channels} at {side}x{side}"
                    rows.append(measure(name, layers, inputs, backward, options.runs))
                    print_row(name, rows[-1].naive, rows[-1].ours)
            name = f"{pixels} px, batch {batch}: all {sum(row.layers for row in rows)} layers"
            print_row(name, total(rows, "naive"), total(rows, "ours"))
    print(f"\nboth agree, outputs and gradients, within {worst:.1e} of max(1, |value|)")


if __name__ == "__main__":
    main()
