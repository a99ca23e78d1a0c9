"""Processes of torch, started as torchrun does or by it."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text()
ENDS_WITHIN = 280.0  # seconds, with a cold cache of kernels


def installed(folder: Path) -> dict[str, str]:
    """An environment in which intswitch's entry points are those of pyproject.toml,
    whatever is installed."""
    (section,) = re.findall(
        r'^\[project.entry-points."(torch.backends)"\]\n((?:.+\n)+)', PYPROJECT, re.M
    )
    metadata = folder / "intswitch-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: intswitch\nVersion: 0\n")
    entry = section[1].replace('"', "")
    (metadata / "entry_points.txt").write_text(f"[{section[0]}]\n{entry}")
    path = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    mine = {key: value for key, value in os.environ.items() if "INTSWITCH" not in key}
    return {**mine, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def in_a_session(command: Sequence[str], environment: dict[str, str]) -> str:
    """Output of a command. Ends what it has started, and itself after `ENDS_WITHIN`.
    Raises AssertionError, with the output, unless it ends well."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=ENDS_WITHIN)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    output = process.communicate()[0]  # what had come before, too
    assert process.returncode == 0, output
    return output


def forked(count: int, work: Callable[[int], None]) -> list[int]:
    """Exit statuses of so many processes, each of which does `work(rank)`. They are
    forked: what this one has imported and compiled they have, too."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(rank,)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode or 0 for process in processes]


def compile_kernels(switch: str) -> None:
    """Those that most collectives need, once for all processes to be forked; but not at
    once: gRPC, which is used here, may wait for ever where it was not done yet."""
    import numpy as np

    import intswitch
    import intswitch.backend
    from intswitch.job import Options
    from intswitch.methods import Method

    with intswitch.join(switch, job="compile", rank=0, num_workers=1) as network:
        compressor = Method.parse(Options().compressor).create(seed=0)
        for _ in range(2):  # the first step may differ from the others
            compressor.average(np.ones(8, np.float32), network)
        for reduction in ("sum", "max", "or"):
            network.reduce(np.ones(2, np.int32), reduction)
        network.gather(b"")


def torchrun(
    arguments: Sequence[str], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """What `torchrun` with these arguments came to."""
    command = [sys.executable, "-m", "torch.distributed.run", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN,
    )
