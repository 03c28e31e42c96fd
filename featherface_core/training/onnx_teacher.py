"""A teacher that runs in onnxruntime, which on a processor is faster than PyTorch; docs/performance.md has by how much."""

import numpy as np
import torch
from torch import Tensor, nn

from featherface_core.config import ExportConfig
from featherface_core.detect.detector import OUTPUTS
from featherface_core.detect.session import open_graph, session_options
from featherface_core.errors import ExportError, first_line
from featherface_core.events import Note, RunListener
from featherface_core.exporting.graph import INPUT, trace
from featherface_core.exporting.rewrites import REWRITES, rewritten
from featherface_core.models.featherface import FeatherFace
from featherface_core.recipe import Recipe
from featherface_core.training.device import autocast_type
from featherface_core.training.teacher import Teacher, check_runtime

LEVELS = ("level3", "level4", "level5")
# what is rewritten: single heads would give the background's score as 1 - the face's, which loses its logarithm
KEPT = tuple(name for name in REWRITES if name != "heads")
AGREES = 1e-3  # of the largest value of an output, between the two runtimes
WORTH = 1000 * 640**2  # pixels to look at: with many fewer the export takes longer than it saves


def make_teacher(model: FeatherFace, recipe: Recipe, pictures: int, on_event: RunListener) -> Teacher:
    """The teacher that fits ``recipe.machine``, to look at so many pictures of ``recipe.size``.

    Raises ConfigError where ``machine.teacher`` is onnxruntime and the model is not on a CPU.
    """
    kind, device = recipe.machine.teacher, next(model.parameters()).device
    check_runtime(kind, device)
    if kind == "auto":
        whole = autocast_type(recipe.machine.amp, device) is None
        kind = "onnxruntime" if device.type == "cpu" and whole and pictures * recipe.size**2 >= WORTH else "torch"
    if kind == "torch":
        return Teacher(model)
    on_event(Note("the teacher is exported first, to run in onnxruntime; that takes a while"))
    try:
        return RuntimeTeacher(model, torch.get_num_threads())
    except ExportError as problem:
        on_event(Note(f"the teacher stays in PyTorch: {problem.message}", warning=True))
        return Teacher(model)


class RuntimeTeacher(Teacher):
    """A Teacher whose network is exported, and run by onnxruntime on the CPU; its views are the same but for rounding.

    threads: of one operator, 0 for onnxruntime's choice. Raises ExportError where the network cannot be exported, or
    where the two runtimes disagree.
    """

    def __init__(self, model: FeatherFace, threads: int = 0) -> None:
        super().__init__(model)
        graph = trace(_Seen(rewritten(model, KEPT)), ExportConfig().opset, None, (*OUTPUTS, *LEVELS), model.config.name)
        options = session_options(threads)
        # threads that wait for the next batch would otherwise take the student's processors
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = open_graph(graph.SerializeToString(), options)
        except Exception as problem:  # onnxruntime has no common base class for its errors
            raise ExportError(f"onnxruntime cannot run {model.config.name}: {first_line(problem)}") from problem
        self._compare()

    def see(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """As Teacher.see."""
        made = self._session.run(None, {INPUT: np.ascontiguousarray(pixels.numpy())})
        regressions, scores, landmarks, *pyramid = (torch.from_numpy(output) for output in made)
        return regressions, scores, landmarks, pyramid

    @torch.no_grad()
    def _compare(self) -> None:
        pixels = 60 * torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
        *theirs, their_pyramid = super().see(pixels)
        *ours, our_pyramid = self.see(pixels)
        names = (*OUTPUTS, *LEVELS)
        for name, a, b in zip(names, (*ours, *our_pyramid), (*theirs, *their_pyramid), strict=True):
            apart, limit = float((a - b).abs().max()), AGREES * max(1.0, float(b.abs().max()))
            if not apart <= limit:  # nor is NaN
                raise ExportError(f"{name} of {self.config.name} in onnxruntime is {apart:.2g} from PyTorch's")


class _Seen(nn.Module):
    """All that a teacher shows: regressions, scores, landmarks, and the neck's outputs."""

    def __init__(self, model: FeatherFace) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Of pixels (N, 3, H, W)."""
        pyramid = self.model.pyramid(x)
        return (*self.model.predict(list(pyramid)), *pyramid)
