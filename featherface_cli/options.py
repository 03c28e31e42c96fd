"""The options of all commands: their names, help, and the key of a config that each sets; types and defaults are the config's.

A group is a parameter of a command that stands for several options: see ``parser.grouped``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.models import OptionInfo

from featherface_cli.parser import Changes, Fields, Setting
from featherface_core.bench.config import BenchConfig
from featherface_core.config import DEFAULT_TEST_SIZES, DetectConfig, ExportConfig, PostprocessConfig
from featherface_core.evaluation.config import MAX_DROP, EvalConfig
from featherface_core.int8.config import Int8Config
from featherface_core.recipe import Recipe
from featherface_core.training.alpha import parse_alpha


def option(
    text: str,
    *names: str,
    panel: str | None = None,
    metavar: str | None = None,
    least: int | None = None,
    most: int | None = None,
) -> Any:
    """An option. names: without any, ``--`` and the name of its parameter; panel: where it stands in the help."""
    return typer.Option(*names, help=text, rich_help_panel=panel, metavar=metavar, min=least, max=most)


# ---- of several commands -----------------------------------------------------------------------------------------------

Json = Annotated[bool, option("Print JSON on stdout, and nothing else.", "--json")]
Quiet = Annotated[bool, option("No progress and no running commentary; errors still show.", "--quiet", "-q")]

WEIGHTS = option(
    "A .safetensors of ours or a published .pth/.tar; v1 or v2 for those that ship; the word untrained for a random network. "
    "Default: those that ship, of v2 unless --model v1.",
    metavar="FILE|v2",
)
MODEL = option("A variant or a YAML file; default: what the weights are of.", "--model", "-m", metavar="NAME|YAML")
LANDMARKS_BY = option(
    "Look again at each face, scaled to 128 px, and place its landmarks by that: the same network, a variant that weights ship "
    "for, a weights file, an .onnx or an .xml.",
    metavar="same|v1|FILE",
)
BATCH = option("Pictures of equal shape that run together.")
DEVICE = option("cpu, cuda or cuda:1; mps for --weights alone.")
THREADS = option("CPU threads; 0 lets the runtime choose.")

Weights = Annotated[str | None, WEIGHTS]
Model = Annotated[str | None, MODEL]
Onnx = Annotated[Path | None, option("An exported file: .onnx by onnxruntime, .xml by OpenVINO.", metavar="FILE")]


def limits(panel: str | None = None) -> dict[str, OptionInfo]:
    """The options of PostprocessConfig."""
    return {
        "score": option("Faces with a score above this, 0 to 1.", panel=panel),
        "nms": option("IoU above which the weaker of two boxes goes, 0 to 1.", panel=panel),
        "top_k": option("Faces per picture at most; 0 for no limit.", panel=panel),
    }


# ---- params ------------------------------------------------------------------------------------------------------------

Models = Annotated[
    list[str] | None,
    option("A variant or a YAML file; may be repeated. Default: v1.", "--model", "-m", metavar="NAME|YAML"),
]
EveryModel = Annotated[bool, option("Compare all named variants.", "--all")]
CountedSize = Annotated[int, option("Side in pixels of the square picture that MACs are counted for.")]
Depth = Annotated[int, option("Levels of parts to show.", least=1, most=9)]
Tree = Annotated[bool, option("Show the parts as a tree with their classes.", "--tree")]
Target = Annotated[int | None, option("Parameter budget to hold the total against.", least=1)]
Tolerance = Annotated[int, option("How far from the target is still met.", least=0)]
Search = Annotated[bool, option("List the configurations that meet the budget.", "--search")]
Limit = Annotated[int, option("Rows of --search to show.", least=1)]
ModelOverrides = Annotated[
    list[str] | None, option("Change the model, e.g. width=24; may be repeated.", "--set", metavar="KEY=VALUE")
]

# ---- detect ------------------------------------------------------------------------------------------------------------

Pictures = Annotated[
    list[str], typer.Argument(metavar="PATH...", help="Pictures, folders, globs, a video or a camera number.")
]
Detection = Annotated[
    DetectConfig,
    Fields(
        {
            "size": option(
                "Long side in pixels to scale pictures to; a static file bounds it. Default: original size."
            ),
            "batch": BATCH,
        }
    ),
]
Limits = Annotated[PostprocessConfig, Fields(limits())]
LandmarksBy = Annotated[str | None, LANDMARKS_BY]
Device = Annotated[str, DEVICE]
Threads = Annotated[int, THREADS]
DetectOut = Annotated[Path, option("Folder for what is written.", "--out", "-o", metavar="DIR")]

# ---- train and distill -------------------------------------------------------------------------------------------------

DATA, RECIPE, OPTIM, STOP, RUN = "Data", "Network and recipe", "Optimiser", "Early stopping", "Run and machine"
LESSON = "Distillation"


def setting(keys: str, text: str, *names: str, panel: str, metavar: str | None = None, value: Any = None) -> Setting:
    """An option for keys of a recipe; value: what a flag sets."""
    return Setting(tuple(keys.split()), option(text, *names, panel=panel, metavar=metavar), value)


TRAIN_START = {
    "model": setting("model", "Default: the recipe's.", "--model", "-m", panel=RECIPE, metavar="NAME|YAML"),
    "init": setting(
        "init",
        "Where to start: the ImageNet backbone, or weights of any variant, of which what fits is taken; v1 and v2 are those that "
        "ship.",
        panel=RECIPE,
        metavar="FILE|v2|random",
    ),
}
DISTILL_START = {
    "init": setting(
        "init",
        "Where the student starts: a file, weights that ship, the teacher's backbone, or random.",
        panel=RECIPE,
        metavar="FILE|v2|teacher|random",
    ),
}
LESSONS = {
    "alpha": Setting(
        ("distill.alpha",),
        option(
            "The teacher's weight, 0 to 1, at the first and the last epoch; one number keeps it.",
            panel=LESSON,
            metavar="START:END",
        ),
        parse=parse_alpha,
    ),
    "student": setting(
        "model",
        "The network that learns. Default: v2.",
        "--student",
        "-m",
        panel=LESSON,
        metavar="NAME|YAML",
    ),
    "temperature": setting("distill.temperature", "That scores are softened by.", panel=LESSON),
    "strategy": setting(
        "distill.strategy", "Alpha's way from start to end.", panel=LESSON, metavar="linear|cosine|exponential"
    ),
    "no_adapt": setting(
        "distill.shrink distill.late_cap distill.bounds",
        "Without alpha's rules: x0.9 after ten validations without improvement, at most 0.4 in the last fifth, always within 0.1 "
        "to 0.9.",
        "--no-adapt",
        panel=LESSON,
        value=False,
    ),
    "feature_weight": setting("distill.feature", "Weight of the neck's outputs.", panel=LESSON),
    "feature_loss": setting("distill.features", "How they are compared.", panel=LESSON, metavar="pearson|cwd|mse|none"),
}
BOTH = {
    "epochs": setting("epochs", "Epochs to train.", "--epochs", "-e", panel=RECIPE),
    "batch_size": setting("batch_size", "Pictures a batch, over all processes.", "--batch-size", "-b", panel=RECIPE),
    "size": setting("size", "Side of the square input in pixels, a multiple of 32.", panel=RECIPE),
    "seed": setting("seed", "Of weights, order and augmentation.", panel=RECIPE),
    "lr": setting("optimiser.lr", "Peak learning rate of AdamW.", panel=OPTIM),
    "warmup_epochs": setting("optimiser.warmup_epochs", "Epochs to the peak; a fifth of the run at most.", panel=OPTIM),
    "gradient_clip_norm": setting("optimiser.clip", "Largest norm of all gradients together; 0 for none.", panel=OPTIM),
    "accumulate": setting("optimiser.accumulate", "Batches whose gradients make one step.", panel=OPTIM),
    "ema": setting("optimiser.ema", "Decay of the averaged weights that are kept; 0 for none.", panel=OPTIM),
    "no_early_stopping": setting(
        "stopping.enabled", "Train all epochs.", "--no-early-stopping", panel=STOP, value=False
    ),
    "early_stopping_patience": setting(
        "stopping.patience", "Epochs without improvement; half of it inside the optimal window.", panel=STOP
    ),
    "optimal_window_start": setting(
        "stopping.window_start stopping.min_epoch", "First epoch at which a run may stop.", panel=STOP
    ),
    "optimal_window_end": setting("stopping.window_end", "Last epoch of the optimal window.", panel=STOP),
    "device": setting("machine.device", "cpu, cuda, cuda:1, mps, or auto.", panel=RUN),
    "threads": setting("machine.threads", "CPU threads of the network; 0 lets torch choose.", panel=RUN),
    "workers": setting("machine.workers", "Processes that read and vary pictures; 0 for none.", panel=RUN),
}
TrainStart = Annotated[dict[str, Any], Changes(Recipe, TRAIN_START)]
DistillStart = Annotated[dict[str, Any], Changes(Recipe, DISTILL_START)]
Lesson = Annotated[dict[str, Any], Changes(Recipe, LESSONS)]
Settings = Annotated[dict[str, Any], Changes(Recipe, BOTH)]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What is trained on, and by which recipe."""

    data: Annotated[
        list[str] | None,
        option(
            "Labelled pictures in any format that `data check` reads; synthetic, or synthetic:N, for drawn faces, which is the "
            "default. May be repeated.",
            "--data",
            "-d",
            panel=DATA,
            metavar="DIR|synthetic",
        ),
    ] = None
    val: Annotated[
        list[str] | None,
        option(
            "Pictures to validate on; may be repeated. Default: the val part of each --data, else every tenth picture.",
            panel=DATA,
            metavar="DIR",
        ),
    ] = None
    recipe: Annotated[
        Path | None,
        option(
            "Default: recipes/synthetic.yaml for drawn faces, else recipes/MODEL-widerface.yaml.",
            "--recipe",
            "-r",
            panel=RECIPE,
            metavar="YAML",
        ),
    ] = None
    overrides: Annotated[
        list[str] | None,
        option(
            "Change any key of the recipe, e.g. augment.mosaic=0.5; may be repeated.",
            "--set",
            panel=RECIPE,
            metavar="KEY=VALUE",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run is kept, in how many processes it runs, and what it prints."""

    monitor: Annotated[
        bool,
        option(
            "Show each epoch's gradient norms (they are always recorded).",
            "--monitor-gradients",
            panel=OPTIM,
        ),
    ] = False
    nproc: Annotated[
        int, option("Data parallel processes on this machine, one a device, by torchrun.", panel=RUN, least=1)
    ] = 1
    out: Annotated[
        Path | None,
        option("Run folder. Default: the next free one below runs/.", "--out", "-o", panel=RUN, metavar="DIR"),
    ] = None
    resume: Annotated[
        Path | None,
        option("Go on with the run in this folder; all else comes from it.", panel=RUN, metavar="DIR"),
    ] = None
    force: Annotated[bool, option("Empty the run folder first.", "--force", panel=RUN)] = False
    stop_after: Annotated[
        int, option("End after this epoch and leave a run to resume; 0 for no such end.", panel=RUN, least=0)
    ] = 0
    as_json: Json = False
    quiet: Quiet = False


@dataclass(frozen=True, kw_only=True)
class TeacherOptions:
    """Who teaches."""

    teacher: Annotated[str, option("The network that teaches.", panel=LESSON, metavar="NAME|YAML")] = "v1"
    teacher_weights: Annotated[
        str | None,
        option(
            "Its weights, or train it first, on the same data. Default: those that ship; on drawn faces, and for a variant that "
            "none ship for, train.",
            panel=LESSON,
            metavar="FILE|v1|train",
        ),
    ] = None
    teacher_epochs: Annotated[
        int, option("Epochs of a teacher that is trained first; 0 for as many as the student.", panel=LESSON)
    ] = 0
    control: Annotated[
        bool, option("Train the student without a teacher too, and compare.", "--control", panel=LESSON)
    ] = False


Training = Annotated[DataOptions, Fields()]
Run = Annotated[RunOptions, Fields()]
Teacher = Annotated[TeacherOptions, Fields()]

# ---- eval --------------------------------------------------------------------------------------------------------------

WHAT, HOW, OUTPUT, COMPARE = "What is evaluated", "Protocol", "What is written", "Against other runs"
EVAL = {
    "data": option(
        "Pictures; with labels in any format that `data check` reads, or WIDER FACE's with --ground-truth. Default: drawn faces.",
        "--data",
        "-d",
        panel=WHAT,
        metavar="DIR|synthetic",
    ),
    "weights": WEIGHTS,
    "model": MODEL,
    "name": option("What to call it in the report.", panel=WHAT, metavar="TEXT"),
    "pictures": option("Only so many pictures, evenly spread; 0 for all.", panel=WHAT, metavar="N"),
    "protocol": option(
        "How pictures are resized: original (not at all), vga (long side 640 px), size=N (long side N px), multi-scale (five "
        "sizes).",
        panel=HOW,
        metavar="RULE",
    ),
    "flip": option("See each picture mirrored too.", "--flip", panel=HOW),
    **limits(HOW),
    "landmarks_by": LANDMARKS_BY,
    "batch": BATCH,
    "device": DEVICE,
    "threads": THREADS,
}
Evaluation = Annotated[EvalConfig, Fields(EVAL)]
Reports = Annotated[list[Path] | None, typer.Argument(metavar="REPORT", help="Reports or run folders, for --compare.")]
GroundTruth = Annotated[
    Path | None,
    option(
        "Folder with the official wider_face_val.mat and its settings. Default: the data's own, if it has one.",
        panel=WHAT,
        metavar="DIR",
    ),
]
Predictions = Annotated[
    Path | None,
    option(
        "Detections made by any program: EVENT/PICTURE.txt with a name, a count, and x y w h score a face.",
        panel=WHAT,
        metavar="DIR|ZIP",
    ),
]


@dataclass(frozen=True, kw_only=True)
class EvalOutput:
    """What an evaluation writes, and where."""

    out: Annotated[
        Path | None,
        option("Default: the next free runs/MODEL-eval-N.", "--out", "-o", panel=OUTPUT, metavar="DIR"),
    ] = None
    force: Annotated[bool, option("Empty the --out of an earlier evaluation first.", "--force", panel=OUTPUT)] = False
    resume: Annotated[
        Path | None, option("Go on with an evaluation that was stopped.", panel=OUTPUT, metavar="DIR")
    ] = None
    html: Annotated[bool, option("Also gather all in one page, report.html.", "--html", panel=OUTPUT)] = False
    save_predictions: Annotated[
        Path | None, option("Also write the faces in WIDER FACE's layout.", panel=OUTPUT, metavar="DIR")
    ] = None
    peers: Annotated[
        Path | None,
        option("Published results to draw beside. Default: those that ship.", panel=OUTPUT, metavar="YAML"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class EvalComparison:
    """What an evaluation, or reports of earlier ones, are held against."""

    compare: Annotated[bool, option("Put REPORTs side by side; nothing is evaluated.", "--compare", panel=COMPARE)] = (
        False
    )
    by_name: Annotated[
        bool,
        option(
            "With --compare: take runs of one --name together (seeds): mean, spread, gain over the first name.",
            "--by-name",
            panel=COMPARE,
        ),
    ] = False
    chart: Annotated[
        Path | None, option("Also draw what --by-name shows, as .png or .svg.", panel=COMPARE, metavar="FILE")
    ] = None
    baseline: Annotated[
        Path | None,
        option(
            "An earlier report.json; exit code 1 where a figure falls below it by more than --max-drop.",
            panel=COMPARE,
            metavar="REPORT",
        ),
    ] = None
    max_drop: Annotated[float, option("In percentage points of AP.", panel=COMPARE, metavar="POINTS")] = MAX_DROP
    any_protocol: Annotated[
        bool, option("Rank and hold against even where protocols differ.", "--any-protocol", panel=COMPARE)
    ] = False


Output = Annotated[EvalOutput, Fields()]
Comparison = Annotated[EvalComparison, Fields()]

# ---- export ------------------------------------------------------------------------------------------------------------

FACES, INT8 = "Faces in the graph", "INT8"
ExportOut = Annotated[Path | None, option("Default: featherface_MODEL and the suffix.", "--out", "-o", metavar="FILE")]
Form = Annotated[
    str,
    option(
        "openvino needs the extra of that name; pth writes weights under upstream's names.",
        "--format",
        metavar="onnx|openvino|safetensors|pth",
    ),
]
FixedSize = Annotated[str | None, option("Input size of --static, in pixels. Default: 640.", metavar="SIDE|HxW")]
TestSizes = Annotated[
    str | None,
    option(
        f"Sizes to prove, e.g. 320,480x640. Alone: {', '.join(DEFAULT_TEST_SIZES)}. Not given: 320, 640, 333x517.",
        metavar="SIZES",
    ),
]
Graph = Annotated[
    ExportConfig,
    Fields(
        {
            "dynamic": option("Free batch, height and width, or one --size.", "--dynamic/--static"),
            "opset": option("ONNX operator set, 19 to 23."),
            "simplify": option("Run onnxsim on the graph.", "--simplify"),
            "decompose": option(
                "Write deformable layers as GridSample, for runtimes without DeformConv; slower.", "--decompose"
            ),
        }
    ),
]
Plain = Annotated[bool, option("Write the network as it is, without the rewrites that make it faster.", "--plain")]
WithPostprocess = Annotated[
    bool,
    option(
        "The file finds the faces itself: boxes, scores and landmarks in pixels.", "--with-postprocess", panel=FACES
    ),
]
GraphLimits = Annotated[
    dict[str, Any],
    Changes(
        PostprocessConfig,
        {
            "score": setting("score", "Lowest score, as in detect.", panel=FACES),
            "nms": setting("nms", "IoU that suppresses, as in detect.", panel=FACES),
            "top_k": setting("top_k", "Most faces, as in detect.", panel=FACES),
        },
        defaults=True,
    ),
]
Package = Annotated[Path | None, option("Also write a deployment folder.", metavar="DIR")]
Int8 = Annotated[bool, option("Quantise the ONNX file: int8 where it does little harm.", "--int8", panel=INT8)]
Calibration = Annotated[
    Path | None, option("Pictures like those to come, or a data set's folder; needed.", panel=INT8, metavar="DIR")
]
Int8Settings = Annotated[
    dict[str, Any],
    Changes(
        Int8Config,
        {
            "calibration_method": setting(
                "method",
                "How they give the range of a tensor: percentile, entropy or minmax.",
                panel=INT8,
                metavar="RULE",
            ),
            "calibration_pictures": setting(
                "pictures", "Of them, evenly spread, at most so many.", panel=INT8, metavar="N"
            ),
            "val": setting(
                "val", "Labelled pictures to measure AP on, as eval --data has them.", panel=INT8, metavar="DIR"
            ),
            "max_drop": setting(
                "max_drop",
                "Write nothing (exit code 5) where an AP on --val falls by more percentage points; 100 writes always.",
                panel=INT8,
                metavar="POINTS",
            ),
        },
        defaults=True,
    ),
]

# ---- bench -------------------------------------------------------------------------------------------------------------

TIMED, MEASURED, SHOWN = "What is timed", "How", "Output"
Benchmark = Annotated[
    BenchConfig,
    Fields(
        {
            "device": option("cpu, cuda, cuda:1; mps for PyTorch alone.", panel=MEASURED),
            "runs": option("Rounds; each runs every network once.", panel=MEASURED),
            "profile": option("List the slowest nodes of each ONNX file.", "--profile", panel=SHOWN),
        }
    ),
]
BenchFiles = Annotated[
    list[Path] | None,
    typer.Argument(metavar="FILE", help="More ONNX files, so that --onnx peers/*.onnx names them all."),
]
BenchModels = Annotated[
    list[str] | None,
    option(
        "A variant in PyTorch, with the weights that ship or random ones; may be repeated.",
        "--model",
        "-m",
        panel=TIMED,
        metavar="NAME|YAML",
    ),
]
BenchOnnx = Annotated[
    list[Path] | None,
    option(
        "An ONNX file in onnxruntime, ours or any detector's, or our .xml in OpenVINO; may be repeated.",
        panel=TIMED,
        metavar="FILE",
    ),
]
BenchWeights = Annotated[
    list[Path] | None,
    option("The network of a weights file in PyTorch; may be repeated.", panel=TIMED, metavar="FILE"),
]
BenchExport = Annotated[
    bool | None,
    typer.Option(
        "--export/--no-export",
        help="Time each --model and --weights in onnxruntime too, exported to a temporary file. Default: where nothing is named.",
        rich_help_panel=TIMED,
        show_default=False,
    ),
]
BenchSize = Annotated[
    str | None,
    option("Input size in pixels. Default: a file's own, else 640.", panel=MEASURED, metavar="SIDE|HxW"),
]
BenchBatch = Annotated[
    str,
    option("Pictures at once; several numbers add a throughput table.", panel=MEASURED, metavar="N[,N...]"),
]
BenchThreads = Annotated[
    str, option("CPU threads; several numbers add a throughput table.", panel=MEASURED, metavar="N[,N...]")
]
BenchPicture = Annotated[
    Path | None,
    option("What the networks see. Default: the portrait that ships.", panel=MEASURED, metavar="FILE"),
]
BenchChart = Annotated[Path | None, option("Also draw the times, as .png or .svg.", panel=SHOWN, metavar="FILE")]

# ---- data --------------------------------------------------------------------------------------------------------------

LABELS = "A folder with labels, or with train/ and val/; or a label file."
Labels = Annotated[Path, typer.Argument(metavar="DIR", help=LABELS)]
OpenPictures = Annotated[bool, option("Open every picture, or check the labels alone.", "--pictures/--no-pictures")]
Source = Annotated[Path, typer.Argument(metavar="SOURCE", help=LABELS)]
LabelForm = Annotated[
    str, typer.Option("--to", metavar="FORM", help="retinaface, coco, yolo, voc or wider.", show_default=False)
]
NewFolder = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A new folder.", show_default=False)]
Copy = Annotated[bool, option("Copy the pictures instead of linking to them.", "--copy")]
OverFiles = Annotated[bool, option("Write into a folder that is not empty, over files of the same names.", "--force")]
Counted = Annotated[
    list[Path],
    typer.Argument(metavar="DIR...", help="As for check; or synthetic, or synthetic:N, for the drawn faces of train."),
]
Histograms = Annotated[Path | None, option("Also draw the histograms.", "--out", "-o", metavar="FILE.png")]
SeenRecipe = Annotated[
    Path | None, option("Count what this recipe shows the network instead.", "--recipe", "-r", metavar="YAML")
]
SeenOverrides = Annotated[
    list[str] | None,
    option("With --recipe: change any of its keys, e.g. loss.assign=iou.", "--set", metavar="KEY=VALUE"),
]
SeenCount = Annotated[
    int, option("Of synthetic, so many pictures from the first; with --recipe, pictures to plan.", least=1)
]
Previewed = Annotated[
    list[str], typer.Argument(metavar="DIR|synthetic...", help="As for train --data; several are joined.")
]
PreviewRecipe = Annotated[
    Path | None,
    option("Whose augmentation to show. Default: as for train --data.", "--recipe", "-r", metavar="YAML"),
]
PreviewOverrides = Annotated[
    list[str] | None, option("Change any key of the recipe, e.g. augment.mosaic=1.", "--set", metavar="KEY=VALUE")
]
PreviewCount = Annotated[int, option("Pictures to show.", least=1, most=600)]
Sheet = Annotated[Path, option("The contact sheet, .jpg or .png.", "--out", "-o", metavar="FILE")]

# ---- doctor ------------------------------------------------------------------------------------------------------------

CheckedWeights = Annotated[Path | None, option("Check this weights file too.", metavar="FILE")]
CheckedData = Annotated[Path | None, option("Check this data set too: its labels and pictures.", metavar="DIR")]
CheckedRun = Annotated[Path | None, option("Look into this training run too: what went wrong in it.", metavar="DIR")]
Only = Annotated[list[str] | None, option("Only this group or check; may be repeated.", metavar="NAME")]
Skip = Annotated[list[str] | None, option("Not this group or check; may be repeated.", metavar="NAME")]
Strict = Annotated[bool, option("Warnings fail too.", "--strict")]
Findings = Annotated[Path | None, option("Also write the findings as JSON.", "--out", "-o", metavar="FILE")]
