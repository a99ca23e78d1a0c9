"""host/staging.py: where gradients are worked on, and what waits for what. Fakes stand
for a device's streams."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from local_network import Fabric, LocalNetwork
from torch.distributed import ReduceOp

from host import ddp
from host.compressors import compressor, names
from host.staging import Kept, Staged, staged
from intswitch import backend
from intswitch.reductions import SUM


class Streams:
    """Stands for torch.cuda: which stream is at work, and what waits for what."""

    def __init__(self) -> None:
        self.now = "torch's"
        self.log: list[str] = []
        self.count = 0

    def Stream(self, device: Any) -> Any:
        self.count += 1
        name = f"stream {self.count}"
        return SimpleNamespace(
            name=name,
            wait_stream=lambda other: self.log.append(f"{name} waits for {other}"),
            synchronize=lambda: self.log.append(f"{name} is through"),
        )

    def current_stream(self, device: Any) -> str:
        return self.now

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        before, self.now = self.now, stream.name
        yield
        self.now = before


def test_work_on_a_device_waits_for_what_was_before_and_is_done_when_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = Streams()
    for name in ("Stream", "current_stream", "stream"):
        monkeypatch.setattr(torch.cuda, name, getattr(streams, name))
    monkeypatch.setattr(
        torch.Tensor,
        "record_stream",
        lambda self, stream: streams.log.append(f"memory is kept for {stream.name}"),
    )
    tensor = torch.ones(4, dtype=torch.bfloat16)
    kept = Kept(tensor, torch.float32)
    before = ["stream 1 waits for torch's", "memory is kept for stream 1"]
    assert streams.log == before
    with kept.working():
        assert streams.now == "stream 1"
        kept.get().mul_(3)
    kept.put()
    assert (tensor == 3).all()
    assert streams.log[2:] == ["stream 1 waits for torch's", "stream 1 is through"]
    with kept.working():
        kept.put(torch.full((4,), 5.0))
    assert (tensor == 5).all()


def test_only_where_the_compressor_takes_it() -> None:
    assert isinstance(staged(torch.ones(1), torch.float32, devices=True), Staged)
    here = {name for name in names() if not compressor(name).devices}
    # as their options are by themselves
    assert here == {"exact", "block_exponent", "nuqsgd", "qsgd", "qsgdinf"}


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether what is reduced may stay on a device: what callers say."""
    told: list[bool] = []

    def listen(tensor: torch.Tensor, dtype: torch.dtype, devices: bool) -> Staged:
        told.append(devices)
        return Staged(tensor, dtype)

    for module in (ddp, backend):
        monkeypatch.setattr(module, "staged", listen)
    return told


def test_gradients_of_ddp_stay_where_they_lie(allowed: list[bool]) -> None:
    model = torch.nn.Linear(3, 1, bias=False)
    bucket: Any = SimpleNamespace(
        parameters=lambda: [model.weight],
        buffer=lambda: torch.ones(3),
        index=lambda: 0,
        is_last=lambda: True,
    )
    for devices in (True, False):
        made: Any = compressor("intsgd")
        made.devices = devices
        ddp.HookState(
            model, made, LocalNetwork(Fabric(1, num_slots=4, slot_bytes=64), 0)
        ).average(bucket).wait()
    assert allowed == [True, False]


def test_what_is_not_averaged_comes_to_the_cpu(allowed: list[bool]) -> None:
    floats, whole = torch.ones(3), torch.ones(3, dtype=torch.int32)
    for devices in (True, False):
        group: Any = SimpleNamespace(job=SimpleNamespace(devices=devices))
        for tensor, op in ((floats, SUM), (floats, ReduceOp.MAX), (whole, SUM)):
            backend.SwitchGroup.place_of(group, tensor, op)
    assert allowed == [True, False, False, False, False, False]
