"""An export, or a conversion of weights, as Rich tables."""

from pathlib import Path

from rich.text import Text

from featherface_cli.screens.console import facts, stdout, table
from featherface_core.errors import counted
from featherface_core.results import ConversionReport, ExportReport


def show_export(report: ExportReport) -> None:
    """The proof of an ONNX file, a row a size and batch, and what was written."""
    columns = ("size", "outputs", "ONNX", "PyTorch", "faces", "box px", "verdict")
    made = table(*columns, title="compared with PyTorch in float64, on a real picture", right=columns[:6])
    for c in report.checks:
        made.add_row(
            f"{c.height}x{c.width}",
            f"{c.batch}x{c.expected}x4,2,10",
            f"{c.onnx_error:.1e}",
            f"{c.torch_error:.1e}",
            f"{c.faces[1]} of {c.faces[0]}",
            f"{c.box_error:.3f}",
            Text("same" if c.passed else c.problem, style="green" if c.passed else "red"),
        )
    stdout.print(made)
    shape = "dynamic batch, height, width" if report.dynamic else "static"
    deform = f", {report.deform_nodes} of them DeformConv" if report.deform_nodes else ""
    rows: list[tuple[str, str | Text]] = [
        ("written", f"{report.path} ({report.bytes / 1e6:.2f} MB)"),
        ("network", f"{report.model}, {report.weights}"),
        ("graph", f"opset {report.opset}, {shape}, {report.nodes} nodes{deform}"),
        ("rewritten", ", ".join(report.rewrites)),
        ("time", f"{report.export_seconds:.1f} s to export, {report.total_seconds:.1f} s with all checks"),
    ]
    if report.post:
        from featherface_core.detect.open import is_openvino

        p, faces = report.post, sum(c.post_faces for c in report.checks)
        limits = f"by score {p.score:g}, NMS {p.nms:g}, top-k {p.top_k} unless a run gives others"
        if is_openvino(Path(report.path)):
            limits = "by the thresholds that every run gives"
        error = max(c.post_error for c in report.checks)
        proof = f"{counted(faces, 'face')} within {error:.1e} px of those of the separate post-processing"
        rows.insert(3, ("faces", f"found in the graph, {limits};\n{proof}"))
    if report.package:
        rows.insert(1, ("package", f"{report.package}: {', '.join(report.package_files)}"))
    stdout.print(facts(rows))
    stdout.print(
        Text(
            "outputs: batch x anchors x values, as the formula wants them. ONNX, PyTorch: the largest error of a\n"
            "raw output, relative to max(1, |value|), in onnxruntime and in float32 PyTorch. faces: ONNX of PyTorch."
        ),
        style="dim",
    )


def show_conversion(report: ConversionReport) -> None:
    """What a weights conversion wrote."""
    stdout.print(
        facts(
            [
                ("written", f"{report.path} ({report.bytes / 1e6:.2f} MB)"),
                ("network", f"{report.model}, {report.tensors} tensors"),
                ("names", f"{report.source_layout} to {report.layout}"),
                ("sha256", report.sha256),
                *([("note", Text(report.note, style="yellow"))] if report.note else []),
            ]
        )
    )
