"""What each rewrite before an export gains: the same weights, one rewrite more each time, in one interleaved run.

    python benchmarks/rewrites.py --model v2
    python benchmarks/rewrites.py --model v1 --runs 100
    python benchmarks/rewrites.py --runtime openvino

The weights that ship, 640x640, batch 1, one thread. The first has its batch normalisations folded alone, as
`featherface export --plain` writes it.
"""

import argparse
import tempfile
from pathlib import Path

import onnx

from featherface_core.bench.benchmark import bench
from featherface_core.bench.config import BenchConfig, Source
from featherface_core.config import ExportConfig
from featherface_core.exporting.export import describe
from featherface_core.exporting.graph import make_graph
from featherface_core.exporting.openvino_ir import save_openvino
from featherface_core.exporting.rewrites import REWRITES, rewritten
from featherface_core.models.checkpoint import load_model
from featherface_core.models.variants import VARIANTS, shipped_weights

SUFFIXES = {"onnxruntime": ".onnx", "openvino": ".xml"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="v2", choices=("v1", "v2"))
    parser.add_argument("--runtime", default="onnxruntime", choices=("onnxruntime", "openvino"))
    parser.add_argument("--runs", type=int, default=50)
    asked = parser.parse_args()
    path = shipped_weights(VARIANTS[asked.model])
    assert path is not None
    model = load_model(path)
    names = tuple(REWRITES)
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for count in range(1, len(names) + 1):
            description = describe(model, path.name)
            graph = make_graph(
                rewritten(model, names[:count]), ExportConfig(dynamic=False, optimise=False), description
            )
            files.append(Path(folder) / f"{count} {names[count - 1]}{SUFFIXES[asked.runtime]}")
            if asked.runtime == "openvino":
                save_openvino(graph, files[-1])
            else:
                onnx.save(graph, files[-1])
        report = bench([Source(asked.runtime, onnx=str(file)) for file in files], BenchConfig(runs=asked.runs))
    print("| rewrite | ms | of plain | spread |\n|---|---|---|---|")
    for name, row in zip(names, report.candidates, strict=True):
        ratio = row.ratio
        share = "1 | " if ratio is None else f"{ratio.median:.3f} | {ratio.p5:.3f}-{ratio.p95:.3f}"
        print(f"| {name} | {row.milliseconds.median:.1f} | {share} |")


if __name__ == "__main__":
    main()
