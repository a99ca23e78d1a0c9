"""`register_hook(model)`: DDP's gradients through the switch, in one line."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from torch.nn.parallel import DistributedDataParallel

from host.ddp import HookState, hook
from intswitch.job import Job, Options
from intswitch.methods import Method


class SwitchHook(HookState):
    """The state of a registered hook, and its place at the switch. To be closed by
    every rank, before the process group is destroyed."""

    def __init__(self, model: DistributedDataParallel, job: Job) -> None:
        self.job = job
        super().__init__(model, job.setup.create(), job.network, job.network.abort)

    def close(self) -> None:
        super().close()
        self.job.close()


def register_hook(
    model: DistributedDataParallel,
    compressor: str = "intsgd:element_type=int8",
    *,
    switch: str | None = None,
    timeout: float = 300.0,
    **options: Any,
) -> SwitchHook:
    """Average the model's gradients by a compressor, through a switch, from now on.

    compressor: as `name:option=value,option=value`. switch: HOST:PORT of one that
    runs; None: what INTSWITCH_SWITCH says, or one that rank 0 starts. timeout: seconds
    that joining, and each average, may take. options: others of `Options`, by default
    as the environment says. All ranks call it; what rank 0 chooses counts.

    Raises TypeError for another model; ValueError for a compressor or option that does
    not exist; RuntimeError, with rank 0's reason, if there is no switch; what
    `intswitch.join` raises.
    """
    if not isinstance(model, DistributedDataParallel):
        raise TypeError(
            f"the model is of type {type(model).__name__}: the hook goes to what "
            "DistributedDataParallel(model) returns"
        )
    Method.parse(compressor).checked()
    told = Options.from_environment()
    switch = switch or told.switch
    group = model.process_group
    job = Job(
        group.get_group_store(),
        group.rank(),
        group.size(),
        timedelta(seconds=timeout),
        replace(told, compressor=compressor, switch=switch, **options),
    )
    try:
        state = SwitchHook(model, job)
    except BaseException:
        job.close(leave=False)
        raise
    model.register_comm_hook(state, hook)
    return state
