"""The process group of torch.distributed that the compressor `exact` averages over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch.distributed as distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

PATIENCE = timedelta(seconds=60)


@contextmanager
def process_group(network: Any) -> Iterator[None]:
    """A gloo group of the workers of `network`, for the `with` block.

    Rank 0 takes any free port for the rendezvous, and tells it through the switch.
    """
    rank, size = network.rank, network.num_workers
    store = None
    if rank == 0:
        store = TCPStore(network.address, 0, size, True, PATIENCE, False)
    own = "" if store is None else f"{network.address} {store.port}"
    host, port = network.gather(own.encode())[0].decode().split()
    if store is None:
        store = TCPStore(host, int(port), size, False, PATIENCE)
    distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=size, timeout=PATIENCE
    )
    try:
        yield
    finally:
        distributed.destroy_process_group()
