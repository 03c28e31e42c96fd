"""How benchmarks measure: turns, statistics, and how far the figures hold."""

import gc
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench_files import candidate, report
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.bench.benchmark import _warnings, achieved
from featherface_core.bench.config import BenchConfig, Source, parse_counts, with_names
from featherface_core.bench.report import Cost, Latency, Limit, draw_bench
from featherface_core.bench.rounds import interleave, latency, ratio
from featherface_core.bench.stages import Pipeline, measure_stages
from featherface_core.config import PostprocessConfig
from featherface_core.detect.detector import Detector, default_constants
from featherface_core.errors import ConfigError
from featherface_core.results import Detections, as_json


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, *seconds: float) -> Callable[[], None]:
        """Something that takes ``seconds``, one after the other, and then the first again."""
        durations = iter(seconds * 100)

        def run() -> None:
            self.now += next(durations)

        return run


# --- turns ---------------------------------------------------------------------------------------------------------------


def test_candidates_take_turns() -> None:
    calls: list[str] = []
    done: list[int] = []
    runs = [lambda name=name: calls.append(name) for name in "ABC"]
    interleave(runs, runs=3, warm_up=2, on_round=done.append)
    assert calls == list("ABC") * 5
    assert done == [1, 2, 3, 4, 5]


def test_the_warm_up_does_not_count() -> None:
    clock = Clock()
    a, b = clock.work(9.0, 1.0, 2.0, 3.0), clock.work(9.0, 0.5, 0.5, 0.25)
    rounds = interleave([a, b], runs=3, warm_up=1, clock=clock, cpu_clock=lambda: clock.now / 2)
    assert rounds.seconds.tolist() == [[1.0, 0.5], [2.0, 0.5], [3.0, 0.25]]
    assert rounds.cpu_share == pytest.approx(0.5)


def test_no_garbage_is_collected_within_rounds() -> None:
    during: list[bool] = []
    interleave([lambda: during.append(gc.isenabled())], runs=1, warm_up=0)
    assert during == [False]
    assert gc.isenabled()

    def breaks() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interleave([breaks], runs=1)
    assert gc.isenabled()


# --- statistics ----------------------------------------------------------------------------------------------------------


def test_percentiles_by_hand() -> None:
    figures = latency(np.arange(1, 102) / 1000)  # 1 to 101 ms
    assert (figures.median, figures.p5, figures.p95) == pytest.approx((51.0, 6.0, 96.0))
    assert figures.rounds[:2] == (1.0, 2.0)


def test_a_drift_that_falls_on_both_cancels() -> None:
    first = np.linspace(0.01, 0.03, 30)  # the machine slows down threefold
    held = ratio(first * 2, first)
    assert (held.median, held.p5, held.p95) == pytest.approx((2.0, 2.0, 2.0))
    assert latency(first * 2).p95 > 1.4 * latency(first * 2).median


def test_the_spread_of_one_run_holds_the_ratio_of_the_next() -> None:
    """On a machine with bursts: for seconds at a time, either network takes up to twice as long."""

    def run(seed: int) -> tuple[np.ndarray, np.ndarray]:
        draw = np.random.default_rng(seed)
        bursts = np.repeat(draw.choice([1.0, 1.5, 2.0], 6), 5)
        a, b = (bursts * base * draw.normal(1, 0.03, 30) for base in (0.02, 0.03))
        return b * draw.choice([1.0, 1.1], 30), a

    ratios = [ratio(*run(seed)) for seed in range(40)]
    within = [one.p5 <= other.median <= one.p95 for one in ratios for other in ratios if other is not one]
    assert np.mean(within) > 0.95


