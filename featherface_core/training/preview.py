"""A contact sheet of training pictures as the network sees them, so that a person sees whether the augmentation is right."""

from dataclasses import dataclass
from pathlib import Path

from featherface_core.data.open import DataNames, open_training
from featherface_core.data.sheet import contact_sheet
from featherface_core.events import RunListener, ignore
from featherface_core.pictures import write_picture
from featherface_core.recipe import Recipe
from featherface_core.training.loader import TrainingPictures
from featherface_core.training.samples import training_samples

COLUMNS = 6


@dataclass(frozen=True)
class PreviewReport:
    """What was drawn. faces: labelled faces in the varied pictures; ignored: of them, those that train nothing."""

    path: str
    data: str
    pictures: int
    faces: int
    ignored: int
    with_landmarks: int


def preview(data: DataNames, recipe: Recipe, count: int, out: Path, on_event: RunListener = ignore) -> PreviewReport:
    """Draw the first ``count`` pictures of the recipe's first epoch on ``data``, with boxes and landmarks, into ``out``."""
    source = open_training(data, on_event)
    samples = training_samples(TrainingPictures(source, recipe), recipe, count)
    write_picture(out, contact_sheet(samples, COLUMNS))
    faces = [faces for _, faces in samples]
    return PreviewReport(
        str(out),
        source.name,
        len(samples),
        sum(len(f) for f in faces),
        sum(int(f.ignored.sum()) for f in faces),
        sum(int(f.has_landmarks.sum()) for f in faces),
    )
