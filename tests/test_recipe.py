"""Recipes: what is shipped loads, what is written is read again as it was, and what is wrong is named."""

import math
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.config import configs_folder, parse_overrides, with_values
from featherface_core.errors import ConfigError
from featherface_core.recipe import (
    AugmentConfig,
    DistillConfig,
    LossConfig,
    MachineConfig,
    OptimiserConfig,
    Recipe,
    StoppingConfig,
    ValidationConfig,
    as_mapping,
    load_recipe,
)

SHIPPED = sorted((configs_folder() / "recipes").glob("*.yaml"))


def read(text: str) -> Recipe:
    """The recipe of YAML text."""
    return with_values(Recipe(), yaml.safe_load(text), "mine.yaml")


def refused(text: str) -> ConfigError:
    """The error for YAML text: a line that names the file, and a hint."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    error = caught.value
    assert error.exit_code == 2
    assert "mine.yaml" in error.message
    assert error.message.count("mine.yaml") == 1
    assert "\n" not in error.message + error.hint
    assert error.hint
    return error


def nested(key: str, text: str) -> str:
    """YAML text of a key such as augment.crop."""
    *parents, last = key.split(".")
    return "".join(f"{parent}: {{" for parent in parents) + f"{last}: {text}" + "}" * len(parents)


# ---- what is shipped ----


def test_recipes_are_shipped() -> None:
    assert {path.stem for path in SHIPPED} >= {"cpu", "synthetic", "v1-widerface", "v2-widerface"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_says_what_its_file_says(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe == load_recipe(Path("recipes") / path.name)  # found by name, from anywhere

    def compare(written: dict[str, Any], config: object) -> None:
        for key, value in written.items():
            current = getattr(config, key)
            if isinstance(value, dict):
                compare(value, current)
            else:
                assert current == (tuple(value) if isinstance(value, list) else value), key

    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert written
    compare(written, recipe)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_recipe_survives_its_file(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    assert with_values(Recipe(), as_mapping(recipe), "again") == recipe
    again = tmp_path / "config.yaml"
    again.write_text(yaml.safe_dump(as_mapping(recipe)))
    assert load_recipe(again) == recipe


# ---- round trips ----


def other_than(value: Any) -> st.SearchStrategy[Any]:
    """Other valid values, near the default."""
    if isinstance(value, bool):
        return st.booleans()
    return st.floats(0.9, 1.1).map(lambda f: value * f) if isinstance(value, float) else st.just(value)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """A recipe of which any key may differ from the default."""
    pair = st.tuples(st.floats(0.1, 1), st.floats(1, 4))
    unit = st.floats(0, 1)
    augment = AugmentConfig(
        crop=draw(st.sampled_from(["official", "jitter", "face-size", "collage", "none"])),
        jitter=draw(pair),
        face_sizes=(draw(st.floats(2, 20)), draw(st.floats(20, 2000))),
        mirror=draw(unit),
        scales=tuple(draw(st.lists(st.floats(0.25, 4), min_size=1, max_size=4))),
        mosaic=draw(unit),
    )
    return Recipe(
        model=draw(st.sampled_from(["v1", "v2", "models/slim.yaml", "5", "off", "null"])),
        init=draw(st.sampled_from(["random", "teacher", "a file.tar", "1e3"])),
        epochs=draw(st.integers(1, 10**6)),
        size=32 * draw(st.integers(1, 128)),
        seed=draw(st.integers(0, 2**31 - 1)),
        augment=augment,
        loss=LossConfig(negatives=draw(st.integers(1, 1000)), regression=draw(st.sampled_from(["ciou", "smooth-l1"]))),
        optimiser=OptimiserConfig(
            **{
                name: draw(other_than(getattr(OptimiserConfig(), name)))
                for name in ("lr", "final", "weight_decay", "clip")
            }
        ),
        validation=ValidationConfig(size=draw(st.sampled_from([0, 32, 640]))),
        stopping=StoppingConfig(enabled=draw(st.booleans())),
        machine=MachineConfig(amp=draw(st.sampled_from(["auto", "off", "bf16"])), compile=draw(st.booleans())),
        distill=DistillConfig(alpha=(draw(unit), draw(unit)), features=draw(st.sampled_from(["none", "cwd"]))),
    )


@given(recipes())
def test_any_recipe_survives_being_written(recipe: Recipe) -> None:
    mapping = as_mapping(recipe)
    assert with_values(Recipe(), mapping, "x") == recipe
    text = yaml.safe_dump(mapping)
    assert "!!" not in text  # plain values alone: no tags of Python's
    assert with_values(Recipe(), yaml.safe_load(text), "x") == recipe


def test_a_mapping_has_all_keys_and_lists_for_tuples() -> None:
    mapping = as_mapping(Recipe())

    def compare(written: Any, config: Any) -> None:
        assert set(written) == {field.name for field in fields(config)}
        for key, value in written.items():
            if is_dataclass(getattr(config, key)):
                compare(value, getattr(config, key))

    compare(mapping, Recipe())
    assert mapping["augment"]["jitter"] == [0.3, 2.0]
    assert mapping["distill"]["alpha"] == [0.8, 0.5]


def test_what_a_file_leaves_out_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("epochs: 7\naugment: {colour: 0.25}\n")
    base = replace(Recipe(), size=320, augment=AugmentConfig(crop="none", mirror=0.0))
    recipe = load_recipe(path, base)
    assert recipe == replace(base, epochs=7, augment=replace(base.augment, colour=0.25))
    assert base.epochs == 100
    assert load_recipe(path) == replace(Recipe(), epochs=7, augment=AugmentConfig(colour=0.25))


def test_recipes_cannot_be_changed() -> None:
    recipe = Recipe()
    with pytest.raises(FrozenInstanceError):
        recipe.epochs = 3  # type: ignore[misc]
    assert Recipe() == recipe
    assert hash(recipe) == hash(Recipe())


# ---- what YAML makes of things ----


def test_numbers_without_a_dot_are_numbers() -> None:
    assert isinstance(yaml.safe_load("5e-4"), str)  # YAML 1.1
    assert read("optimiser: {lr: 5e-4, weight_decay: 1E-3}").optimiser == OptimiserConfig(lr=0.0005, weight_decay=0.001)
    assert read("loss: {box: 1e1}").loss.box == 10.0
    assert with_values(Recipe(), parse_overrides(["optimiser.lr=2e-3"]), "--set").optimiser.lr == 0.002


def test_whole_numbers_do_for_others() -> None:
    assert read("optimiser: {clip: 5}").optimiser.clip == 5
    assert read("augment: {scales: [1, 2]}").augment.scales == (1, 2)


@pytest.mark.parametrize("key", ["augment.jitter", "augment.face_sizes", "augment.scales", "distill.alpha"])
def test_numbers_without_a_dot_in_lists_are_numbers(key: str) -> None:
    values = "[2e0, 3e0]" if key.startswith("augment") else "[8e-1, 5e-1]"
    recipe = read(nested(key, values))
    section, name = key.split(".")
    assert getattr(getattr(recipe, section), name) == ((2.0, 3.0) if section == "augment" else (0.8, 0.5))


def test_lists_become_tuples() -> None:
    recipe = read("augment: {jitter: [0.5, 1.5], scales: [0.75, 1.0, 1.25]}\ndistill: {alpha: [0.9, 0.1]}")
    assert recipe.augment.jitter == (0.5, 1.5)
    assert recipe.augment.scales == (0.75, 1.0, 1.25)
    assert recipe.distill.alpha == (0.9, 0.1)
    assert isinstance(hash(recipe), int)


def test_off_is_off() -> None:
    assert read("machine: {amp: off}").machine.amp == "off"


# ---- what is refused ----


@pytest.mark.parametrize(
    ("text", "key", "meant"),
    [
        ("epoch: 3", "epoch", "epochs"),
        ("optimizer: {lr: 1}", "optimizer", "optimiser"),
        ("augment: {color: 0.5}", "color", "colour"),
        ("loss: {negative: 3}", "negative", "negatives"),
        ("optimiser: {learning_rate: 0.1}", "learning_rate", "known: accumulate, backbone_lr, clip"),
        ("distill: {tempreature: 2}", "tempreature", "temperature"),
        ("lr: 0.1", "lr", "known: augment"),
        ("3: 4", "3", "known: augment"),
    ],
)
def test_unknown_keys(text: str, key: str, meant: str) -> None:
    error = refused(text)
    assert f"unknown key {key!r}" in error.message
    assert meant in error.hint
    if not meant.startswith("known"):
        assert f"did you mean {meant!r}?" in error.hint


@pytest.mark.parametrize(
    ("key", "text", "named"),
    [
        ("epochs", "many", "--epochs 'many' is not a number"),
        ("epochs", "1.0", "--epochs 1.0 is not a whole number"),
        ("epochs", "'10'", "'10' is not a number"),
        ("epochs", "true", "True is not a number"),
        ("epochs", "", "None is not a number"),
        ("epochs", "[1]", "[1] is not a number"),
        ("model", "5", "model: 5"),
        ("model", "[v1]", "model: ['v1']"),
        ("init", "", "init: None"),
        ("machine.device", "0", "device: 0"),
        ("machine.compile", "1", "compile: 1"),
        ("stopping.enabled", "'no'", "enabled: 'no'"),
        ("optimiser.lr", "fast", "--lr 'fast' is not a positive number"),
        ("optimiser.lr", "true", "--lr True"),
        ("augment.mirror", "yes", "augment.mirror True"),
        ("augment.crop", "[none]", "augment.crop ['none'] is not known"),
        ("augment.crop", "", "augment.crop None is not known"),
        ("augment.jitter", "[true, 1.0]", "jitter: (True, 1.0)"),
        ("augment.jitter", "[0.5]", "augment.jitter (0.5,) is not a range"),
        ("augment.jitter", "[0.5, 1, 2]", "is not a range"),
        ("augment.scales", "[]", "augment.scales () is out of range"),
        ("augment.view_scales", "[1.0]", "augment.view_scales (1.0,) is not a range"),
        ("augment.view_side", "640.0", "view_side: 640.0"),
        ("augment.view_side", "large", "view_side: 'large'"),
        ("augment.interpolation", "true", "unknown key 'interpolation'"),
        ("distill.alpha", "[0.5]", "--alpha (0.5,) is not a start and an end"),
        ("distill.alpha", "[0.5, a]", "--alpha 'a' is not a number"),
        ("validation.size", "640.0", "size: 640.0"),
        ("augment", "0.5", "augment: 0.5 is not a set of keys"),
        ("augment", "", "augment: None is not a set of keys"),
        ("augment", "[crop]", "augment: ['crop'] is not a set of keys"),
    ],
)
def test_wrong_types(key: str, text: str, named: str) -> None:
    assert named in refused(nested(key, text)).message


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("augment.jitter", "0.5"),
        ("augment.jitter", "[a, b]"),
        ("augment.face_sizes", "8"),
        ("augment.scales", "1.0"),
        ("augment.scales", "[big]"),
        ("augment.size_edges", "12"),
        ("augment.size_edges", "[small]"),
        ("augment.size_shares", "0.5"),
        ("augment.size_shares", "[most]"),
        ("augment.view_scales", "[a, b]"),
        ("distill.alpha", "0.5"),
        ("validation.size", "large"),
        ("validation.size", "[640]"),
        ("optimiser.lr", "1" + "0" * 400),
    ],
)
def test_wrong_types_where_a_check_computes_before_it_looks(key: str, text: str) -> None:
    assert key.split(".")[-1] in refused(nested(key, text)).message


@pytest.mark.parametrize(
    ("key", "option", "low", "high"),
    [
        ("epochs", "--epochs", 0, 1_000_001),
        ("pictures_per_epoch", "pictures_per_epoch", -1, 1_000_000_001),
        ("batch_size", "--batch-size", 0, 65_537),
        ("seed", "--seed", -1, 2**31),
        ("size", "--size", 0, 4128),
        ("augment.mirror", "augment.mirror", -0.1, 1.1),
        ("augment.colour", "augment.colour", -0.1, 1.1),
        ("augment.mosaic", "augment.mosaic", -0.1, 1.1),
        ("augment.mixup", "augment.mixup", -0.1, 1.1),
        ("augment.cutmix", "augment.cutmix", -0.1, 1.1),
        ("augment.drop_block", "augment.drop_block", -0.1, 0.6),
        ("augment.min_face", "augment.min_face", -1, 1001),
        ("augment.jitter", "augment.jitter", [0.04, 1.0], [1.0, 4.1]),
        ("augment.face_sizes", "augment.face_sizes", [1.9, 9], [9, 2001]),
        ("augment.scales", "augment.scales", [1.0, 0.2], [4.1]),
        ("augment.views", "augment.views", -0.1, 1.1),
        ("augment.soften", "augment.soften", -0.1, 1.1),
        ("augment.view_side", "augment.view_side", 31, 32_769),
        ("augment.view_scales", "augment.view_scales", [0.04, 1.0], [1.0, 4.1]),
        ("loss.iou", "loss.iou", 0.09, 0.91),
        ("loss.ignore_iou", "loss.ignore_iou", 0.04, 1.1),
        ("loss.negatives", "loss.negatives", 0, 1001),
        ("loss.background", "loss.background", -1, 10_001),
        ("loss.landmark", "loss.landmark", -0.1, 101),
        ("optimiser.lr", "--lr", 0, 10.1),
        ("optimiser.final", "optimiser.final", -0.1, 1.1),
        ("optimiser.warmup_epochs", "--warmup-epochs", -1, 1001),
        ("optimiser.weight_decay", "optimiser.weight_decay", -0.1, 1.1),
        ("optimiser.clip", "--gradient-clip-norm", -1, 1e7),
        ("optimiser.accumulate", "--accumulate", 0, 1025),
        ("optimiser.ema", "--ema", -0.1, 1.0),
        ("validation.every", "validation.every", 0, 10_001),
        ("validation.size", "validation.size", 31, 32_769),
        ("validation.nms", "validation.nms", -0.1, 1.1),
        ("stopping.patience", "--early-stopping-patience", 0, 100_001),
        ("stopping.window_start", "--optimal-window-start", 0, 100_001),
        ("machine.threads", "--threads", -1, 1025),
        ("machine.workers", "--workers", -1, 257),
        ("machine.cache_gb", "machine.cache_gb", -1, 1e6),
        ("machine.save_minutes", "machine.save_minutes", -1, 1e5),
        ("distill.alpha", "--alpha", [-0.1, 0.5], [0.5, 1.1]),
        ("distill.temperature", "--temperature", 0.09, 101),
        ("distill.feature", "--feature-weight", -1, 1001),
        ("distill.believes", "distill.believes", -0.1, 1.1),
    ],
)
def test_values_out_of_range_name_their_option(key: str, option: str, low: Any, high: Any) -> None:
    numbers = [value for value in (low, high) if not isinstance(value, list)]
    texts = [str(low), str(high), *[".nan", ".inf", "-.inf"][: 3 * bool(numbers)]]
    if isinstance(low, list):
        texts += [f"[.nan, {low[1]}]", f"[{high[0]}, .inf]"]
    for text in texts:
        assert refused(nested(key, text)).message.startswith(option), text


@pytest.mark.parametrize(
    ("key", "text", "meant"),
    [
        ("augment.crop", "oficial", "official"),
        ("augment.crop", "facesize", "face-size"),
        ("loss.classification", "crossentropy", "cross-entropy"),
        ("loss.regression", "iuo", "iou"),
        ("optimiser.schedule", "one_cycle", "one-cycle"),
        ("machine.amp", "fp-16", "fp16"),
        ("distill.strategy", "cos", "cosine"),
        ("distill.features", "person", "pearson"),
    ],
)
def test_unknown_choices_suggest(key: str, text: str, meant: str) -> None:
    error = refused(nested(key, text))
    assert repr(text) in error.message
    assert f"did you mean {meant!r}?" in error.hint


def test_ranges_that_run_backwards() -> None:
    assert "augment.jitter (2.0, 1.0) is not a range" in refused("augment: {jitter: [2.0, 1.0]}").message
    error = refused("stopping: {window_start: 100, window_end: 50}")
    assert "--optimal-window-end 50 is before --optimal-window-start 100" in error.message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("size_edges: [24, 12]", "augment.size_edges [24, 12] do not rise within augment.face_sizes [8.0, 200.0]"),
        ("size_edges: [12, 12]", "augment.size_edges [12, 12] do not rise"),
        ("size_edges: [8]", "augment.size_edges [8] do not rise"),
        ("size_edges: [12, 200]", "augment.size_edges [12, 200] do not rise"),
        ("size_edges: [.nan]", "augment.size_edges [nan] do not rise"),
        ("size_edges: [], face_sizes: [20, 20]", "augment.size_edges [] do not rise"),
        ("size_shares: [0.5, 0.5]", "augment.size_shares has 2 numbers for 4 ranges"),
        ("size_shares: [0.3, 0.3, 0.2, 0.1]", "augment.size_shares [0.3, 0.3, 0.2, 0.1] do not add up to 1"),
        ("size_shares: [0.6, 0.6, 0.2, -0.4]", "augment.size_shares [0.6, 0.6, 0.2, -0.4] do not add up to 1"),
        ("size_shares: [.nan, 0.6, 0.2, 0.2]", "augment.size_shares [nan, 0.6, 0.2, 0.2] do not add up to 1"),
    ],
)
def test_sizes_of_a_mixture_that_do_not_fit(text: str, named: str) -> None:
    error = refused(f"augment: {{crop: mixture, {text}}}")
    assert named in error.message
    assert error.hint
    read(f"augment: {{crop: collage, {text}}}")  # which does not use them


def test_sizes_of_a_mixture_that_fit() -> None:
    augment = read("augment: {crop: mixture, size_edges: [20], size_shares: [0.4, 0.6], view_scales: [1, 1]}").augment
    assert (augment.size_edges, augment.size_shares, augment.view_scales) == ((20,), (0.4, 0.6), (1, 1))
    assert read("augment: {crop: mixture, size_edges: []}").augment.size_edges == ()
    assert read("augment: {crop: mixture, size_shares: [0.333, 0.333, 0.333, 0]}").augment.size_shares


@pytest.mark.parametrize(
    ("size", "hint"),
    [(100, "use 96 or 128"), (33, "use 32 or 64"), (639, "use 608 or 640"), (4090, "use 4064 or 4096")],
)
def test_a_size_that_is_no_multiple_of_32(size: int, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_values(Recipe(), {"size": size}, "the command line")
    assert caught.value.message == f"--size {size} is not a multiple of 32 (the command line)"
    assert caught.value.hint == hint
    for better in (int(word) for word in hint.split() if word.isdigit()):
        assert Recipe(size=better).size == better


def test_the_bounds_themselves_are_allowed() -> None:
    recipe = read(
        "size: 32\nseed: 2147483647\nbatch_size: 1\noptimiser: {lr: 10, ema: 0, clip: 0}\nvalidation: {size: 32}"
    )
    assert (recipe.size, recipe.seed, recipe.optimiser.lr, recipe.validation.size) == (32, 2**31 - 1, 10, 32)
    assert read("augment: {jitter: [0.05, 4.0], scales: [0.25, 4]}").augment.jitter == (0.05, 4.0)
    assert read("size: 4096\nvalidation: {size: 0}\nmachine: {workers: 0}").size == 4096


@pytest.mark.parametrize("name", ["lr", "clip", "ema", "final", "warmup_epochs", "weight_decay"])
def test_no_number_is_refused_in_python_too(name: str) -> None:
    with pytest.raises(ConfigError, match="nan"):
        OptimiserConfig(**{name: math.nan})


@pytest.mark.parametrize("given_values", [None, 5, "epochs: 3", ["epochs"]])
def test_what_is_no_set_of_keys(given_values: Any) -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml holds .* where keys should be"):
        with_values(Recipe(), given_values, "mine.yaml")


def test_a_file_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"recipes/gpu\.yaml does not exist") as caught:
        load_recipe(Path("recipes/gpu.yaml"))
    assert "recipes/cpu.yaml" in caught.value.hint
