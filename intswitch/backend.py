"""The backend `intswitch` of torch.distributed: collectives through the switch.

What travels as it is (broadcast, gather, scatter) takes any type. Sums of float32,
bfloat16 and float16 are estimated by the compressor. Gloo, beside it, does what the
switch cannot: send and recv, all_to_all, and reductions of other types. Collectives run
one after the other, in the order of the calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed import AllreduceOptions, Work

from host.agreement import agree
from host.ordered import Ordered
from host.staging import FLOATS, Kept, Staged, staged, type_name
from intswitch.autoload import BACKEND
from intswitch.averages import Averages
from intswitch.beside import BesideTheSwitch, gloo_at
from intswitch.job import Job, Options
from intswitch.reductions import AVG, SUM, reduction_of
from intswitch.work import SwitchWork, byte_rows, bytes_of, typed


class SwitchGroup(BesideTheSwitch):
    """The ranks of one process group, a job at the switch. See torch's ProcessGroup for
    what the methods take; each returns a Work."""

    def __init__(
        self,
        store: Any,
        rank: int,
        size: int,
        timeout: timedelta,
        options: Options | None = None,
    ) -> None:
        super().__init__(rank, size)
        self._store = store
        self._rank, self._size = rank, size
        self._name = self._desc = "undefined"
        self._timeout = timeout
        self.job = Job(store, rank, size, timeout, options)
        self.network = self.job.network
        self.gloo = gloo_at(self.network.address, store, rank, size, timeout)
        self.averages = Averages(self.network, self.job.setup.create)
        self._ordered = Ordered("intswitch group", self.network.abort)

    # who this is

    def getBackendName(self) -> str:
        return BACKEND

    def getRank(self) -> int:
        return self._rank

    def getSize(self) -> int:
        return self._size

    def get_group_store(self) -> Any:
        return self._store

    def setGroupName(self, name: str) -> None:
        self._name = name

    def getGroupName(self) -> str:
        return self._name

    def setGroupDesc(self, desc: str) -> None:
        self._desc = desc

    def getGroupDesc(self) -> str:
        return self._desc

    # reductions

    def allreduce(self, tensors: list[Tensor], opts: Any = None) -> Work:
        op = SUM if opts is None else opts.reduceOp.op
        if not all(self.does(op, tensor) for tensor in tensors):
            given = opts or AllreduceOptions()
            return self.by_gloo(
                "all_reduce",
                op,
                tensors,
                lambda: self.gloo.allreduce(tensors, given),
                opts,
            )
        places = [self.place_of(tensor, op) for tensor in tensors]

        def work() -> None:
            for each in places:
                with each.working():
                    each.put(self.reduced(each.get(), op))

        return self.submit("all_reduce", op, tensors, work, opts)

    def allreduce_coalesced(self, tensors: list[Tensor], opts: Any) -> Work:
        op = opts.reduceOp.op
        if not all(self.does(op, tensor) for tensor in tensors):
            own = list(tensors)  # the caller's may change
            return self.by_gloo(
                "all_reduce",
                op,
                own,
                lambda: self.gloo.allreduce_coalesced(own, opts),
                opts,
            )
        return self.allreduce(tensors, opts)

    def reduce(self, tensors: list[Tensor], opts: Any) -> Work:
        op, root = opts.reduceOp.op, opts.rootRank
        what = f"reduce to {root}"
        if not all(self.does(op, tensor) for tensor in tensors):
            return self.by_gloo(
                what, op, tensors, lambda: self.gloo.reduce(tensors, opts), opts
            )
        places = [self.place_of(tensor, op) for tensor in tensors]

        def work() -> None:
            for each in places:
                with each.working():
                    total = self.reduced(each.get(), op, root)
                    if total is not None and root == self._rank:
                        each.put(total)

        return self.submit(what, op, tensors, work, opts)

    def reduce_scatter(
        self, outputs: list[Tensor], inputs: list[list[Tensor]], opts: Any
    ) -> Work:
        parts = [torch.stack(tuple(each)) for each in inputs]
        return self.reduce_scatter_single_coalesced(outputs, parts, opts)

    def reduce_scatter_single(self, output: Tensor, input: Tensor, opts: Any) -> Work:
        return self.reduce_scatter_single_coalesced([output], [input], opts)

    def reduce_scatter_single_coalesced(
        self, outputs: list[Tensor], inputs: list[Tensor], opts: Any
    ) -> Work:
        op = opts.reduceOp.op
        for output, given in zip(outputs, inputs, strict=True):
            self.check_parts("reduce_scatter", given, output)
        if not all(self.does(op, tensor) for tensor in inputs):
            flat = [each.view(-1) for each in outputs]
            parts = [list(each.view(-1).chunk(self._size)) for each in inputs]

            def start() -> Work:
                return self.gloo.reduce_scatter(flat, parts, opts)

            return self.by_gloo("reduce_scatter", op, inputs, start, opts, outputs)
        pairs = [
            (self.place_of(output, op), self.place_of(given, op))
            for output, given in zip(outputs, inputs, strict=True)
        ]

        def work() -> None:
            for output, given in pairs:
                with given.working():
                    output.put(self.own_part(given.get(), op))

        return self.submit("reduce_scatter", op, inputs, work, opts, outputs)

    _reduce_scatter_base = reduce_scatter_single
    reduce_scatter_tensor_coalesced = reduce_scatter_single_coalesced

    # what travels as it is

    def broadcast(self, tensors: list[Tensor], opts: Any) -> Work:
        root = opts.rootRank
        places = [Staged(tensor) for tensor in tensors]

        def work() -> None:
            for each in places:
                data = bytes_of(each.get())
                self.network.broadcast(data, root, out=data)
                if root != self._rank:
                    each.put()

        return self.submit(f"broadcast from {root}", None, tensors, work, opts)

    def allgather(
        self, outputs: list[list[Tensor]], inputs: list[Tensor], opts: Any = None
    ) -> Work:
        for each in outputs:
            self.check_list("all_gather", each)
        return self.gathered("all_gather", outputs, inputs, opts)

    def allgather_coalesced(
        self, outputs: list[list[Tensor]], inputs: list[Tensor], opts: Any = None
    ) -> Work:
        return self.allgather(
            [list(rank) for rank in zip(*outputs, strict=True)], inputs, opts
        )

    def all_gather_single(
        self, output: Tensor, input: Tensor, opts: Any = None
    ) -> Work:
        return self.all_gather_single_coalesced([output], [input], opts)

    def all_gather_single_coalesced(
        self, outputs: list[Tensor], inputs: list[Tensor], opts: Any = None
    ) -> Work:
        for output, given in zip(outputs, inputs, strict=True):
            self.check_parts("all_gather", output, given)
        given = [Staged(tensor) for tensor in inputs]
        places = [Staged(tensor) for tensor in outputs]

        def work() -> None:
            for each, place in zip(given, places, strict=True):
                room = bytes_of(place.get())
                self.network.all_gather(bytes_of(each.get()), out=room)
                place.put()

        return self.submit("all_gather", None, inputs, work, opts, outputs)

    _allgather_base = all_gather_single
    allgather_into_tensor_coalesced = all_gather_single_coalesced

    def gather(
        self, outputs: list[list[Tensor]], inputs: list[Tensor], opts: Any
    ) -> Work:
        for each in outputs:
            self.check_list("gather", each)
        return self.gathered("gather", outputs, inputs, opts, opts.rootRank)

    def scatter(
        self, outputs: list[Tensor], inputs: list[list[Tensor]], opts: Any
    ) -> Work:
        root = opts.rootRank
        for each in inputs:
            self.check_list("scatter", each)
        out = [Staged(tensor) for tensor in outputs]
        parts = [Staged(torch.stack(tuple(each))) for each in inputs]

        def work() -> None:
            for number, each in enumerate(out):
                like = torch.empty(
                    (self._size, *each.host.shape), dtype=each.host.dtype
                )
                own = parts[number].get() if root == self._rank else like
                self.network.scatter(byte_rows(own), root, out=bytes_of(each.get()))
                each.put()

        return self.submit(f"scatter from {root}", None, outputs, work, opts)

    def barrier(self, opts: Any = None) -> Work:
        return self.submit("barrier", None, [], self.network.barrier, opts)

    # the end

    def shutdown(self) -> None:
        """Do what has been asked for, and leave."""
        self._ordered.close(abort=None)
        self.job.close()
        self.gloo.shutdown()

    def abort(self) -> None:
        """Let what is on its way fail, and leave without a word."""
        self._ordered.close(abort="the process group was aborted")
        self.job.abandon()

    # how it is done

    def does(self, op: Any, tensor: Tensor) -> bool:
        """Whether the switch does this reduction; else gloo does."""
        if tensor.layout != torch.strided:
            return False
        if op in (SUM, AVG) and tensor.dtype in FLOATS:
            return self.job.setup.averages
        return reduction_of(op, tensor.dtype) is not None

    def place_of(self, tensor: Tensor, op: Any) -> Staged | Kept:
        """Of what is to be reduced. Floats to be averaged may stay on their device."""
        averaged = reduction_of(op, tensor.dtype) is None
        return staged(tensor, tensor.dtype, averaged and self.job.devices)

    def reduced(self, values: Tensor, op: Any, root: int | None = None) -> Any:
        """The reduction over the ranks; None where only another one gets it."""
        how = reduction_of(op, values.dtype)
        if how is None:
            if root is None:
                return self.averages.average(values, self.weight(op), in_place=True)
            row, owner = values.reshape(1, -1), np.array([root])
            found = self.averages.of_rows(row, self.weight(op), owner)
            return found[0] if self._rank == root else None
        integers = how.encode(values)
        out = integers if root is None else None
        found = self.network.reduce(integers, how.name, root=root, out=out)
        return None if found is None else how.decode(found, values.dtype)

    def weight(self, op: Any) -> int:
        """How many times the mean it is."""
        return self._size if op == SUM else 1

    def own_part(self, values: Tensor, op: Any) -> Tensor:
        """This rank's part of the reduction."""
        rows = values.reshape(self._size, -1)
        how = reduction_of(op, values.dtype)
        if how is None:
            everybody = np.arange(self._size)
            return self.averages.of_rows(rows, self.weight(op), everybody)[0]
        part = self.network.reduce_scatter(how.encode(rows), how.name)
        return how.decode(part, values.dtype)

    def gathered(
        self,
        what: str,
        outputs: list[list[Tensor]],
        inputs: list[Tensor],
        opts: Any,
        root: int | None = None,
    ) -> Work:
        given = [Staged(tensor) for tensor in inputs]
        places = [[Staged(tensor) for tensor in each] for each in outputs]

        def work() -> None:
            for number, each in enumerate(given):
                rows = self.network.all_gather(bytes_of(each.get()), root=root)
                if rows is None:
                    continue
                for row, place in zip(rows, places[number], strict=True):
                    place.put(typed(row, each.host))

        target = "" if root is None else f" to {root}"
        flat = [tensor for each in outputs for tensor in each]
        return self.submit(what + target, None, inputs, work, opts, flat)

    def submit(
        self,
        what: str,
        op: Any,
        tensors: Sequence[Tensor],
        work: Callable[[], None],
        opts: Any,
        result: list[Tensor] | None = None,
    ) -> Work:
        """Queue it. What the ranks must have alike: what, op, and types and shapes."""
        given = None if opts is None else opts.timeout
        # torch says "as the group" by a negative one
        timeout = self._timeout if given is None or given < timedelta() else given
        shapes = ", ".join(f"{type_name(t)} {list(t.shape)}" for t in tensors)
        name = "" if op is None else op.name
        text = " ".join(word for word in (what, name, shapes) if word)
        outputs = list(tensors if result is None else result)

        def run() -> list[Tensor]:
            self.network.timeout = timeout.total_seconds()
            if self.job.setup.check:
                agree(self.network, text)
            work()
            return outputs

        return SwitchWork(*self._ordered.submit(run))

    def check_parts(self, what: str, whole: Tensor, part: Tensor) -> None:
        if whole.numel() != part.numel() * self._size or whole.dtype != part.dtype:
            raise ValueError(
                f"{what}: {whole.dtype} {list(whole.shape)} and {part.dtype} "
                f"{list(part.shape)}: expected one type, and {self._size} times as "
                "many elements"
            )
