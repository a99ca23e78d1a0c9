"""Processes of torch, started as torchrun does or by it."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
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


def ranks(
    count: int, port: int, script: str, *arguments: str, environment: dict[str, str]
) -> list[tuple[int, str]]:
    """Exit status and output of the processes of a script, which nobody ends when one
    of them does."""
    command = [sys.executable, str(ROOT / script), *arguments]
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    sizes = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    processes = [
        subprocess.Popen(
            command,
            env=environment | told | sizes | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        outputs = [process.communicate(timeout=ENDS_WITHIN)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        (process.returncode, output)
        for process, output in zip(processes, outputs, strict=True)
    ]


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
