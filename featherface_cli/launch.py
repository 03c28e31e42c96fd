"""One command in several processes: it runs itself again below torch's launcher."""

import os
import signal
import subprocess
import sys

import typer

from featherface_core.errors import ConfigError


def launch(nproc: int) -> None:
    """Run this command again in ``nproc`` processes of torch's launcher, without its --nproc."""
    if "WORLD_SIZE" in os.environ:
        raise ConfigError("--nproc does not go with torchrun, which has started its processes already", "leave it out")
    words, rest = sys.argv[1:], []
    while words:
        word = words.pop(0)
        if word == "--nproc":
            words.pop(0)
        elif not word.startswith("--nproc="):
            rest.append(word)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={nproc}"]
    environment = dict(os.environ)
    # one process a core, unless the caller knows better; torchrun would set it with a warning
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // nproc)))
    # a session of its own: a Ctrl-C comes to this process alone, which passes it on once, and waits for all to save
    child = subprocess.Popen([*launcher, "-m", "featherface_cli.app", *rest], env=environment, start_new_session=True)
    stopped = False

    def pass_on(number: int, frame: object) -> None:
        nonlocal stopped
        stopped = True
        child.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if code or stopped:
        raise typer.Exit(130 if stopped else 1)
