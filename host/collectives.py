"""What a network offers: collectives of whole arrays, over streams of chunks alone."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host.codes import CodeStream
from host.packetizer import ELEMENT_TYPES, EVERYBODY, ArrayStream, Barrier, Stream
from host.segments import Segments, one_each, whole_of
from host.transport import Statistics
from switch.codes import TABLE_SIZES, Table
from switch.protocol import ElementType, Flag, Reduction

Array = NDArray[Any]


class AggregationOverflow(OverflowError):
    """A sum left the range of its result type. The network can be used further."""


class Collectives(ABC):
    """One worker's place in a job. Every worker calls the same, in the same order.

    Arrays are NumPy arrays or torch tensors; a result is of the kind of the argument.
    `out`, where there is one: contiguous memory on the CPU that it is written to and
    that is returned, instead of a new array; may be the argument, or overlap it. Of a
    worker that gets no result it stays as it is.
    """

    rank: int
    num_workers: int
    num_slots: int
    slot_bytes: int
    code4: Table | None
    """What the codes of code4 stand for, 16 integers; None: the job has no table."""
    code8: Table | None
    """The same for code8, 256 integers."""

    @property
    @abstractmethod
    def statistics(self) -> Statistics:
        """Of this worker, over all aggregations."""

    @abstractmethod
    def aggregate(self, stream: Stream) -> None:
        """Run one stream of chunks: what every other method stands on."""

    def sum(
        self,
        array: Any,
        result_type: str | None = None,
        *,
        root: int | None = None,
        out: Any = None,
    ) -> Any:
        """Sum over the workers of int8, int16 or int32 arrays of one shape.

        `result_type` is the same type or a wider one. `root`: the worker that gets the
        sum, if not all do; the others get None. Raises AggregationOverflow, on every
        worker, when a partial sum left its range (policy `detect`).
        """
        values, like = _as_array(array)
        dtype = np.dtype(result_type or values.dtype)
        return self._reduce(values, dtype, Reduction.SUM, root, like, out)

    def sum_of_some(
        self, array: Any, result_type: str | None = None
    ) -> tuple[Any, NDArray[np.int64]]:
        """The same, and how many workers are in each element's sum: what to divide by
        where results go out without workers that are late."""
        values, like = _as_array(array)
        out = np.zeros(values.shape, result_type or values.dtype)
        _check_types(values, out)
        _check_width(values, out.dtype)
        flat = np.ascontiguousarray(values).reshape(-1), out.reshape(-1)
        stream = ArrayStream(*flat, Reduction.SUM, self.slot_bytes)
        self._run(stream, out.dtype)
        counts = np.repeat(stream.plan.num_workers, stream.elements_per_chunk)
        return like(out), counts[: out.size].reshape(out.shape)

    def sum_codes(self, codes: Any, code: str, result_type: str = "int16") -> Any:
        """Sum over the workers of what uint8 codes of one shape stand for.

        `code` is code4 (codes below 16, two a byte on their way) or code8, for which
        the job has a table; `result_type` int8, int16 or int32. The sums are exact:
        ValueError if the type cannot hold `num_workers` times the largest entry.
        """
        values, like = _as_array(codes)
        if code not in TABLE_SIZES:
            raise ValueError(f"code {code!r}: expected {' or '.join(TABLE_SIZES)}")
        if values.dtype != np.uint8:
            raise TypeError(f"codes of {values.dtype}: expected uint8")
        if values.max(initial=0) >= TABLE_SIZES[code]:
            raise ValueError(f"code {values.max()}: {code} has 0 to 15")
        out = np.zeros(values.shape, result_type)
        _check_types(out)
        element_type = ElementType[code.upper()]
        flat = values.reshape(-1), out.reshape(-1)
        stream = CodeStream(*flat, element_type, self.slot_bytes)
        self._run(stream, out.dtype)
        return like(out)

    def max(self, array: Any, *, root: int | None = None, out: Any = None) -> Any:
        """Elementwise maximum over the workers of int8, int16 or int32 arrays."""
        return self.reduce(array, "max", root=root, out=out)

    def reduce(
        self, array: Any, reduction: str, *, root: int | None = None, out: Any = None
    ) -> Any:
        """`sum`, `max` or `or` over the workers of int8, int16 or int32 arrays."""
        values, like = _as_array(array)
        kind = Reduction[reduction.upper()]
        return self._reduce(values, values.dtype, kind, root, like, out)

    def reduce_scatter(
        self, parts: Any, reduction: str = "sum", *, out: Any = None
    ) -> Any:
        """[...] this worker's part of the sum (or max, or) over the workers of
        `parts`, [num_workers, ...] of int8, int16 or int32: part r goes to worker r.
        """
        values, like = _as_array(parts)
        self._check_parts(values)
        _check_types(values)
        size = values[0].size
        segments = self._segments(size, self.slot_bytes // values.itemsize)
        room = _room(out, size, values.dtype)
        stream = ArrayStream(
            _apart(values.reshape(-1), room, first=self.rank * size),
            room, Reduction[reduction.upper()], self.slot_bytes,
            recipients=one_each(segments).recipients,
            first_out=segments.range_of(self.rank)[0],
            parts=segments,
        )  # fmt: skip
        self._run(stream, room.dtype)
        return like(room.reshape(values.shape[1:])) if out is None else out

    def union(self, bits: Any) -> Any:
        """Or over the workers: of bool arrays, or of packed bits (uint8)."""
        values, like = _as_array(bits)
        if values.dtype == np.bool_:
            packed = np.packbits(values.reshape(-1))
            joined = np.unpackbits(self._union(packed), count=values.size)
            return like(joined.astype(np.bool_).reshape(values.shape))
        if values.dtype != np.uint8:
            raise TypeError(f"union of {values.dtype}: expected bool or uint8")
        return like(self._union(values))

    def broadcast(self, array: Any, root: int, *, out: Any = None) -> Any:
        """The array of worker `root`, on every worker; any type, the same shape. The
        root's own memory is not written to: it may be read-only."""
        self._check_rank("root", root)
        values, like = _as_array(array)
        own = values.reshape(-1).view(np.int8)
        room = _room(out, own.size, own.dtype)
        is_root = self.rank == root
        if is_root and room.ctypes.data != own.ctypes.data:
            room[:] = own
            own = room  # they may overlap
        stream = ArrayStream(
            own, room[:0] if is_root else room, Reduction.OR, self.slot_bytes,
            None if is_root else (0, 0), parts=whole_of(own.size, self.slot_bytes),
        )  # fmt: skip
        self.aggregate(stream)
        return _of_bytes(room, values, values.shape, like) if out is None else out

    def all_gather(
        self, array: Any, *, root: int | None = None, out: Any = None
    ) -> Any:
        """[num_workers, ...] the arrays of all workers, of any type and one shape.

        `root`: the worker that gets them, if not all do; the others get None.
        """
        values, like = _as_array(array)
        own = values.reshape(-1).view(np.int8)
        segments = self._segments(own.size, self.slot_bytes)
        gets = root is None or root == self.rank
        room = _room(out, own.size * self.num_workers, own.dtype, gets)
        own = _apart(own, room, first=-self.rank * own.size)
        stream = ArrayStream(
            own, room, Reduction.OR, self.slot_bytes, segments.range_of(self.rank),
            self._only(root, segments.all_chunks), parts=segments,
        )  # fmt: skip
        self.aggregate(stream)
        if not gets or out is not None:
            return out if gets else None
        return _of_bytes(room, values, (self.num_workers, *values.shape), like)

    def scatter(self, parts: Any, root: int, *, out: Any = None) -> Any:
        """[...] this worker's part of worker `root`'s `parts`, [num_workers, ...] of
        any type. The others give an array of the same type and shape, which is not
        read."""
        self._check_rank("root", root)
        values, like = _as_array(parts)
        self._check_parts(values)
        own = values.reshape(self.num_workers, -1).view(np.int8)
        segments = self._segments(own.shape[1], self.slot_bytes)
        room = _room(out, own.shape[1], own.dtype)
        stream = ArrayStream(
            _apart(own.reshape(-1), room, first=self.rank * own.shape[1]),
            room, Reduction.OR, self.slot_bytes,
            None if self.rank == root else (0, 0),
            one_each(segments).recipients, segments.range_of(self.rank)[0], segments,
        )  # fmt: skip
        self.aggregate(stream)
        return _of_bytes(room, values, values.shape[1:], like) if out is None else out

    def gather(self, message: bytes) -> list[bytes]:
        """The messages of all workers, by rank; of any lengths below 2^31."""
        lengths = np.zeros(self.num_workers, np.int32)
        lengths[self.rank] = len(message)
        lengths = self.sum(lengths)
        chunks = -(-lengths.astype(np.int64) // self.slot_bytes)
        first = chunks.cumsum() - chunks
        out = np.zeros(int(chunks.sum()) * self.slot_bytes, np.int8)
        own = np.frombuffer(message, np.int8)
        owned = (int(first[self.rank]), int(first[self.rank] + chunks[self.rank]))
        self.aggregate(ArrayStream(own, out, Reduction.OR, self.slot_bytes, owned))
        starts = first * self.slot_bytes
        return [
            out[start : start + length].tobytes()
            for start, length in zip(starts, lengths, strict=True)
        ]

    def barrier(self) -> None:
        """Wait until every worker has come here."""
        self.aggregate(Barrier())

    def _reduce(
        self,
        values: Array,
        dtype: np.dtype[Any],
        reduction: Reduction,
        root: int | None = None,
        like: Callable[[Array], Any] = lambda out: out,
        out: Any = None,
    ) -> Any:
        _check_types(values, np.empty(0, dtype))
        _check_width(values, dtype)
        gets = root is None or root == self.rank
        room = _room(out, values.size, dtype, gets)
        chunks = -(-values.size // (self.slot_bytes // dtype.itemsize))
        stream = ArrayStream(
            _apart(values.reshape(-1), room), room, reduction, self.slot_bytes,
            recipients=self._only(root, chunks),
        )  # fmt: skip
        self._run(stream, dtype)
        if not gets or out is not None:
            return out if gets else None
        return like(room.reshape(values.shape))

    def _only(self, root: int | None, chunks: int) -> NDArray[np.int64]:
        """The recipients of an aggregation's chunks: one worker, or all."""
        if root is None:
            return EVERYBODY
        self._check_rank("root", root)
        return np.full(chunks, root, np.int64)

    def _segments(self, elements: int, elements_per_chunk: int) -> Segments:
        return Segments(self.num_workers, elements, elements_per_chunk)

    def _check_parts(self, values: Array) -> None:
        if values.ndim == 0 or len(values) != self.num_workers:
            raise ValueError(
                f"parts of shape {list(values.shape)}: expected {self.num_workers} "
                "along the first dimension, one for each worker"
            )

    def _run(self, stream: ArrayStream | CodeStream, dtype: np.dtype[Any]) -> None:
        self.aggregate(stream)
        if stream.flags & Flag.OVERFLOW:
            self.statistics.overflows += 1
            raise AggregationOverflow(
                f"the sum over {self.num_workers} workers left the range of {dtype}:"
                " take a wider result_type, or smaller values"
            )

    def _union(self, packed: Array) -> Array:
        bits: Array = self._reduce(packed.view(np.int8), np.dtype("i1"), Reduction.OR)
        return bits.view(np.uint8)

    def _check_rank(self, name: str, rank: int) -> None:
        if not 0 <= rank < self.num_workers:
            raise ValueError(f"{name} {rank}: expected 0 to {self.num_workers - 1}")


def _as_array(array: Any) -> tuple[Array, Callable[[Array], Any]]:
    """A NumPy view of an array or torch tensor, and the way back."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        device = array.device
        return array.detach().cpu().contiguous().numpy(), lambda out: torch.from_numpy(
            out
        ).to(device)
    return np.ascontiguousarray(array).reshape(np.shape(array)), lambda out: out


def _room(out: Any, elements: int, dtype: np.dtype[Any], gets: bool = True) -> Array:
    """[elements] of new memory, zeros; or of `out`, which for bytes may be of any type.
    gets: whether this worker gets the result; else there is nothing to be written, [0].
    """
    if not gets:
        return np.zeros(0, dtype)
    if out is None:
        return np.zeros(elements, dtype)
    torch = sys.modules.get("torch")
    tensor = torch is not None and isinstance(out, torch.Tensor)
    values: Array = out.numpy() if tensor else out
    needed = elements * dtype.itemsize
    if values.nbytes != needed or not values.flags.c_contiguous:
        raise ValueError(
            f"out has {values.nbytes} bytes: must have {needed}, contiguous"
        )
    if dtype.itemsize > 1 and values.dtype != dtype:
        raise TypeError(f"out is of {values.dtype}: must be of {dtype}")
    if not values.flags.writeable:
        raise ValueError("out is read-only: must be writeable")
    return values.reshape(-1).view(dtype)


def _apart(values: Array, room: Array, first: int = 0) -> Array:
    """The values; a copy where results would be written over some that may still have
    to be sent. A chunk's own results may be: it is not sent again. first: index of the
    value where the room would begin then."""
    own_place = values.ctypes.data + first * values.itemsize
    alike = room.ctypes.data == own_place and room.itemsize == values.itemsize
    return values if alike or not np.may_share_memory(values, room) else values.copy()


def _of_bytes(
    room: Array, values: Array, shape: tuple[int, ...], like: Callable[[Array], Any]
) -> Any:
    """Bytes as elements of the values' type and kind."""
    return like(room.view(values.dtype).reshape(shape))


def _check_types(*arrays: Array) -> None:
    for array in arrays:
        if array.dtype not in ELEMENT_TYPES:
            allowed = ", ".join(str(dtype) for dtype in ELEMENT_TYPES)
            raise TypeError(f"{array.dtype} elements: expected one of {allowed}")


def _check_width(values: Array, dtype: np.dtype[Any]) -> None:
    if dtype.itemsize < values.itemsize:
        raise TypeError(
            f"result_type {dtype} is narrower than the elements' {values.dtype}"
        )
