"""The trained weights that come with the package: one file and one card for each variant that has them."""

from pathlib import Path

from featherface_core.config import ModelConfig

SHIPPED = ("v1", "v2")
DEFAULT = "v2"  # the variant where nothing is named
_FOLDER = Path(__file__).parent / "weights"


def shipped_weights(config: ModelConfig) -> Path | None:
    """The file with the trained weights of a variant, None where none ship. A variant changed by the user has none."""
    from featherface_core.models.variants import VARIANTS

    return (
        _FOLDER / f"{config.name}.safetensors" if config.name in SHIPPED and config == VARIANTS[config.name] else None
    )


def find_weights(name: str | Path) -> Path:
    """The file ``name``, or where there is none, the weights that ship under that name (SHIPPED); else ``name`` as it is.

    >>> find_weights("v2").name, find_weights("mine.safetensors").name
    ('v2.safetensors', 'mine.safetensors')
    """
    path = Path(name)
    return path if path.is_file() or str(name) not in SHIPPED else _FOLDER / f"{name}.safetensors"


def shipped_card(name: str) -> Path:
    """The card of the weights of a variant in SHIPPED: data and its terms, training, figures with their protocol, limits."""
    return _FOLDER / f"{name}.md"
