"""Tensors of any device and type where the network, or a compressor, takes them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from host.compressors.base import is_on_device

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
"""What can be averaged: as float32, rounded to its own type in the end."""


def type_name(tensor: Tensor) -> str:
    """Of its elements, as in `float32`; `sparse_coo float32` if it is not dense."""
    dense = tensor.layout == torch.strided
    words = [tensor.dtype] if dense else [tensor.layout, tensor.dtype]
    return " ".join(str(word).removeprefix("torch.") for word in words)


def new_stream(tensor: Tensor) -> torch.cuda.Stream:
    """One of the tensor's device, for what is to come after all that the device has
    been told so far."""
    stream = torch.cuda.Stream(tensor.device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(tensor.device))
    return stream


def stream_after(tensors: Sequence[Tensor]) -> torch.cuda.Stream | None:
    """The same for the device of these; None on the CPU."""
    on_device = [tensor for tensor in tensors if tensor.is_cuda]
    return new_stream(on_device[0]) if on_device else None


def done_on(stream: torch.cuda.Stream | None, work: Callable[[], object]) -> None:
    """Do it, and wait for what the stream has been told by it."""
    if stream is None:
        work()
        return
    with torch.cuda.stream(stream):
        work()
    stream.synchronize()


class Staged:
    """A tensor's elements where the network can have them.

    Elements on the CPU in `dtype` are the tensor's own, not copied. Those of a CUDA
    device travel through pinned memory on a stream of their own, beside what the
    device computes.
    """

    def __init__(self, tensor: Tensor, dtype: torch.dtype | None = None) -> None:
        """dtype: of the copy; None: the tensor's."""
        self.tensor = tensor.detach()
        self.dtype = dtype or tensor.dtype
        self._wait: Callable[[], None] = lambda: None
        if tensor.is_cuda:
            self.host = self._to_pinned()
        else:
            self.host = self.tensor.to(self.dtype).contiguous()

    def _to_pinned(self) -> Tensor:
        stream = new_stream(self.tensor)
        pinned = torch.empty(self.tensor.shape, dtype=self.dtype, pin_memory=True)
        with torch.cuda.stream(stream):
            pinned.copy_(self.tensor, non_blocking=True)
        self.tensor.record_stream(stream)
        self._wait = stream.synchronize
        return pinned

    def working(self) -> AbstractContextManager[Any]:
        """To be in while one works on the elements."""
        return nullcontext()

    def get(self) -> Tensor:
        """The elements, once they are there. Contiguous, on the CPU."""
        self._wait()
        return self.host

    def put(self, values: Tensor | None = None) -> None:
        """Write the elements, or others in their place, to the tensor; once its device
        has done what it had been told before."""
        self._wait()
        source = self.host if values is None else values.view_as(self.tensor)
        if source.data_ptr() == self.tensor.data_ptr():
            return
        if not self.tensor.is_cuda:
            self.tensor.copy_(source)
            return
        stream = torch.cuda.Stream(self.tensor.device)  # type: ignore[no-untyped-call]
        done_on(stream, lambda: self.tensor.copy_(source, non_blocking=True))


class Kept:
    """The same of a tensor whose elements stay on their CUDA device: they are worked on
    there, on a stream of its own."""

    def __init__(self, tensor: Tensor, dtype: torch.dtype) -> None:
        self.tensor = tensor.detach()
        self.stream = new_stream(tensor)
        with self.working():
            self.elements = self.tensor.to(dtype).contiguous()
        self.tensor.record_stream(self.stream)

    def working(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self.stream)

    def get(self) -> Tensor:
        """The elements. Contiguous, on the device."""
        return self.elements

    def put(self, values: Tensor | None = None) -> None:
        """Write the elements, or others in their place, to the tensor."""
        source = self.elements if values is None else values.view_as(self.tensor)
        # who has made the values may have done so on another stream
        self.stream.wait_stream(torch.cuda.current_stream(self.tensor.device))
        with self.working():
            if source.data_ptr() != self.tensor.data_ptr():
                self.tensor.copy_(source)
        self.stream.synchronize()


def staged(tensor: Tensor, dtype: torch.dtype, devices: bool) -> Staged | Kept:
    """The tensor's elements in `dtype`; on its CUDA device, where `devices` may be."""
    if devices and is_on_device(tensor):
        return Kept(tensor, dtype)
    return Staged(tensor, dtype)
