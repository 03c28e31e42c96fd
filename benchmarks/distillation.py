"""What a teacher gives: V2 with and without one, and by one of its terms at a time, over several seeds.

    python benchmarks/distillation.py --train train/ --test WIDER_val --teacher v1-original --teacher-weights v1_original.pth

By `featherface` commands alone. Every run starts at the teacher's backbone and sees the same pictures in the same order for its
seed; what differs is in KINDS. Runs that are finished are not done again, so it may be stopped. Ends with the table of
`featherface eval --compare --by-name`, and its chart.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RECIPE = Path(__file__).with_suffix(".yaml")
KINDS = {
    "no teacher": ["--alpha", "0"],
    "alpha 0.8:0.5": ["--alpha", "0.8:0.5"],
    "alpha 0.5": ["--alpha", "0.5"],
    "scores alone": ["--alpha", "0.8:0.5", "--set", "distill.box=0", "--set", "distill.feature=0"],
    "boxes alone": ["--alpha", "0.8:0.5", "--set", "distill.score=0", "--set", "distill.feature=0"],
    "features alone": ["--alpha", "0.8:0.5", "--set", "distill.score=0", "--set", "distill.box=0"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="pictures to train on")
    parser.add_argument(
        "--test", required=True, help="pictures to measure on: a folder of WIDER FACE's images and ground_truth"
    )
    parser.add_argument("--teacher", default="v1", help="variant of the teacher")
    parser.add_argument("--teacher-weights", help="its file; those that ship without")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=2, help="runs side by side, one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/distillation"))
    asked = parser.parse_args()
    jobs = [(kind, seed) for seed in range(1, asked.seeds + 1) for kind in KINDS]
    with ThreadPoolExecutor(asked.at_once) as pool:
        reports = dict(zip(jobs, pool.map(lambda job: one(asked, *job), jobs), strict=True))
    ordered = [str(reports[kind, seed]) for kind in KINDS for seed in range(1, asked.seeds + 1)]
    featherface("eval", "--compare", "--by-name", *ordered, "--chart", str(asked.out / "gain.png"))


def one(asked: argparse.Namespace, kind: str, seed: int) -> Path:
    """Train and measure one network; the folder of its evaluation."""
    folder = asked.out / f"{kind.replace(' ', '-').replace(':', '-')}-seed{seed}"
    measured = folder.with_name(f"{folder.name}-eval")
    weights = ["--teacher-weights", asked.teacher_weights] if asked.teacher_weights else []
    if not (folder / "report.json").is_file():
        featherface(
            "distill", "--teacher", asked.teacher, *weights, "--data", asked.train, "--recipe", str(RECIPE),
            "--seed", str(seed), *KINDS[kind], "--out", str(folder), "--force", "--quiet",
        )  # fmt: skip
    if not (measured / "report.json").is_file():
        featherface(
            "eval", "--weights", str(folder / "best.safetensors"), "--data", asked.test, "--protocol", "vga", "--name", kind,
            "--threads", "1", "--out", str(measured), "--force", "--quiet", told=False,
        )  # fmt: skip
    return Path(measured)


def featherface(*arguments: str, told: bool = True) -> None:
    command = [sys.executable, "-m", "featherface_cli.app", *arguments]
    subprocess.run(command, check=True, stdout=None if told else subprocess.DEVNULL)


if __name__ == "__main__":
    main()
