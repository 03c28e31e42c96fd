"""The first pictures that a network is shown, for a person to look at before the run has cost an hour."""

from itertools import chain, islice

from featherface_core.data.annotation import Faces, Picture, set_sizes
from featherface_core.data.sheet import contact_sheet
from featherface_core.pictures import write_picture
from featherface_core.recipe import Recipe
from featherface_core.training.folder import RunFolder
from featherface_core.training.loader import TrainingPictures
from featherface_core.training.order import Order

SHOWN = 16


def training_samples(pictures: TrainingPictures, recipe: Recipe, count: int) -> list[tuple[Picture, Faces]]:
    """The first ``count`` pictures of the recipe's run, varied as the network sees them; fewer where it has fewer."""
    keys = islice(chain.from_iterable(Order.of(recipe, set_sizes(pictures.source))), count)
    return [pictures[key][:2] for key in keys]


def save_samples(folder: RunFolder, pictures: TrainingPictures, recipe: Recipe) -> None:
    """Draw the first pictures with their labels into samples/training.jpg."""
    folder.samples.mkdir(exist_ok=True)
    write_picture(folder.samples / "training.jpg", contact_sheet(training_samples(pictures, recipe, SHOWN)))
