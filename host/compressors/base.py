"""What a compressor is, and what it is given of the network."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from host.packetizer import Stream

Gradient = NDArray[np.float32]
Blocks = Sequence[tuple[str, int]]
"""Name and number of elements of consecutive blocks (layers) of a gradient."""

Array = TypeVar("Array")
"""A float32 NumPy array or torch tensor, of any shape."""


class Network(Protocol):
    """What a compressor may ask of the network. All workers ask the same, in order."""

    rank: int
    num_workers: int
    num_slots: int
    slot_bytes: int
    code4: tuple[int, ...] | None
    """The job's table for code4, 16 integers; None: it has none."""
    code8: tuple[int, ...] | None
    """The job's table for code8, 256 integers."""

    def sum(
        self, array: NDArray[Any], result_type: str | None = None
    ) -> NDArray[Any]: ...
    def sum_codes(
        self, codes: NDArray[np.uint8], code: str, result_type: str = "int16"
    ) -> NDArray[Any]: ...
    def max(self, array: NDArray[Any]) -> NDArray[Any]: ...
    def union(self, bits: NDArray[Any]) -> NDArray[Any]: ...
    def broadcast(self, array: NDArray[Any], root: int) -> NDArray[Any]: ...
    def gather(self, message: bytes) -> list[bytes]: ...
    def barrier(self) -> None: ...
    def aggregate(self, stream: Stream) -> None: ...


@dataclass(slots=True)
class Statistics:
    """Running totals of one compressor on one worker."""

    steps: int = 0
    """Averages that came out well."""
    clips: int = 0
    """Elements of this worker that were clipped."""
    overflows: int = 0
    """Chunks whose result had the overflow flag."""
    largest_integer: int = 0
    """Largest absolute integer that this worker has sent, before clipping."""
    largest_sum: int = 0
    """Largest absolute integer that came back."""
    bytes_up: int = 0
    """Payload and header bytes sent, without retransmissions."""
    bytes_down: int = 0


class Piece(NamedTuple):
    """Which of the vectors of one step a vector is: DDP averages its buckets one by
    one. All workers have the same pieces, in the same order."""

    number: int = 0
    """0: a step begins."""
    last: bool = True
    """It is the step's last."""

    @property
    def entire(self) -> bool:
        """There is no other."""
        return self.number == 0 and self.last


ENTIRE = Piece()


class Layout(NamedTuple):
    """The blocks of a vector. A whole vector without blocks is one, `gradient`."""

    names: tuple[str, ...]
    ends: NDArray[np.int64]
    """[blocks] index after each block's last element."""

    @property
    def sizes(self) -> list[int]:
        return [int(size) for size in np.diff(self.ends, prepend=0)]

    def split(self, vector: Gradient) -> Iterator[tuple[str, Gradient]]:
        """Each block's name, and its part of the vector, not copied."""
        start = 0
        for name, end in zip(self.names, self.ends.tolist(), strict=True):
            yield name, vector[start:end]
            start = end

    def locate(self, index: int) -> str:
        """An element in words, for errors."""
        block = int(np.searchsorted(self.ends, index, side="right"))
        start = int(self.ends[block - 1]) if block else 0
        return f"{self.names[block]}[{index - start}]"


def layout_of(blocks: Blocks | None, elements: int) -> Layout:
    """The blocks, or ValueError if they are not the vector's."""
    if blocks is None:
        return Layout(("gradient",), np.array([elements], np.int64))
    names = tuple(name for name, _ in blocks)
    if len(set(names)) < len(names):
        raise ValueError(f"blocks: names must differ, got {', '.join(names)}")
    for name, size in blocks:
        if size < 0:
            raise ValueError(f"blocks: {name} has {size} elements: must be 0 or more")
    total = sum(size for _, size in blocks)
    if total != elements:
        raise ValueError(
            f"blocks: their sizes add up to {total}, and the gradient has {elements} "
            "elements: must be the same"
        )
    return Layout(names, np.cumsum([size for _, size in blocks], dtype=np.int64))


