"""Found faces: a line a picture, and the last lines of a run."""

from rich.text import Text

from featherface_cli.screens.console import facts, print_error, stdout
from featherface_core.errors import FeatherFaceError, counted
from featherface_core.results import DetectReport, PictureResult


def show_picture_line(result: PictureResult) -> None:
    """One line a picture while ``detect`` runs."""
    where = result.source if result.frame is None else f"{result.source} frame {result.frame}"
    if result.problem:
        print_error(FeatherFaceError(result.problem, result.hint))
        return
    best = f", best score {max(face['score'] for face in result.faces):.3f}" if result.faces else ""
    faces = counted(len(result.faces), "face")
    stdout.print(
        Text.assemble(f"{where}: ", (faces, "bold"), f"{best}, {result.milliseconds:.0f} ms"),
        soft_wrap=not stdout.is_terminal,
    )


def show_detect(report: DetectReport) -> None:
    """The last lines of a ``detect`` run."""
    seconds = f"{report.seconds:.1f} s"
    rows: list[tuple[str, str | Text]] = [
        (
            "found",
            f"{counted(report.faces, 'face')} in {counted(report.pictures, 'picture')}, {seconds}, {report.backend}",
        )
    ]
    if report.broken:
        rows.append(("broken", Text(f"{counted(report.broken, 'picture')} could not be read", style="red")))
    if report.out:
        rows.append(("written", f"{report.out}/detections.jsonl, and the drawn pictures beside it"))
    rows.append(("network", f"{report.model}, {report.weights}"))
    if report.landmarks_by:
        rows.append(("landmarks", f"by a second look at each face: {report.landmarks_by}"))
    stdout.print(facts(rows))
