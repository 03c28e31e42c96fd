"""Write labels in another format, with their pictures linked or copied beside them."""

import contextlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from featherface_core.data.annotation import AnnotationSet, concatenate
from featherface_core.data.formats import coco, retinaface, voc, wider, yolo
from featherface_core.data.formats.lines import Entry, safe_names, write_lines
from featherface_core.data.picture_size import picture_size
from featherface_core.data.report import DataConversionReport, SetSummary
from featherface_core.data.sets import missing_pictures, sets_of
from featherface_core.errors import ConfigError, DataError, counted, did_you_mean
from featherface_core.events import Listener, Progress, ignore
from featherface_core.files import make_folder, replacing

WRITERS: dict[str, Callable[[Path, Iterable[Entry]], None]] = {
    module.FORM: module.write for module in (retinaface, coco, yolo, voc, wider)
}
NEEDS_SIZE = (coco.FORM, yolo.FORM, voc.FORM)
NO_LANDMARKS = (voc.FORM, wider.FORM)
A_FILE_A_PICTURE = (yolo.FORM, voc.FORM)  # so a.jpg and a.png would share one


def convert(
    source: str | Path,
    out: str | Path,
    form: str,
    on_event: Listener = ignore,
    copy_pictures: bool = False,
    force: bool = False,
) -> DataConversionReport:
    """Write the labels at ``source`` into the folder ``out`` as ``form``: retinaface, coco, yolo, voc or wider.

    Train and val, where ``source`` has both, go to folders of these names. Pictures are symbolic links to the originals, or
    copies. force: write into a folder that is not empty, over files of the same names. Raises ConfigError for a form that is not
    known and for such a folder, DataError for labels that cannot be read and files that cannot be written.
    """
    start = time.perf_counter()
    source, out = Path(source), Path(out)
    if form not in WRITERS:
        raise ConfigError(f"format {form!r} is not known", did_you_mean(form, WRITERS))
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is not a folder", "give the name of a new folder")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise ConfigError(f"the folder {out} is not empty", "choose a new one, or add --force to write into it")
    sets = sets_of(source)
    for labels in sets.values():
        place = labels.source if labels.source.is_dir() else labels.source.parent
        if out.resolve() in (place.resolve(), source.resolve()):
            raise ConfigError(f"{out} is the folder that is read", "choose another folder to write to")
    lost: Counter[str] = Counter()
    written = faces = placed = 0
    for name, labels in sets.items():
        entries, pictures = _plan(labels, form, lost, on_event)
        folder = make_folder(out if name == "data" else out / name)
        images = folder / ("JPEGImages" if form == voc.FORM else "images")
        for i, (entry, picture) in enumerate(zip(entries, pictures, strict=True), 1):
            on_event(Progress(i, len(entries), f"{name}, {entry.name}"))
            if picture is not None:
                _place(picture, images / entry.name, copy_pictures)
                placed += 1
        WRITERS[form](folder, entries)
        written += len(entries)
        faces += sum(len(entry.faces) for entry in entries)
    if form == yolo.FORM:
        train, val = ("train/images", "val/images") if "val" in sets else ("images", "images")
        write_lines(out / "data.yaml", yolo.DATA_YAML.format(train=train, val=val).splitlines())
    return DataConversionReport(
        str(source),
        str(out),
        next(iter(sets.values())).form,
        form,
        tuple(SetSummary.of(name, labels) for name, labels in sets.items()),
        written,
        faces - (lost["ignored"] if form == yolo.FORM else 0),
        0 if copy_pictures else placed,
        placed if copy_pictures else 0,
        tuple(_losses(lost, form)),
        sum(len(labels.problems) for labels in sets.values()),
        time.perf_counter() - start,
    )


