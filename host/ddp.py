"""A communication hook for DistributedDataParallel: gradients averaged by a compressor.

    state = HookState(model, compressor, network)
    model.register_comm_hook(state, hook)

DDP hands over its gradient in buckets while backward runs, in the same order on all
ranks; they are averaged one after the other, and backward goes on. Buckets are pieces
of one step to the compressor, and what it remembers goes by the parameters' names: DDP
makes other buckets after the first step.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed import GradBucket  # type: ignore[attr-defined]
from torch.futures import Future

from host.agreement import agree
from host.compressors.base import Blocks, Compressor, Network, Piece
from host.ordered import Ordered
from host.staging import FLOATS, staged, type_name


class HookState:
    """The first argument of `register_comm_hook`, beside `hook`."""

    def __init__(
        self,
        model: nn.Module,
        compressor: Compressor,
        network: Network,
        abort: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """model: the DistributedDataParallel, or what is in it. network: of the ranks
        of its process group, for this hook alone. abort: see `Ordered`.

        Raises Disagreement, on every worker, unless all have the same model and kind of
        compressor.
        """
        inner = (
            model.module
            if isinstance(model, nn.parallel.DistributedDataParallel)
            else model
        )
        self.names = {id(part): name for name, part in inner.named_parameters()}
        self.compressor = compressor
        self.network = network
        parts = [
            f"{name} {type_name(part)} {list(part.shape)}"
            for name, part in inner.named_parameters()
        ]
        agree(network, f"{type(compressor).__name__} of {', '.join(parts)}")
        compressor.check_tables(network)
        self._ordered = Ordered("DDP hook", abort)

    def average(self, bucket: GradBucket) -> Future[Tensor]:
        """The mean of this bucket over the workers, in its own memory."""
        blocks = self.blocks(bucket)
        piece = Piece(bucket.index(), bucket.is_last())
        buffer: Tensor = bucket.buffer()
        if buffer.dtype not in FLOATS:
            names = ", ".join(str(each[0]) for each in blocks[:3])
            more = f" and {len(blocks) - 3} more" if len(blocks) > 3 else ""
            raise TypeError(
                f"the gradients of {names}{more} are {buffer.dtype}: must be "
                f"{', '.join(map(str, FLOATS))} (model.float() makes them so)"
            )
        place = staged(buffer, torch.float32, self.compressor.devices)

        def work() -> Tensor:
            with place.working():
                values = place.get()
                self.compressor.average(values, self.network, blocks, values, piece)
                place.put()
            return buffer

        told: Future[Tensor] = self._ordered.submit(work)[1]
        return told

    def blocks(self, bucket: GradBucket) -> Blocks:
        """Name and size of the parameters whose gradients it has, in its order."""
        return [(self.names[id(part)], part.numel()) for part in bucket.parameters()]

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on from here: of this rank, to be saved
        by every rank beside the model. Tensors and plain Python, as torch.load with
        weights_only takes them."""
        state = _mapped(self.compressor.state_dict(), np.ndarray, torch.from_numpy)
        return {"compressor": type(self.compressor).__name__, "state": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError for the state of another compressor."""
        kind = type(self.compressor).__name__
        if state["compressor"] != kind:
            raise ValueError(
                f"the state is of {state['compressor']}: must be of {kind}, "
                "as the hook's compressor"
            )
        self.compressor.load_state_dict(_mapped(state["state"], Tensor, Tensor.numpy))

    def close(self) -> None:
        """Average no more. What has not ended fails."""
        self._ordered.close()


def hook(state: HookState, bucket: GradBucket) -> Future[Tensor]:
    """The second argument of `register_comm_hook`."""
    return state.average(bucket)


def _mapped(tree: Any, kind: type, convert: Callable[[Any], Any]) -> Any:
    """A tree of dicts, its leaves of this kind converted."""
    if isinstance(tree, dict):
        return {name: _mapped(each, kind, convert) for name, each in tree.items()}
    return convert(tree) if isinstance(tree, kind) else tree
