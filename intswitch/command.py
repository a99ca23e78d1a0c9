"""`intswitch train` and `intswitch compare`: options in, report out."""

from __future__ import annotations

import signal
import sys
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from intswitch.compare import plan, run_all, run_at_once
from intswitch.console import new_console
from intswitch.experiment import Training
from intswitch.methods import Method
from intswitch.topology import load

INTERRUPTED = 128 + signal.SIGINT


def training(**given: Any) -> Training:
    """A command's options, as far as they are about the training."""
    if given["steps"] is not None and given["epochs"] is not None:
        raise ValueError("--steps and --epochs: give one of them, not both")
    names = {each.name for each in fields(Training)} - {"compressor", "options"}
    return Training(**{name: given[name] for name in names})


def run(
    methods: list[Method],
    base: Training,
    seeds: int,
    topology: str,
    loss: float | None,
    fabric: str,
    folder: Path | None,
) -> None:
    """Find mistakes while nothing has been started, then train and report."""
    network = load(topology)
    if loss is not None:
        network = network.with_loss(loss)
    if find_spec("torch") is None:
        raise ModuleNotFoundError(
            "training needs torch, which is not installed: "
            "pip install 'intswitch[train]'"
        )
    methods = [method.checked() for method in methods]
    trainings = plan(base, methods, seeds)
    if len(network.jobs) > 1 and len(trainings) > 1:
        raise ValueError(
            f"jobs: a comparison has one, not {len(network.jobs)}"
            f" ({', '.join(job.name for job in network.jobs)}); train has several"
        )

    signal.signal(signal.SIGTERM, _terminated)
    network = network.model_copy(update={"seed": network.seed + base.seed})
    try:
        if len(network.jobs) > 1:
            run_at_once(trainings[0], network, fabric, folder, new_console())
        else:
            run_all(base, methods, seeds, network, fabric, folder, new_console())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def _terminated(number: int, frame: Any) -> None:
    """SIGTERM ends the `with` blocks, and so the processes, before it ends us."""
    raise SystemExit(128 + number)
