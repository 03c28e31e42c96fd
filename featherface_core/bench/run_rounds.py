"""Run as a script of its own by ``starts``: candidates in turns; a line a round, then the times as a line of JSON.

Arguments: the caller's sys.path and what to do, both as JSON.
"""

import json
import sys
from typing import Any


def main(asked: dict[str, Any]) -> None:
    """Open all candidates, run the rounds, and print their seconds."""
    from featherface_core.bench.candidate import open_candidate
    from featherface_core.bench.config import Setting, Source
    from featherface_core.bench.rounds import interleave
    from featherface_core.pictures import read_picture

    picture = read_picture(asked["picture"])
    candidates = [open_candidate(Source(**source), Setting(**asked["setting"])) for source in asked["sources"]]
    for candidate in candidates:
        candidate.load(picture)
    runs = [candidate.run for candidate in candidates]
    rounds = interleave(runs, asked["runs"], on_round=lambda done: print(done, flush=True))
    print(json.dumps({"seconds": rounds.seconds.tolist(), "cpu_share": rounds.cpu_share}))


if __name__ == "__main__":
    sys.path[:] = json.loads(sys.argv[1])
    main(json.loads(sys.argv[2]))