@given(st.lists(st.tuples(st.floats(1e-4, 1), st.floats(1e-4, 1)), min_size=3, max_size=40))
def test_figures_are_ordered(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    held = ratio(b, a)
    assert held.p5 <= held.median <= held.p95
    assert min(b / a) <= held.p5
    assert held.p95 <= max(b / a)


def test_pace_and_shares_by_hand() -> None:
    times = Latency(20.0, 19.0, 21.0, ())  # of a batch of 4
    pace = achieved(Cost(1, 500_000_000, 100_000_000), times, 4, Limit(1, 400e9, 10e9))
    assert pace.macs_per_second == pytest.approx(100e9)
    assert pace.of_peak == pytest.approx(0.25)
    assert pace.bytes_per_second == pytest.approx(5e9)
    assert pace.of_copy == pytest.approx(0.5)
    unknown = achieved(Cost(1, None, None), times, 4, Limit(1, 400e9, 10e9))
    assert set(as_json(unknown, "").values()) >= {None}
    assert achieved(Cost(1, 5, 5), times, 4, None).of_peak is None


# --- stages --------------------------------------------------------------------------------------------------------------


class Slow:
    """A network, and with its prior and later steps, made of seconds on a clock."""

    fixed = None

    def __init__(self, clock: Clock) -> None:
        self.clock, self.shapes = clock, set[tuple[int, ...]]()

    def run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.clock.now += 0.004 * len(pixels)
        self.shapes.add(pixels.shape)
        return np.zeros((len(pixels), 1, 4)), np.zeros((len(pixels), 1, 2)), np.zeros((len(pixels), 1, 10))


def test_stages_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    network = Slow(clock)
    detector = Detector(network, default_constants(), "slow", "")  # type: ignore[arg-type]

    def read(_: object) -> np.ndarray:
        clock.now += 0.001
        return np.zeros((40, 80, 3), np.uint8)

    def decode(outputs: object, shape: object, scales: list[object], post: PostprocessConfig) -> list[Detections]:
        clock.now += 0.003 * len(scales)
        two = np.zeros((2, 4), np.float32)
        return [Detections(two, two[:, 0], two[:, :0])] * len(scales)

    from featherface_core.pictures import prepare

    def slow_prepare(*arguments: object) -> object:
        clock.now += 0.002
        return prepare(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("featherface_core.bench.stages.read_picture", read)
    monkeypatch.setattr("featherface_core.bench.stages.prepare", slow_prepare)
    monkeypatch.setattr(detector, "decode", decode)
    for batch in (1, 3):
        pipeline = Pipeline(detector, Path("a.png"), 64, 96, batch, clock)
        none, stages = measure_stages([None, pipeline], runs=4)
        assert none is None
        assert stages is not None
        times = (stages.reading, stages.preparing, stages.network, stages.postprocessing, stages.total)
        assert times == pytest.approx((1.0, 2.0, 4.0, 3.0, 10.0))
        assert stages.faces == 2
    assert network.shapes == {(1, 3, 64, 96), (3, 3, 64, 96)}


# --- what is asked for ---------------------------------------------------------------------------------------------------


def test_counts() -> None:
    assert parse_counts("--batch", "4") == (4,)
    for text in ("", "1,,2", "1.5", "a"):
        with pytest.raises(ConfigError, match="--batch"):
            parse_counts("--batch", text)


@pytest.mark.parametrize(
    "wrong",
    [{"threads": (0,)}, {"threads": (-1,)}, {"batches": (0, 1)}, {"batches": (2, 2)}, {"runs": 2}, {"size": (31, 640)}],
    ids=str,
)
def test_config_refuses(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        BenchConfig(**wrong)  # type: ignore[arg-type]


def test_names_tell_candidates_apart() -> None:
    files = [Source("onnxruntime", onnx=name) for name in ("a/m.onnx", "b/m.onnx", "other.onnx", "a/m.onnx")]
    sources = [Source("torch", "v2"), Source("onnxruntime", "v2"), Source("torch", "models/slim.yaml"), *files]
    assert [s.name for s in with_names(sources)] == ["v2", "v2", "slim", "a/m", "b/m", "other", "a/m (2)"]


def test_what_makes_figures_doubtful() -> None:
    reports = [candidate("even", 10.0), candidate("uneven", 10.0)]
    reports[1] = replace(reports[1], milliseconds=Latency(10.0, 9.0, 16.0, ()))
    quiet = _warnings(BenchConfig(), 0.99, reports[:1])
    assert quiet == []
    assert "50%" in _warnings(BenchConfig(), 0.5, reports[:1])[0]
    assert not any("%" in said for said in _warnings(BenchConfig(threads=(2,)), 0.5, []))  # which core's share?
    assert "(uneven)" in _warnings(BenchConfig(), 0.99, reports)[0]
    assert "1024 threads" in _warnings(BenchConfig(threads=(1, 1024)), 0.99, [])[0]
    assert _warnings(BenchConfig(device="cuda"), 0.01, []) == []


# --- the report ----------------------------------------------------------------------------------------------------------


def test_labels_name_the_runtime_where_needed() -> None:
    both = report(candidate("v2", 1.0, "torch"), candidate("v2", 1.0), candidate("v1", 1.0))
    assert both.labels == ("v2, torch", "v2, onnxruntime", "v1")


def test_json_keeps_every_field() -> None:
    made = report()
    said = json.loads(json.dumps(as_json(made, "bench")))
    assert (said["schema"], said["command"]) == (1, "bench")
    first, second = said["candidates"]
    assert first["ratio"] is None
    assert second["ratio"] == {"median": 2.5, "p5": 2.25, "p95": 2.75}
    assert first["milliseconds"] == {"median": 10.0, "p5": 9.0, "p95": 12.0, "rounds": [10.0] * 3}
    assert first["stages"]["total"] == 16.0
    assert said["limit"] == {"threads": 1, "macs_per_second": 8e9, "bytes_per_second": 6e9}


@pytest.fixture
def charts(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_chart(charts: Path) -> None:
    import cv2

    many = [candidate(f"a detector with a name that is rather long {i}", 10.0 * i + 1, ratio=i) for i in range(6)]
    drawn = report(candidate("v2", 300.0, "torch"), candidate("v2", 0.02), *many)
    draw_bench(drawn, charts / "chart.png")
    picture = cv2.imread(str(charts / "chart.png"))
    assert picture.shape[1] == 1200
    edges = (picture[:5], picture[-5:], picture[:, :5], picture[:, -5:])
    assert [edge.min() for edge in edges] == [255] * 4  # nothing is cut off
    for name in ("a.svg", "b.svg"):
        draw_bench(drawn, charts / name)
    assert (charts / "a.svg").read_bytes() == (charts / "b.svg").read_bytes()
    with pytest.raises(ConfigError, match=r"chart\.jpg is neither"):
        draw_bench(drawn, charts / "chart.jpg")
