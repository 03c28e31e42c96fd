"""Distillation: its losses by hand, what it must not touch, and its equality with plain training at alpha 0."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import randomise
from safetensors import safe_open
from small_runs import DATA, assert_same_run, recipe, silent

from featherface_core.config import ModelConfig
from featherface_core.data.annotation import Faces
from featherface_core.errors import ConfigError, WeightsError
from featherface_core.events import Plan, RunEvent
from featherface_core.models.checkpoint import save_weights
from featherface_core.models.variants import build_model, resolve_model
from featherface_core.recipe import DistillConfig, LossConfig, OptimiserConfig
from featherface_core.training.alpha import AlphaSchedule
from featherface_core.training.command_run import Where
from featherface_core.training.losses import MultiBoxLoss
from featherface_core.training.processes import Processes
from featherface_core.training.runs import distill, resume, train
from featherface_core.training.targets import Targets, anchors_of
from featherface_core.training.task import DistillTask
from featherface_core.training.teacher import (
    Adapters,
    DistillationLoss,
    Teacher,
    TeacherView,
    feature_loss,
    softened_kl,
    standardise,
)

SIDE = 64
ANCHORS = len(anchors_of(SIDE, SIDE))
FACE = [[4.0, 4.0, 20.0, 20.0]]  # the 16 px anchor around (12, 12), exactly
PLACE = int(torch.nonzero((anchors_of(SIDE, SIDE) == torch.tensor([12.0, 12.0, 16.0, 16.0])).all(1)))


def student_outputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.zeros(1, ANCHORS, 4), torch.zeros(1, ANCHORS, 2), torch.zeros(1, ANCHORS, 10)


def view(margin: float = -6.0) -> TeacherView:
    """A teacher that sees nothing but what a test adds."""
    return TeacherView(torch.zeros(ANCHORS, 4), torch.full((ANCHORS,), margin), torch.zeros(ANCHORS, 10), [])


def terms(seen: TeacherView, targets: Targets, config: DistillConfig | None = None) -> dict[str, float]:
    outputs = student_outputs()
    labelled = MultiBoxLoss(LossConfig())(outputs, targets, SIDE, SIDE)
    loss = DistillationLoss(config or DistillConfig(features="none"))
    return {k: float(v) for k, v in loss(outputs, [], seen, targets, labelled, SIDE, SIDE).items()}


def test_softened_kl_by_hand() -> None:
    # teacher log odds ln 3 x 2, softened by 2: 0.75; student 0: 0.5. KL = 0.75 ln 1.5 + 0.25 ln 0.5; times T^2 = 4
    value = softened_kl(torch.tensor([0.0]), torch.tensor([2 * math.log(3)]), 2.0)
    assert float(value[0]) == pytest.approx(4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5)), rel=1e-5)
    # as PyTorch's own divergence over two classes
    logits = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    wanted = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    library = F.kl_div((logits / 4).log_softmax(1), (wanted / 4).softmax(1), reduction="none").sum(1) * 16
    mine = softened_kl(logits[:, 1] - logits[:, 0], wanted[:, 1] - wanted[:, 0], 4.0)
    torch.testing.assert_close(mine, library, rtol=1e-4, atol=1e-5)
    assert float(softened_kl(torch.tensor([3.0]), torch.tensor([3.0]), 4.0)) == pytest.approx(0, abs=1e-6)
    assert math.isfinite(float(softened_kl(torch.tensor([-80.0]), torch.tensor([80.0]), 1.0)))


def test_scores_are_taught_where_it_matters_alone() -> None:
    targets = Targets.of([Faces.of(FACE)])
    outputs = student_outputs()
    outputs[1].requires_grad_()
    labelled = MultiBoxLoss(LossConfig())(outputs, targets, SIDE, SIDE)
    seen = view()
    unlabelled = 100  # an anchor that the teacher believes in, though no label says so
    mined = torch.nonzero(labelled.negative).flatten().tolist()
    assert unlabelled not in [*mined, PLACE]
    seen.margin[unlabelled] = 5.0
    taught = DistillationLoss(DistillConfig(features="none"))(outputs, [], seen, targets, labelled, SIDE, SIDE)
    taught["teacher/score"].backward()
    moved = torch.nonzero(outputs[1].grad[0].abs().sum(1)).flatten().tolist()
    assert sorted(moved) == sorted([PLACE, unlabelled, *mined])


def test_boxes_are_taught_where_teacher_and_label_agree() -> None:
    targets = Targets.of([Faces.of(FACE)])
    doubtful = view()
    doubtful.regressions[PLACE] = 2.0
    assert terms(doubtful, targets)["teacher/box"] == 0  # it does not see the face
    sure = view()
    sure.margin[PLACE] = 4.0
    sure.regressions[PLACE] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    sure.landmarks[PLACE, 0] = 3.0
    found = terms(sure, targets)
    # smooth L1 of 1 is 0.5, of 3 it is 2.5; the landmarks' weight is 0.5
    assert found["teacher/box"] == pytest.approx(0.5)
    assert found["teacher/landmark"] == pytest.approx(0.5 * 2.5)
    elsewhere = view()
    elsewhere.margin[PLACE] = 4.0
    elsewhere.regressions[PLACE] = torch.tensor([9.0, 9.0, 0.0, 0.0])  # 14 px away: no longer this face
    assert terms(elsewhere, targets)["teacher/box"] == 0


def test_pictures_without_faces_are_taught_finitely() -> None:
    found = terms(view(), Targets.of([Faces.none()]))
    assert all(math.isfinite(value) for value in found.values())


def test_feature_losses_by_hand() -> None:
    draw = torch.Generator().manual_seed(0)
    a = torch.randn(2, 3, 4, 5, generator=draw)
    # Pearson does not see scale and shift; the opposite correlates with -1
    assert float(feature_loss(a * 3 + 7, a, "pearson")) == pytest.approx(0, abs=1e-4)
    assert float(feature_loss(-a, a, "pearson")) == pytest.approx(2, abs=1e-4)
    b = torch.randn(2, 3, 4, 5, generator=draw)
    rows = [torch.corrcoef(torch.stack((a[:, c].flatten(), b[:, c].flatten())))[0, 1] for c in range(3)]
    assert float(feature_loss(a, b, "pearson")) == pytest.approx(1 - float(torch.stack(rows).mean()), abs=1e-4)
    assert float(feature_loss(a, a, "cwd")) == pytest.approx(0, abs=1e-5)
    assert float(feature_loss(a, b, "cwd")) > 0
    assert float(feature_loss(a, a + 2, "mse")) == pytest.approx(4, rel=1e-5)
    assert bool(torch.isfinite(standardise(torch.ones(2, 9))).all())


def test_the_teacher_is_never_trained() -> None:
    teacher = Teacher(randomise(build_model("v1", seed=0)))
    before = {name: t.clone() for name, t in teacher.model.state_dict().items()}
    student = build_model("v2", seed=1).train()
    task = DistillTask(LossConfig(), DistillConfig(), teacher, 32, AlphaSchedule(0.8, 0.5, "linear", 5), Processes())
    assert task.begin(1) == pytest.approx(0.8)
    pixels = torch.randn(2, 3, SIDE, SIDE)
    total = sum(task.losses(student, pixels, Targets.of([Faces.of(FACE), Faces.none()])).values())
    total.backward()
    assert all(p.grad is None for p in teacher.model.parameters())
    assert not teacher.model.training
    assert all(torch.equal(t, before[name]) for name, t in teacher.model.state_dict().items())
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in task.companions.parameters() if p.ndim > 1)


def test_alpha_divides_between_labels_and_teacher() -> None:
    teacher = Teacher(randomise(build_model("v1", seed=0)))
    student = randomise(build_model("v2", seed=1)).train()
    pixels = torch.randn(1, 3, SIDE, SIDE)
    targets = Targets.of([Faces.of(FACE)])
    found = {}
    for alpha in (0.25, 0.5):
        schedule = AlphaSchedule(alpha, alpha, "linear", 5)
        torch.manual_seed(0)
        task = DistillTask(LossConfig(), DistillConfig(), teacher, 32, schedule, Processes())
        task.begin(1)
        found[alpha] = {k: float(v.detach()) for k, v in task.losses(student, pixels, targets).items()}
    for name, value in found[0.5].items():
        factor = 2.0 if name.startswith("teacher/") else 0.5 / 0.75
        assert value == pytest.approx(found[0.25][name] * factor, rel=1e-4), name


def test_a_repeated_batch_is_looked_at_once() -> None:
    teacher = Teacher(randomise(build_model("v1", seed=0)))
    student = randomise(build_model("v2", seed=1)).eval()
    schedule = AlphaSchedule(0.5, 0.5, "linear", 5)
    targets = Targets.of([Faces.of(FACE)])
    batches = [torch.randn(1, 3, SIDE, SIDE) for _ in range(3)]
    looks = []
    look = teacher.look
    teacher.look = lambda pixels: looks.append(pixels) or look(pixels)  # type: ignore[method-assign, func-returns-value]
    task = DistillTask(LossConfig(), DistillConfig(), teacher, 32, schedule, Processes(), remembered=2)
    task.begin(1)

    def losses(number: int | None) -> dict[str, float]:
        pixels = batches[number or 0]
        return {k: float(v.detach()) for k, v in task.losses(student, pixels, targets, number).items()}

    first = losses(0), losses(1)
    assert (losses(0), losses(1)) == first
    assert len(looks) == 2
    losses(2)  # the first is forgotten
    assert losses(0) == first[0]
    assert len(looks) == 4
    losses(None)  # a batch without a number is always looked at
    assert len(looks) == 5


def test_what_the_teacher_takes_for_a_face_is_no_negative() -> None:
    teacher = Teacher(randomise(build_model("v1", seed=0)))
    student = randomise(build_model("v2", seed=1)).eval()
    schedule = AlphaSchedule(0.5, 0.5, "linear", 5)
    pixels, nothing = torch.randn(1, 3, SIDE, SIDE), Targets.of([Faces.none()])
    margin = teacher.look(pixels).margin
    scores = margin.sigmoid()
    found = {}
    for doubts in (0.0, 0.5, 1.0):
        config = DistillConfig(doubts=doubts)
        task = DistillTask(LossConfig(background=len(margin)), config, teacher, 32, schedule, Processes())
        task.begin(1)
        found[doubts] = float(task.losses(student, pixels, nothing)["cls"].detach())
    with torch.no_grad():
        logits = student.predict(student.pyramid(pixels))[1].flatten(
            0, 1
        )  # as they come: losses() takes them for logits
    cost = torch.nn.functional.softplus(logits[:, 1] - logits[:, 0])
    assert found[0.0] == 0
    assert 0 < int((scores >= 0.5).sum()) < len(scores)
    hardest = cost.topk(len(cost) - 1).values.sum()  # never all of a picture's anchors
    assert found[1.0] == pytest.approx(0.5 * float(hardest), rel=1e-3)
    assert found[0.5] == pytest.approx(0.5 * float(cost[scores < 0.5].sum()), rel=1e-3)
    sure = Teacher(randomise(build_model("v1", seed=0)))
    seen = sure.look(pixels)
    seen.margin.fill_(40.0)  # its score is 1.0 in float32
    sure.look = lambda _: seen  # type: ignore[method-assign]
    task = DistillTask(LossConfig(background=len(margin)), DistillConfig(), sure, 32, schedule, Processes())
    task.begin(1)
    assert float(task.losses(student, pixels, nothing)["cls"].detach()) == pytest.approx(found[1.0])


def test_adapters_depend_on_the_seed_alone() -> None:
    teacher = Teacher(build_model("v1", seed=0))
    schedule = AlphaSchedule(0.8, 0.5, "linear", 5)
    made = []
    for state, seed in ((1, 0), (2, 0), (2, 1)):
        torch.manual_seed(state)  # as different processes, or a resumed run, find it
        before = torch.get_rng_state()
        task = DistillTask(LossConfig(), DistillConfig(), teacher, 32, schedule, Processes(), seed)
        assert torch.equal(torch.get_rng_state(), before)
        made.append(next(iter(task.companions.parameters())))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[1], made[2])


def test_adapters_have_the_teachers_width() -> None:
    adapted = Adapters(32, 52)([torch.zeros(1, 32, n, n) for n in (8, 4, 2)])
    assert [tuple(level.shape) for level in adapted] == [(1, 52, 8, 8), (1, 52, 4, 4), (1, 52, 2, 2)]


@pytest.fixture(scope="module")
def teacher_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a v1 that was never trained, which is enough to teach nonsense."""
    path = tmp_path_factory.mktemp("teacher") / "v1.safetensors"
    return save_weights(path, randomise(build_model("v1", seed=3)).state_dict(), resolve_model("v1"))


