"""What naming OpenVINO's kernels gains on this processor: a file of ours as `detect` reads it, against OpenVINO's own choice.

    python benchmarks/openvino_kernels.py featherface_v2.xml
    python benchmarks/openvino_kernels.py featherface_v2.xml --threads 2 --size 480x640

The two take turns on the same pixels; a ratio is of one round, its spread the 5th to 95th percentile.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from featherface_core.bench.rounds import latency, ratio
from featherface_core.config import parse_sizes
from featherface_core.detect.openvino import OpenVinoNetwork, has_other_choice
from featherface_core.machine import flags


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", default="640")
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    chosen = OpenVinoNetwork(options.file, options.threads)
    own = OpenVinoNetwork(options.file, options.threads, known=())
    height, width = parse_sizes(options.size)[0]
    pixels = np.random.default_rng(0).normal(0, 60, (1, height, width, 3)).astype(np.float32).transpose(0, 3, 1, 2)
    seconds: dict[str, list[float]] = {"own": [], "chosen": []}
    for turn in range(options.rounds + 3):
        for name, network in (("own", own), ("chosen", chosen)):
            start = time.perf_counter()
            network.run(pixels)
            if turn >= 3:  # to warm up
                seconds[name].append(time.perf_counter() - start)
    first, second = (np.array(seconds[name]) for name in ("own", "chosen"))
    share = ratio(second, first)
    if not has_other_choice(flags()):
        print("this processor has OpenVINO's own choice in both")
    before, after = latency(first).median, latency(second).median
    print(f"own choice {before:.2f} ms, named {after:.2f} ms: {share.median:.3f} ({share.p5:.3f}-{share.p95:.3f})")


if __name__ == "__main__":
    main()