def _plan(
    labels: AnnotationSet, form: str, lost: Counter[str], on_event: Listener
) -> tuple[list[Entry], list[Path | None]]:
    """What to write, and the picture of each entry (None where it is missing). Adds to ``lost`` what goes on the way."""
    gone = {id(annotation) for annotation in missing_pictures(labels.annotations)}
    kept = [a for a in labels.annotations if form not in NEEDS_SIZE or id(a) not in gone]
    if not kept:
        raise DataError(
            f"{labels.source}: none of its {len(gone):,} pictures exists, such as {labels.annotations[0].path}",
            f"{form} needs their sizes; put the pictures where the label expects them",
        )
    entries: list[Entry] = []
    pictures: list[Path | None] = []
    places: dict[Path, int] = {}
    for i, (annotation, name) in enumerate(zip(kept, safe_names(kept, form in A_FILE_A_PICTURE), strict=True), 1):
        on_event(Progress(i, len(kept), f"sizes, {annotation.name}"))
        lost["renamed"] += name != annotation.name
        if (place := places.get(annotation.path)) is not None:  # named twice: its faces go into one entry
            entry = entries[place]
            both = concatenate([entry.faces, annotation.faces])
            entries[place] = Entry(entry.name, both, entry.width, entry.height)
            lost["joined"] += 1
            continue
        width = height = 0
        if form in NEEDS_SIZE:
            try:
                width, height = picture_size(annotation.path)
            except DataError:
                lost["unreadable"] += 1
                continue
        places[annotation.path] = len(entries)
        entries.append(Entry(name, annotation.faces, width, height, annotation.attributes))
        pictures.append(None if id(annotation) in gone else annotation.path.resolve())
    lost["missing"] += len(gone)
    lost["columns"] += labels.form == retinaface.FORM
    lost["attributes"] += any(a.attributes for a in kept)
    for entry in entries:
        faces = entry.faces
        limits = (entry.width, entry.height) * 2
        lost["landmarks"] += int(faces.has_landmarks.sum())
        lost["ignored"] += int(faces.ignored.sum())
        lost["outside"] += int((~faces.ignored & ((faces.boxes < 0) | (faces.boxes > limits)).any(1)).sum())
    return entries, pictures


def _losses(lost: Counter[str], form: str) -> Iterator[str]:
    """What the new labels do not hold, a line each."""
    if n := lost["missing"]:
        fate = "left out" if form in NEEDS_SIZE else "labelled, but without a picture"
        yield f"{counted(n, 'missing picture')}: {fate}"
    if n := lost["unreadable"]:
        yield f"{counted(n, 'picture')} left out that cannot be read: featherface data check names them"
    if n := lost["joined"]:
        yield f"{counted(n, 'further entry', 'further entries')} of a picture joined with its first"
    if n := lost["renamed"]:
        yield f"{counted(n, 'picture')} renamed: names repeat, lead out of the folder, or break lines"
    if form in NO_LANDMARKS and (n := lost["landmarks"]):
        yield f"landmarks of {counted(n, 'face')}: {form} has no place for them"
    if form == yolo.FORM and (n := lost["ignored"]):
        yield f"{counted(n, 'ignored face')} left out: yolo has no mark for them, and they become background"
    if form == yolo.FORM and (n := lost["outside"]):
        yield f"{counted(n, 'box reaches', 'boxes reach')} outside the picture: written, but Ultralytics refuses them"
    if form != wider.FORM and lost["attributes"]:
        yield f"blur, occlusion, pose and the other attributes: {form} has no place for them"
    if lost["columns"]:
        yield "the flags of landmarks and the last column of RetinaFace's label: not read here"


def _place(picture: Path, target: Path, copy: bool) -> None:
    """Copy or link a picture, in one step over what may be there. Raises DataError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if target.samefile(picture) and (not target.is_symlink() or not copy):
                return  # it is there; and an original must never become a link to itself
        if target.is_symlink():
            target.unlink()
        if copy:
            with replacing(target) as temporary:
                shutil.copyfile(picture, temporary)
            return
        temporary = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
        temporary.symlink_to(picture)
        temporary.replace(target)
    except OSError as problem:
        raise DataError(
            f"cannot {'copy' if copy else 'link'} {picture} to {target}: {problem.strerror or problem}",
            "check the folder and the free space" if copy else "add --copy where links are not possible",
        ) from None