def is_tensor(array: object) -> bool:
    """Whether it is a torch tensor; without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def is_on_device(tensor: Any) -> bool:
    """Whether a tensor lies in the memory of a CUDA device."""
    return bool(tensor.device.type == "cuda")


def flat_view(array: Any, what: str, devices: bool = False) -> Any:
    """[d] the elements of an array or tensor, not copied if they lie in a row: an
    array, or where `devices` may be and it is on one, a tensor.

    Raises TypeError for what is not float32 on the CPU in this machine's byte order, or
    on a device.
    """
    if is_tensor(array):
        tensor = array.detach()
        on_device = devices and is_on_device(tensor)
        on_cpu = tensor.device.type == "cpu"
        if not (on_device or on_cpu) or "strided" not in str(tensor.layout):
            raise TypeError(
                f"{what} is a {tensor.layout} tensor on {tensor.device}: must be dense "
                "and on the CPU; move it with .cpu()"
            )
        if str(tensor.dtype) != "torch.float32":
            raise TypeError(
                f"{what} has dtype {tensor.dtype}: must be torch.float32; "
                "convert it with .float()"
            )
        return tensor.reshape(-1) if on_device else flat_view(tensor.numpy(), what)
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"{what} is a {type(array).__name__}: must be a float32 NumPy array or "
            "torch tensor"
        )
    if array.dtype != np.dtype(np.float32):
        raise TypeError(
            f"{what} has dtype {array.dtype}: must be float32; "
            "convert it with .astype(np.float32)"
        )
    return np.ascontiguousarray(array).reshape(-1)


def flat_out(out: Any, vector: Any) -> Any:
    """[d] memory to write the mean to, where the vector lies; never a copy."""
    if not (is_tensor(out) or isinstance(out, np.ndarray)):
        raise TypeError(f"out is a {type(out).__name__}: must be an array or tensor")
    contiguous = out.is_contiguous() if is_tensor(out) else out.flags.c_contiguous
    if not contiguous:
        raise ValueError("out is not contiguous: must be")
    flat = flat_view(out, "out", devices=is_tensor(vector))
    if len(flat) != len(vector):
        raise ValueError(f"out has {len(flat)} elements: must have {len(vector)}")
    if is_tensor(vector):
        if not is_tensor(flat) or flat.device != vector.device:
            raise TypeError(f"out is not on {vector.device}: must be, as the gradient")
    elif not flat.flags.writeable:
        raise ValueError("out is read-only: must be writeable")
    elif flat.ctypes.data != vector.ctypes.data and np.may_share_memory(flat, vector):
        raise ValueError("out overlaps the gradient: must be all of it, or none")
    return flat


def new_mean(vector: Any) -> Any:
    """[d] float32 of any contents, where the vector lies."""
    return vector.new_empty(len(vector)) if is_tensor(vector) else np.empty_like(vector)


def copy_of(vector: Any) -> Any:
    """The same, in new memory where it lies."""
    return vector.clone() if is_tensor(vector) else vector.copy()


def joined(parts: Sequence[Any]) -> Any:
    """[d] a copy of flat arrays, or of tensors on one device, one after the other."""
    join = sys.modules["torch"].cat if is_tensor(parts[0]) else np.concatenate
    return join(parts)


def moved(values: Any, like: Any) -> Any:
    """Values where `like` lies, and of its kind; not copied if they are."""
    if is_tensor(like):
        tensor = (
            values if is_tensor(values) else sys.modules["torch"].from_numpy(values)
        )
        return tensor.to(like.device)
    return values.cpu().numpy() if is_tensor(values) else values


def padded_rows(flat: Any, count: int, width: int) -> Any:
    """[count * width] so many rows of a flat array or tensor, each padded with zeros;
    not copied where there is nothing to pad."""
    rows = flat.reshape(count, -1)
    if rows.shape[1] == width:
        return flat
    shape = (count, width)
    padded = rows.new_zeros(shape) if is_tensor(rows) else np.zeros(shape, rows.dtype)
    padded[:, : rows.shape[1]] = rows
    return padded.reshape(-1)


def shaped_like(array: Any, flat: Any) -> Any:
    """The elements in the shape and kind of `array`."""
    if is_tensor(array):
        tensor = flat if is_tensor(flat) else sys.modules["torch"].from_numpy(flat)
        return tensor.view(array.shape)
    return flat.reshape(array.shape)


class Compressor(ABC):
    """Estimates the mean of the workers' gradients with integer aggregations only."""

    devices: bool = False
    """Whether a gradient may lie on a CUDA device: each element is worked on there, and
    only integers, or codes of them, travel. Options may decide."""

    def __init__(self) -> None:
        self.statistics = Statistics()
        self.step = 0
        """Steps that came out well: with all their pieces."""
        self.piece = ENTIRE
        """Of the step that runs."""

    def tables(self, num_workers: int) -> dict[str, tuple[int, ...]]:
        """Code tables that the job must have: the arguments code4, code8 of `join`."""
        return {}

    def check_tables(self, network: Network) -> None:
        """Raise ValueError if the job's tables are not these."""
        for name, table in self.tables(network.num_workers).items():
            found = getattr(network, name)
            if found != table:
                what = "no" if found is None else "another"
                raise ValueError(
                    f"the job has {what} {name} table: join with "
                    "**compressor.tables(num_workers), or take wire=integers"
                )

    def average(
        self,
        gradient: Array,
        network: Network,
        blocks: Blocks | None = None,
        out: Array | None = None,
        piece: Piece = ENTIRE,
    ) -> Array:
        """The mean of all workers' gradients, the same bits on every worker.

        gradient: float32, of any shape, 0 elements included; a NumPy array or a torch
        tensor on the CPU, or, if `devices`, on a CUDA device: what is done there is
        done on the current stream. It is not changed. blocks: names and sizes of its
        layers. out: where to write the mean, instead of a new array; may be the
        gradient. piece: which part of a step's gradient it is, if not all of it; what a
        step counts for (schedules, scales, random numbers) counts once for all pieces.
        Returns the mean in the kind and shape of the gradient.

        Raises TypeError for another dtype, ValueError if a worker's gradient has a NaN
        or an infinity: on every worker, in the same step, after all its aggregations;
        nothing is remembered of that step, and the network can be used further. (The
        worker that has it sends zeros and an exponent that no finite block has.)
        """
        vector = flat_view(gradient, "gradient", self.devices)
        layout = layout_of(blocks, len(vector))
        mean = new_mean(vector) if out is None else flat_out(out, vector)
        self.take(vector, mean, network, layout, piece)
        self.statistics.steps += piece.last
        result: Array = shaped_like(gradient, mean) if out is None else out
        return result

    def take(
        self,
        vector: Gradient,
        mean: Gradient,
        network: Network,
        layout: Layout,
        piece: Piece,
    ) -> None:
        """`estimate`, and count."""
        self.piece = piece
        self.estimate(vector, mean, network, layout)
        self.step += piece.last

    @abstractmethod
    def estimate(
        self, vector: Gradient, mean: Gradient, network: Network, layout: Layout
    ) -> None:
        """`average` of a flat vector, into `mean`, which may be `vector` itself."""

    def share(self) -> Gradient:
        """[d] what this worker contributed to the last mean: the mean of all workers'
        shares is the mean, up to float32 rounding. A new array. Optional: error
        feedback needs it.

        To be called after an average of one element or more, and before the gradient
        given to it is changed. Raises RuntimeError where that cannot be told.
        """
        raise NotImplementedError(f"{type(self).__name__} does not tell its share")

    @classmethod
    def tells_share(cls) -> bool:
        """Whether it has `share`, so that there can be error feedback around it."""
        return cls.share is not Compressor.share

    def keeps_rest(self) -> bool:
        """Whether it remembers by itself what its share lacks, so that error feedback
        would count that twice."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on from here. Plain Python and NumPy."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Go on where another compressor of the same kind and options stopped."""
