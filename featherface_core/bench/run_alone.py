"""Run as a script of its own by ``alone``: one candidate and a few batches; prints time and memory as a line of JSON.

Arguments: the caller's sys.path and what to do, both as JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

MORE = 2  # batches: a runtime may take more memory after its first


def main(asked: dict[str, Any]) -> None:
    """Open the candidate, run it, and print seconds and bytes."""
    from featherface_core.bench.candidate import open_candidate
    from featherface_core.bench.config import Setting, Source
    from featherface_core.pictures import read_picture

    candidate = open_candidate(Source(**asked["source"]), Setting(**asked["setting"]))
    candidate.load(read_picture(asked["picture"]))
    candidate.run()
    started = time.process_time()  # since the process began: Python's own start and every import are in it
    for _ in range(MORE):
        candidate.run()
    print(json.dumps({"cpu_seconds": started, "peak_bytes": peak_bytes()}))


def peak_bytes() -> int | None:
    """The most memory that this process has had; None where the system has no such figure.

    Linux: from /proc, for getrusage starts a child at the peak of the process that it was forked from.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    sys.path[:] = json.loads(sys.argv[1])
    main(json.loads(sys.argv[2]))