def test_alpha_zero_is_training_step_for_step(tmp_path: Path, teacher_weights: Path) -> None:
    import dataclasses

    plain = recipe(epochs=2)
    train(plain, DATA, None, Where(tmp_path / "train"), silent)
    none = dataclasses.replace(plain, distill=DistillConfig(alpha=(0.0, 0.0)))
    distill(none, DATA, None, "v1", teacher_weights, False, 0, Where(tmp_path / "distill"), silent)
    assert_same_run(tmp_path / "train", tmp_path / "distill")


def test_a_distillation_with_its_own_teacher_and_control(tmp_path: Path) -> None:
    plans: list[Plan] = []

    def listen(event: RunEvent) -> None:
        if isinstance(event, Plan):
            plans.append(event)

    made = recipe(epochs=2, init="teacher", optimiser=OptimiserConfig(warmup_epochs=0.0))
    out = tmp_path / "run"
    report = distill(made, DATA, None, "v1", None, True, 1, Where(out), listen)
    assert [n.role for n in report.networks] == ["student", "teacher", "control"]
    assert [n.model for n in report.networks] == ["v2", "v1", "v2"]
    assert [n.epochs for n in report.networks] == [2, 1, 2]
    student, teacher, control = report.networks
    assert report.gap == pytest.approx(student.ap - teacher.ap)
    assert report.gain == pytest.approx(student.ap - control.ap)
    assert student.start == control.start == "backbone of v1 (the teacher)"
    assert report.finished
    # the schedule is printed before the student is trained
    shown = [row for plan in plans for row in plan.rows if row[0] == "at epoch"]
    assert shown
    # the student's file is a v2 and nothing else; the adapters are in the run's checkpoint
    with safe_open(out / "best.safetensors", "pt") as stored:
        assert set(stored.keys()) == set(build_model("v2").state_dict())
    saved = torch.load(out / "last.pt", weights_only=True)
    assert {name.split(".")[0] for name in saved["companions"]} == {"levels"}
    assert not any("teacher" in name or "levels" in name for name in saved["model"])
    assert json.loads((out / "report.json").read_text())["networks"][2]["role"] == "control"
    assert (out / "teacher" / "report.json").exists()
    first = json.loads((out / "metrics.jsonl").read_text().splitlines()[0])
    assert first["alpha"] == pytest.approx(0.8)
    assert {"loss/teacher/score", "loss/teacher/box", "loss/teacher/landmark", "loss/teacher/feature"} <= first.keys()


