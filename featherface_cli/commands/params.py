"""The command ``params``."""

from featherface_cli import options as o
from featherface_core.config import parse_overrides
from featherface_core.errors import ConfigError


def params(
    model: o.Models = None,
    every: o.EveryModel = False,
    size: o.CountedSize = 640,
    depth: o.Depth = 1,
    tree: o.Tree = False,
    target: o.Target = None,
    tolerance: o.Tolerance = 5_000,
    search: o.Search = False,
    limit: o.Limit = 20,
    overrides: o.ModelOverrides = None,
    as_json: o.Json = False,
) -> None:
    """Count parameters and MACs by component, and search for a parameter budget.

    Examples:

        featherface params --model v1

        featherface params --all

        featherface params --target 489000 --tolerance 5000 --search
    """
    from featherface_cli.screens.console import print_json, print_json_list
    from featherface_cli.screens.params_screen import show_comparison, show_params, show_search
    from featherface_core.models.budget import BUDGETS, V1_BUDGET
    from featherface_core.models.budget import search as find
    from featherface_core.models.variants import VARIANTS, resolve_model
    from featherface_core.results import Budget

    if every and model:
        raise ConfigError("--all stands for all named variants; --model does not go with it", "leave one of them out")
    names = list(VARIANTS) if every else model or ["v1"]
    configs = [resolve_model(name, parse_overrides(overrides or [])) for name in names]
    budget = Budget(target, tolerance) if target else None
    if search:
        if len(configs) > 1:
            raise ConfigError("--search starts from one model, not several", "name one with --model")
        found = find(configs[0], budget or BUDGETS.get(configs[0].name, V1_BUDGET))
        print_json(found, "params --search") if as_json else show_search(found, limit)
        return
    from featherface_core.models.params import measure

    reports = [measure(config, size, budget) for config in configs]
    if as_json:
        print_json_list(reports, "params", "models")
    elif len(reports) > 1:
        show_comparison(reports)
    else:
        show_params(reports[0], depth, tree)
