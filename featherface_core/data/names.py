"""Names of pictures under which files may be written."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from featherface_core.data.annotation import Annotation


def safe_names(annotations: Sequence[Annotation], stems_apart: bool = False) -> list[str]:
    """A name for each picture that stays below its folder, fits on a line, and belongs to no other picture.

    stems_apart: the names differ without their suffixes too.
    """
    taken: dict[str, Path] = {}
    names = []
    for annotation in annotations:
        parts = [p for p in PurePosixPath(annotation.name).parts if p not in ("..", "/")]
        name = PurePosixPath("_".join("/".join(parts).splitlines()).strip().lstrip("#") or annotation.path.name)
        key, number, given = "", 1, name
        while not key or taken.get(key, annotation.path) != annotation.path:
            if number > 1:
                given = name.with_name(f"{name.stem}-{number}{name.suffix}")
            key = str(given.with_suffix("") if stems_apart else given)
            number += 1
        taken[key] = annotation.path
        names.append(str(given))
    return names
