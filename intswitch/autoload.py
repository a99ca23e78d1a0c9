"""What torch calls when it is imported, by the entry point `torch.backends`: so that
`init_process_group("intswitch")` works without an import. Light, for everybody who
imports torch pays for it."""

from __future__ import annotations

from typing import Any

BACKEND = "intswitch"


def register() -> None:
    """Make the backend known to torch. Safe to call twice."""
    import torch.distributed as distributed

    if not distributed.is_available():
        return
    if BACKEND.upper() not in distributed.Backend._plugins:
        distributed.Backend.register_backend(
            BACKEND, create, extended_api=True, devices=["cpu", "cuda"]
        )


def create(options: Any, chosen: Any) -> Any:
    """A process group. options: torch's; chosen: `pg_options`, `Options` or None."""
    from intswitch.backend import SwitchGroup

    return SwitchGroup(
        options.store, options.group_rank, options.group_size, options.timeout, chosen
    )
