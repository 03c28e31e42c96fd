"""Pictures a second of `featherface train` with its loader, V2, 16 crops of 320 px a step: of this checkout, or beside another.

    python benchmarks/training_step.py DIR                    labelled pictures, as for `featherface train --data`
    python benchmarks/training_step.py DIR --before CLONE     a checkout of an earlier version beside this one

Two settings: float32 with nothing frozen, and bfloat16 with the backbone's first stage frozen. Each is a short training run in a
process of its own, by the command line alone; rounds of all runs follow each other, so that all see the same machine, and a
ratio is taken within its round. The first epoch of a run warms up and does not count.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from featherface_core.bench.rounds import ratio
from featherface_core.machine import processor

HERE = Path(__file__).resolve().parents[1]
SETTINGS = {
    "float32, nothing frozen": ["machine.amp=off"],
    "bfloat16, first stage frozen": ["machine.amp=bf16", "optimiser.frozen_stages=1"],
}


def pictures_a_second(checkout: Path, options: argparse.Namespace, changes: list[str]) -> float:
    """The median over the epochs of one training run by the code of ``checkout``, but for its first."""
    keys = [f"pictures_per_epoch={options.steps * options.batch}", "validation.pictures=1", "validation.every=1000"]
    keys += ["stopping.enabled=false", f"augment.crop={options.crop}", *changes]
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "featherface_cli.app", "train", "--data", options.data, "--model", "v2"]
        command += ["--recipe", "recipes/cpu.yaml", "--size", str(options.size), "--batch-size", str(options.batch)]
        command += [
            "--epochs",
            str(options.epochs + 1),
            "--workers",
            str(options.workers),
            "--device",
            "cpu",
            "--quiet",
        ]
        command += ["--threads", str(options.threads), "--out", f"{scratch}/run"]
        for key in keys:
            command += ["--set", key]
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        done = subprocess.run(command, env=environment, cwd=scratch, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"error: the run of {checkout} failed: {done.stderr.strip()}")
        lines = Path(scratch, "run", "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return statistics.median(float(json.loads(line)["images_per_second"]) for line in lines[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=lambda text: text if text.startswith("synthetic") else str(Path(text).resolve()))
    parser.add_argument("--before", type=lambda text: Path(text).resolve(), help="another checkout")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--crop", default="collage", help="augment.crop, of those that both checkouts have")
    parser.add_argument("--threads", type=int, default=0, help="of torch, 0 for its choice")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10, help="an epoch")
    parser.add_argument("--epochs", type=int, default=2, help="counted in each run")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    checkouts = [HERE, options.before] if options.before else [HERE]
    rates: dict[tuple[str, Path], list[float]] = {}
    for number in range(options.rounds):
        for name, changes in SETTINGS.items():
            # who goes first changes, so that neither always follows the other
            for checkout in checkouts if number % 2 else checkouts[::-1]:
                rates.setdefault((name, checkout), []).append(pictures_a_second(checkout, options, changes))
    print(f"{processor()}, {os.cpu_count()} CPUs; V2, {options.size} px, batch {options.batch}, crop {options.crop}")
    print(f"{'':30}{'pictures/s':>11}" + (f"{'before':>9}{'time':>7}  spread" if options.before else ""))
    for name in SETTINGS:
        here = np.array(rates[name, HERE])
        line = f"{name:30}{np.median(here):>11.1f}"
        if options.before:
            before = np.array(rates[name, options.before])
            time = ratio(1 / here, 1 / before)
            line += f"{np.median(before):>9.1f}{time.median:>7.2f}  {time.p5:.2f}-{time.p95:.2f}"
        print(line)


if __name__ == "__main__":
    main()
