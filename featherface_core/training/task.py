"""What a network is taught: by labels alone, or by a teacher too. The engine asks a task for losses by name."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from featherface_core.models.featherface import FeatherFace
from featherface_core.recipe import DistillConfig, LossConfig
from featherface_core.training.alpha import AlphaSchedule
from featherface_core.training.losses import MultiBoxLoss
from featherface_core.training.processes import Processes
from featherface_core.training.targets import Targets
from featherface_core.training.teacher import Adapters, DistillationLoss, Teacher, TeacherView


class Task(Protocol):
    """One way of teaching. companions: modules trained beside the network and left behind; they may be empty."""

    companions: nn.Module

    def begin(self, epoch: int) -> float | None:
        """Called before each epoch (from 1); the weight of the teacher in it, None where there is none."""
        ...

    def observe(self, val_map: float) -> None:
        """Called after each validation with its AP."""
        ...

    def losses(
        self, model: FeatherFace, pixels: Tensor, targets: Targets, number: int | None = None
    ) -> dict[str, Tensor]:
        """Weighted losses of a batch by name; their sum is trained on. number: the batch's, which one that is repeated keeps."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs beside the companions' tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict()``."""
        ...


class LabelsTask:
    """MultiBoxLoss alone: ``featherface train``."""

    def __init__(self, loss: LossConfig, processes: Processes) -> None:
        self.criterion = MultiBoxLoss(loss, processes.share)
        self.companions: nn.Module = nn.ModuleList()

    def begin(self, epoch: int) -> float | None:
        """No teacher."""
        return None

    def observe(self, val_map: float) -> None:
        """Nothing depends on it."""

    def losses(
        self, model: FeatherFace, pixels: Tensor, targets: Targets, number: int | None = None
    ) -> dict[str, Tensor]:
        """``box``, ``cls``, ``landmark``."""
        return self.criterion(model(pixels), targets, *pixels.shape[2:]).terms

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


class DistillTask:
    """(1 - alpha) x the labels' losses + alpha x the teacher's: ``featherface distill``.

    Where alpha is 0 the teacher is not even asked, and the run is LabelsTask's, step for step.
    """

    def __init__(
        self,
        loss: LossConfig,
        config: DistillConfig,
        teacher: Teacher,
        student_width: int,
        schedule: AlphaSchedule,
        processes: Processes,
        seed: int = 0,
        remembered: int = 0,
    ) -> None:
        """remembered: views of batches that are kept, since the batches come again; 0 for none."""
        self.criterion = MultiBoxLoss(loss, processes.share)
        self.teaching = DistillationLoss(config, processes.share, loss.box_beta, loss.landmark_beta)
        self.teacher, self.schedule = teacher, schedule
        self.alpha = 0.0
        self.remembered = remembered
        self.views: dict[int, TeacherView] = {}
        wanted = config.features != "none" and config.feature > 0
        # from the seed alone: the same in all processes, and in a run that is resumed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.companions: nn.Module = (
                Adapters(student_width, teacher.config.width) if wanted and schedule.distils else nn.ModuleList()
            )

    def begin(self, epoch: int) -> float | None:
        """Alpha of this epoch."""
        self.alpha = self.schedule.value(epoch)
        return self.alpha

    def observe(self, val_map: float) -> None:
        """Alpha shrinks where the AP stands still."""
        self.schedule.observe(val_map)

    def losses(
        self, model: FeatherFace, pixels: Tensor, targets: Targets, number: int | None = None
    ) -> dict[str, Tensor]:
        """``box``, ``cls``, ``landmark`` and those of DistillationLoss."""
        height, width = pixels.shape[2:]
        if not self.alpha:
            return self.criterion(model(pixels), targets, height, width).terms
        view = self._look(pixels, number)
        pyramid = model.pyramid(pixels)
        outputs = model.predict(pyramid)
        # a face that no label names, or a box of another convention: the teacher's score is learnt there, not the label's
        doubts = self.teaching.config.doubts
        doubtful = view.margin.sigmoid() >= doubts if doubts < 1 else None  # a sure teacher's score rounds to 1
        labelled = self.criterion(outputs, targets, height, width, doubtful)
        adapted = self.companions(pyramid) if len(list(self.companions.children())) else []
        taught = self.teaching(outputs, adapted, view, targets, labelled, height, width)
        return {name: (1 - self.alpha) * term for name, term in labelled.terms.items()} | {
            name: self.alpha * term for name, term in taught.items()
        }

    def _look(self, pixels: Tensor, number: int | None) -> TeacherView:
        if number is None or not self.remembered:
            return self.teacher.look(pixels)
        view = self.views.get(number)
        if view is None:
            view = self.teacher.look(pixels)
            while len(self.views) >= self.remembered:
                self.views.pop(next(iter(self.views)))
            self.views[number] = view
        return view

    def state_dict(self) -> dict[str, Any]:
        """The schedule's."""
        return self.schedule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The schedule's."""
        self.schedule.load_state_dict(state)
