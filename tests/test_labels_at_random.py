"""Labels drawn at random: what is written is read again, and what is damaged is read or refused."""

import json
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from label_files import LANDMARKS, WIDER, coco, png, put, voc_object, voc_xml

from featherface_core.data.annotation import Faces
from featherface_core.data.convert import WRITERS, convert
from featherface_core.data.formats.recognise import FORMS, read_labels
from featherface_core.errors import FeatherFaceError
from featherface_core.pictures import read_picture

SIZES = ((64, 48), (333, 517), (4000, 3000))


@st.composite
def labelled(draw: st.DrawFn) -> list[tuple[str, tuple[int, int], Faces]]:
    """A few pictures with faces, also across the border, with and without landmarks, some ignored."""
    pictures = []
    for i in range(draw(st.integers(1, 3))):
        width, height = draw(st.sampled_from(SIZES))
        count = draw(st.integers(0, 4))
        seed = draw(st.integers(0, 2**32 - 1))
        rng = np.random.default_rng(seed)
        corner = rng.uniform((-20, -20), (width, height), (count, 2))
        found = np.concatenate([corner, corner + rng.uniform(0.5, 300, (count, 2))], 1)
        points = rng.uniform(-5, 600, (count, 5, 2))
        points[rng.random(count) < 0.4] = np.nan
        faces = Faces.of(found, points, rng.random(count) < 0.3)
        pictures.append((f"{draw(st.sampled_from(['', 'a/', 'a b/']))}{i}.png", (width, height), faces))
    return pictures


def retinaface_text(pictures: list[tuple[str, tuple[int, int], Faces]]) -> tuple[str, str]:
    """Written here in full, without the package's writer."""
    texts = ["", ""]
    for name, _, faces in pictures:
        for ignored in (0, 1):
            texts[ignored] += f"# {name}\n"
            for i in np.flatnonzero(faces.ignored == ignored):
                x1, y1, x2, y2 = faces.boxes[i].astype(float)
                points = np.nan_to_num(faces.landmarks[i].astype(float), nan=-1)
                middle = " ".join(f"{x:.6f} {y:.6f} 0" for x, y in points)
                texts[ignored] += f"{x1:.6f} {y1:.6f} {x2 - x1:.6f} {y2 - y1:.6f} {middle} 1\n"
    return texts[0], texts[1]


@settings(max_examples=25)
@given(pictures=labelled(), form=st.sampled_from(sorted(WRITERS)))
def test_there_and_back(pictures: list[tuple[str, tuple[int, int], Faces]], form: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for text, file in zip(retinaface_text(pictures), ("label.txt", "ignore.txt"), strict=True):
            put(root / "in" / file, text)
        for picture, size, _ in pictures:
            put(root / "in" / "images" / picture, png(*size))
        convert(root / "in", root / "out", form)
        again = {a.name: a for a in read_labels(root / "out").annotations}
        assert again.keys() == {picture for picture, _, _ in pictures}
        for picture, size, faces in pictures:
            assert read_picture(again[picture].path).shape[1::-1] == size
            order = np.argsort(faces.ignored, kind="stable")  # ignored faces stand in a file of their own
            wanted, found = faces.select(order), again[picture].faces
            if form == "yolo":
                wanted = wanted.select(~wanted.ignored)
            np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.01)
            assert found.ignored.tolist() == wanted.ignored.tolist()
            if form in ("voc", "wider"):
                assert not found.has_landmarks.any()
            else:
                np.testing.assert_allclose(found.landmarks, wanted.landmarks, atol=0.01)


VALID = {
    "label.txt": f"# a.jpg\n10 10 20 24.5 {LANDMARKS} 0.9\n# b.jpg\n1 2 3 4\n".encode(),
    "x_bbx_gt.txt": WIDER.encode(),
    "x.json": json.dumps(coco({"id": 1, "image_id": 3, "bbox": [1, 2, 3, 4], "keypoints": [1] * 15})).encode(),
    "x.xml": voc_xml("a.jpg", voc_object("face", 1, 2, 3, 4)).encode(),
    "labels/a.txt": b"0 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1 0.1 0.4 0.4 0.6 0.4 0.5 0.5 0.45 0.6 0.55 0.6\n",
}


@settings(max_examples=150)
@given(
    name=st.sampled_from(sorted(VALID)),
    place=st.integers(0, 200),
    length=st.integers(0, 60),
    junk=st.binary(max_size=8)
    | st.sampled_from([b"nan", b"1e999", b"#", b"\n", b" ", b"-", b"null", b"[", b"0x1", b"\0"]),
)
def test_damaged_labels_are_read_or_refused(name: str, place: int, length: int, junk: bytes) -> None:
    whole = VALID[name]
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder) / name, whole[:place] + junk + whole[place + length :])
        put(Path(folder) / "images" / "a.jpg", png(8, 8))
        try:
            labels = read_labels(Path(folder) if "/" in name else path)
        except FeatherFaceError as problem:
            refused = problem
        else:
            assert labels.form in FORMS
            for annotation in labels.annotations:
                assert np.isfinite(annotation.faces.boxes).all()
                assert (annotation.faces.boxes[:, 2:] >= annotation.faces.boxes[:, :2]).all()
            return
    assert refused.hint
    assert len(refused.message.split("\n")) == 1
