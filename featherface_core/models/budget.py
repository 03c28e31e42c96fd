"""Parameter counts by formula, and the search for configurations that meet a budget. Needs no torch, so it is instant.

The tests compare the formulas with built networks.
"""

from collections.abc import Iterator
from dataclasses import replace

from featherface_core.config import AttentionConfig, ModelConfig, ShuffleKind
from featherface_core.errors import ConfigError
from featherface_core.models.variants import VARIANTS
from featherface_core.results import Budget, SearchReport, SearchRow

BACKBONE = 213_072
TAPS = (64, 128, 256)
FUSION_SCALARS = 10  # of one BiFPN cell: 2 + 2 + 3 + 3
V1_BUDGET = Budget(489_000, 5_000)
BUDGETS = {"v1": V1_BUDGET, "v1-24": V1_BUDGET, "v2": Budget(256_156, 0)}  # target and tolerance of each variant

FREE_SHUFFLES = ("none", "groups-2", "groups-half")  # permutations: no parameters, and the heads' columns can follow

ORDER = "closest to the target first, then fewer parameters"


def count_parameters(config: ModelConfig) -> dict[str, int]:
    """Trainable parameters of each component, under the names of FeatherFace's children.

    >>> sum(count_parameters(VARIANTS["v1"]).values())
    487263
    """
    c = config.width
    return {
        "backbone": BACKBONE,
        "backbone_attention": _attention(config.backbone_attention, TAPS),
        "neck": _neck(config),
        "neck_attention": _attention(config.neck_attention, (c, c, c)),
        "context": 3 * _context(c, config.context),
        "shuffle": 3 * {"bottleneck": c * c + 17 * c // 2, "light": c * c // 4 + 3 * c}.get(config.shuffle, 0),
        "heads": 3 * 32 * (c + 1),
    }


def deformable_weights(config: ModelConfig) -> int:
    """Weights of the deformable kernels themselves, without their offset and mask layers."""
    c = config.width
    return 3 * 9 * (c * (c // 2) + c * (c // 4) + 3 * (c // 4) ** 2) if config.context == "deformable" else 0


def search(base: ModelConfig, budget: Budget) -> SearchReport:
    """Every width, cell count, attention and shuffle that meets ``budget``, neck and context kind as in ``base``.

    Widths 8 to 256 in steps of 4, 1 to 5 cells, attention on or off at each site, and the shuffles; of those without parameters
    (``FREE_SHUFFLES``) only one is listed. Raises ConfigError where nothing meets the budget.
    """
    rows, tried, closest = [], 0, 0
    for config in _candidates(base):
        tried += 1
        parameters = sum(count_parameters(config).values())
        closest = min(closest or parameters, parameters, key=lambda n: abs(n - budget.target))
        if budget.met_by(parameters):
            rows.append(
                SearchRow(
                    config.width,
                    config.cells,
                    config.backbone_attention.kind,
                    config.neck_attention.kind,
                    config.shuffle,
                    parameters,
                    parameters - budget.target,
                    _known_as(config),
                )
            )
    if not rows:
        raise ConfigError(
            f"no configuration of {base.name} has {budget.target:,} ± {budget.tolerance:,} parameters ({tried:,} tried)",
            f"the closest has {closest:,}: widen --tolerance, or move --target",
        )
    rows.sort(key=lambda row: (abs(row.difference), row.parameters))
    widths = {w: sum(count_parameters(replace(base, width=w)).values()) for w in range(16, 260, 4) if _fits(base, w)}
    nearest = sorted(widths, key=lambda w: abs(widths[w] - budget.target))[:3]
    near = tuple((w, widths[w]) for w in sorted({*nearest, 24, base.width} & widths.keys()))
    return SearchReport(base.name, budget, ORDER, tried, tuple(rows), near)


def _candidates(base: ModelConfig) -> Iterator[ModelConfig]:
    def on_or_off(site: AttentionConfig) -> tuple[AttentionConfig, ...]:
        kind = AttentionConfig("shared-cbam", 32) if base.neck == "bifpn-light" else AttentionConfig("cbam", 16)
        return (site, replace(site, kind="none")) if site.kind != "none" else (kind, site)

    free: ShuffleKind = base.shuffle if base.shuffle in FREE_SHUFFLES else "groups-2"
    for width in range(8, 260, 4):
        for cells in range(1, 6):
            for backbone in on_or_off(base.backbone_attention):
                for neck in on_or_off(base.neck_attention):
                    for shuffle in (free, "bottleneck", "light"):
                        try:
                            yield replace(
                                base,
                                width=width,
                                cells=cells,
                                backbone_attention=backbone,
                                neck_attention=neck,
                                shuffle=shuffle,
                            )
                        except ConfigError:
                            continue  # this width is not divisible as these parts need


def _known_as(config: ModelConfig) -> str:
    """The named variant that equals this configuration, apart from a shuffle without parameters."""
    for name, known in VARIANTS.items():
        shuffle = (
            config.shuffle if known.shuffle in FREE_SHUFFLES and config.shuffle in FREE_SHUFFLES else known.shuffle
        )
        if replace(known, name=config.name, shuffle=shuffle) == config:
            return name
    return ""


def _fits(base: ModelConfig, width: int) -> bool:
    try:
        replace(base, width=width)
    except ConfigError:
        return False
    return True


def _attention(site: AttentionConfig, channels: tuple[int, ...]) -> int:
    gate = 2 * 49 + 2  # a 7x7 convolution from two maps to one, and its BN
    if site.kind == "cbam":
        hidden = [max(c // site.reduction, 1) for c in channels]
        return sum(2 * c * h + h + c + gate for c, h in zip(channels, hidden, strict=True))
    if site.kind == "shared-cbam":
        return sum(2 * c * max(c // site.reduction, 4) for c in channels) + gate
    return 0


def _neck(config: ModelConfig) -> int:
    c = config.width
    if config.neck == "bifpn-light":
        project = sum(t * c + 2 * c for t in TAPS)
        separable = 9 * c + 2 * c + c * c + 2 * c
    else:
        project = sum(t * c + 3 * c for t in (*TAPS, *TAPS[1:]))
        separable = 9 * c + c * c + c + 2 * c
    return project + config.cells * (4 * separable + FUSION_SCALARS)


def _context(c: int, kind: str) -> int:
    half, quarter = c // 2, c // 4
    if kind == "grouped":
        branch = 9 * quarter * quarter // 4 + 2 * quarter
        stem = c * half + 2 * half + 9 * half * half // 4 + 2 * half
        return stem + c * quarter + 2 * quarter + 4 * branch
    layers = ((c, half), (c, quarter), (quarter, quarter), (quarter, quarter), (quarter, quarter))
    offsets = sum(27 * (9 * i + 1) for i, _ in layers) if kind == "deformable" else 0
    return offsets + sum(9 * i * o + 2 * o for i, o in layers)
