"""The five variants, how a name or a YAML file becomes a network, and the weights that ship. Loads torch only to build."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherface_core.config import AttentionConfig, ModelConfig, load_yaml, with_values
from featherface_core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from featherface_core.models.featherface import FeatherFace

_CBAM = AttentionConfig("cbam", 16)
_SHARED = AttentionConfig("shared-cbam", 32)
_NONE = AttentionConfig("none", 16)

VARIANTS: dict[str, ModelConfig] = {
    "v1": ModelConfig("v1", 52, 3, "bifpn", _CBAM, _NONE, "deformable", "groups-2"),
    "v1-original": ModelConfig("v1-original", 64, 3, "bifpn", _CBAM, _CBAM, "deformable", "bottleneck"),
    "v1-24": ModelConfig("v1-24", 24, 3, "bifpn", _CBAM, _NONE, "deformable", "groups-2"),
    "v1-56": ModelConfig("v1-56", 56, 2, "bifpn", _NONE, _NONE, "deformable", "groups-half"),
    "v2": ModelConfig("v2", 32, 2, "bifpn-light", _SHARED, _SHARED, "grouped", "light"),
}
SHIPPED = ("v1", "v2")
DEFAULT = "v2"  # the variant used where none is named
_FOLDER = Path(__file__).parents[1] / "weights"


def resolve_model(name: str, overrides: dict[str, Any] | None = None) -> ModelConfig:
    """The configuration behind a variant's name or a YAML file (which may name a ``base`` variant to start from).

    Raises ConfigError for an unknown name, an unknown key or a value of the wrong type.
    """
    if name in VARIANTS:
        config = VARIANTS[name]
    elif name.endswith((".yaml", ".yml")):
        values = load_yaml(Path(name))
        base = values.pop("base", "v1")
        if not isinstance(base, str) or base not in VARIANTS:
            raise ConfigError(f"unknown base {base!r} in {name}", did_you_mean(str(base), VARIANTS))
        config = with_values(VARIANTS[base], {"name": Path(name).stem, **values}, name)
    else:
        raise ConfigError(f"unknown model {name!r}", did_you_mean(name, VARIANTS) + ", or a .yaml file")
    if overrides:
        config = with_values(config, {"name": f"{config.name}*", **overrides}, "--set")
    return config


def build_model(config: ModelConfig | str = "v1", *, seed: int | None = None, device: str = "cpu") -> "FeatherFace":
    """An untrained network in evaluation mode.

    config: a ModelConfig, a variant's name or a YAML file. seed: of the random weights; the caller's random state does not
    change. device: a torch device; "meta" builds shapes without values.

    >>> sum(p.numel() for p in build_model("v2").parameters())
    256156
    """
    import torch

    from featherface_core.models.featherface import FeatherFace

    if isinstance(config, str):
        config = resolve_model(config)
    with torch.random.fork_rng(devices=[], enabled=seed is not None), torch.device(device):
        if seed is not None:
            torch.manual_seed(seed)
        return FeatherFace(config).eval()


def shipped_weights(config: ModelConfig) -> Path | None:
    """The file with the trained weights of a variant, None where none ship. A variant changed by the user has none."""
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
