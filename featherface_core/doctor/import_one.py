"""Run as a script of its own by ``imports``: import one module and print what came of it, one JSON object a line.

Arguments: the module, and the caller's sys.path as JSON. Uses the standard library alone, so that nothing but the
module under trial can fail.
"""

import importlib
import json
import sys
import time
from typing import Any


def main(name: str, path: list[str]) -> None:
    """Print the import's outcome, then what the module knows: a second line, for a driver may hang or crash there."""
    sys.path[:] = path
    start = time.perf_counter()
    try:
        module = importlib.import_module(name)
    except BaseException as problem:  # a module may raise SystemExit or a Rust panic while it loads
        missing = isinstance(problem, ModuleNotFoundError) and problem.name == name
        _say(problem=_describe(problem), missing=missing)
        return
    if getattr(module, "__file__", None) is None:
        _say(problem=f"only a folder named {name} without code is there, as a broken uninstall leaves it")
        return
    _say(seconds=time.perf_counter() - start)
    try:
        _say(facts=_facts(name, module))
    except Exception as problem:
        _say(facts_problem=_describe(problem))


def _facts(name: str, module: Any) -> dict[str, Any]:
    if name == "torch":
        cuda, rocm = module.version.cuda, module.version.hip
        usable = module.cuda.is_available()
        return {
            "threads": module.get_num_threads(),
            "gpu_build": f"CUDA {cuda}" if cuda else f"ROCm {rocm}" if rocm else None,
            "devices": [module.cuda.get_device_name(i) for i in range(module.cuda.device_count())] if usable else [],
            "mps": module.backends.mps.is_available(),
        }
    if name == "onnxruntime":
        return {"providers": module.get_available_providers()}
    return {}


def _describe(problem: BaseException) -> str:
    text = " ".join(str(problem).split())
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


def _say(**values: Any) -> None:
    print("\n" + json.dumps(values), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