def test_a_resumed_distillation_is_the_same_run(tmp_path: Path, teacher_weights: Path) -> None:
    made = recipe(epochs=3)
    for name, stop in (("whole", 0), ("parts", 1)):
        distill(made, DATA, None, "v1", teacher_weights, False, 0, Where(tmp_path / name, stop_after=stop), silent)
    resume(tmp_path / "parts", "distill", 0, silent)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    adapters = [torch.load(tmp_path / n / "last.pt", weights_only=True)["companions"] for n in ("whole", "parts")]
    assert all(torch.equal(t, adapters[1][name]) for name, t in adapters[0].items())


def test_any_variant_teaches_any_other(tmp_path: Path) -> None:
    made = recipe(model="v1-24", epochs=1)
    report = distill(made, DATA, None, "v2", None, False, 1, Where(tmp_path / "run"), silent)
    assert [n.model for n in report.networks] == ["v1-24", "v2"]


def test_weights_of_another_teacher_are_refused(tmp_path: Path, teacher_weights: Path) -> None:
    with pytest.raises(WeightsError, match="holds weights of 'v1', not of 'v1-24'") as problem:
        distill(recipe(), DATA, None, "v1-24", teacher_weights, False, 0, Where(tmp_path / "run"), silent)
    assert problem.value.hint == "use --teacher v1"
    assert not (tmp_path / "run").exists()


def test_init_teacher_belongs_to_distill(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--init teacher goes with featherface distill"):
        train(recipe(init="teacher"), DATA, None, Where(tmp_path / "run"), silent)


def test_a_custom_variant_learns(tmp_path: Path, teacher_weights: Path) -> None:
    slim = tmp_path / "slim.yaml"
    slim.write_text("base: v2\ncells: 1\n")
    report = distill(
        recipe(model=str(slim), epochs=1), DATA, None, "v1", teacher_weights, False, 0, Where(tmp_path / "run"), silent
    )
    assert report.networks[0].model == "slim"
    assert isinstance(resolve_model(str(slim)), ModelConfig)
