"""The part of the torch backend that goes past the switch: gloo's.

Messages go at once. Collectives wait for their turn among those of the switch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch.distributed import (
    AllToAllOptions,
    PrefixStore,
    ProcessGroup,
    ProcessGroupGloo,
    Work,
)

from host.agreement import agree_on_parts
from host.staging import done_on, stream_after, type_name
from intswitch.alltoall import Parts, parts_of_lists, parts_of_rows
from intswitch.job import Job, attempt


class BesideTheSwitch(ProcessGroup):
    """What gloo does in a group whose other collectives are the switch's."""

    _size: int
    job: Job
    gloo: ProcessGroupGloo
    submit: Callable[..., Work]

    def send(self, tensors: list[Tensor], rank: int, tag: int) -> Work:
        return self.gloo.send(tensors, rank, tag)

    def recv(self, tensors: list[Tensor], rank: int, tag: int) -> Work:
        return self.gloo.recv(tensors, rank, tag)

    def recv_anysource(self, tensors: list[Tensor], tag: int) -> Work:
        return self.gloo.recv_anysource(tensors, tag)

    def alltoall(
        self, outputs: list[Tensor], inputs: list[Tensor], opts: Any = None
    ) -> Work:
        """As parts of one tensor: gloo takes no lists of tensors that differ."""
        out, given = list(outputs), opts or AllToAllOptions()
        for each in (out, inputs):
            self.check_list("all_to_all", each)
        parts = parts_of_lists(out, inputs)
        own = torch.cat([each.reshape(-1) for each in inputs])
        flat = own.new_empty(sum(parts.expected))

        def start() -> Work:
            return self.gloo.alltoall_base(flat, own, parts.expected, parts.sent, given)

        def finish() -> None:
            for each, part in zip(out, flat.split(parts.expected), strict=True):
                each.copy_(part.view_as(each))

        what = f"all_to_all {type_name(own)}"
        return self.by_gloo(what, None, [], start, opts, out, parts, finish)

    def all_to_all_single(
        self,
        output: Tensor,
        input: Tensor,
        received: Sequence[int] = (),
        sent: Sequence[int] = (),
        opts: Any = None,
    ) -> Work:
        sizes, given = (list(received), list(sent)), opts or AllToAllOptions()
        parts = parts_of_rows(output, input, *sizes, self._size)

        def start() -> Work:
            return self.gloo.alltoall_base(output, input, *sizes, given)

        what = f"all_to_all {type_name(input)}"
        return self.by_gloo(what, None, [], start, opts, [output], parts)

    alltoall_base = all_to_all_single

    def by_gloo(
        self,
        what: str,
        op: Any,
        tensors: Sequence[Tensor],
        start: Callable[[], Work],
        opts: Any,
        result: list[Tensor] | None = None,
        parts: Parts | None = None,
        finish: Callable[[], None] | None = None,
    ) -> Work:
        """Let gloo do it. With `check` the ranks agree before, and gloo's collectives
        are in one order with the switch's: one that starts has all ranks with it.
        parts: what they exchange, if that is not of one shape on all of them. finish:
        what is left to do when gloo has done its part."""
        check = self.job.setup.check
        # without check gloo's have an order of their own, that of the calls
        begun = None if check else start()
        if begun is not None and finish is None:
            return begun
        stream = stream_after(result or tensors)

        def whole() -> None:
            (start() if begun is None else begun).wait()
            if finish is not None:
                finish()

        def work() -> None:
            if check and parts is not None:
                agree_on_parts(self.job.network, *parts)
            done_on(stream, whole)

        return self.submit(what, op, tensors, work, opts, result)

    def check_list(self, what: str, tensors: list[Tensor]) -> None:
        if len(tensors) != self._size:
            raise ValueError(
                f"{what}: {len(tensors)} tensors: expected {self._size}, one a rank"
            )


def gloo_at(
    address: str, store: Any, rank: int, size: int, timeout: timedelta
) -> ProcessGroupGloo:
    """Gloo between the same ranks, on the interface that leads to the switch."""
    options = ProcessGroupGloo._Options()
    options._devices = [ProcessGroupGloo.create_device(hostname=address)]
    options._timeout = timeout
    return ProcessGroupGloo(
        PrefixStore(f"{attempt()}/gloo", store), rank, size, options
    )
