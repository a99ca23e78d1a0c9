"""P4Runtime: with a stand-in of a switch, which says what it is told to, and with
`simple_switch_grpc` where it is installed.
"""

import importlib
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from bmv2 import Bmv2, Program

from switch import p4_server, p4_tables
from switch.config import JobConfig, SwitchConfig, TreePlace
from switch.p4_tables import VERDICTS, Entry, Place, Replica, Station
from switch.protocol import Rule

pytest.importorskip("finsy")

from finsy.p4schema import P4Schema
from finsy.proto import p4r, p4r_grpc, rpc_code, rpc_status

from switch.p4runtime import DETAILS, P4Runtime, P4RuntimeError, entity_of

P4INFO = """
pkg_info { arch: "v1model" }
tables {
  preamble { id: 33554433 name: "a.hosts" alias: "hosts" }
  match_fields { id: 1 name: "port" bitwidth: 16 match_type: EXACT }
  match_fields { id: 2 name: "prefix" bitwidth: 32 match_type: LPM }
  action_refs { id: 16777217 }
  action_refs { id: 16777218 }
}
actions {
  preamble { id: 16777217 name: "a.go" alias: "go" }
  params { id: 1 name: "way" bitwidth: 9 }
  params { id: 2 name: "mac" bitwidth: 48 }
}
actions { preamble { id: 16777218 name: "NoAction" alias: "NoAction" } }
counters {
  preamble { id: 33554500 name: "a.count" alias: "count" }
  spec { unit: PACKETS }
  size: 8
}
"""
ENTRY = Entry("a.hosts", (7, "167772160/8"), "a.go", (5, 0x02_00_00_00_00_01))
SOON = 0.5  # seconds
STATION = p4_tables.station_entry(Station(0x02_00_00_00_00_77, 1))


class StandIn(p4r_grpc.P4RuntimeServicer):
    """Keeps what is written; the answers are attributes."""

    def __init__(self) -> None:
        self.written: list[Any] = []
        self.config: Any = None
        self.arbitration = rpc_code.OK
        self.is_silent = False
        self.errors: list[Any] = []
        self.values: list[int] = []

    def StreamChannel(self, requests: Any, context: Any) -> Iterator[Any]:
        for request in requests:
            answer = p4r.StreamMessageResponse()
            answer.arbitration.CopyFrom(request.arbitration)
            answer.arbitration.status.code = self.arbitration
            if not self.is_silent:
                yield answer

    def SetForwardingPipelineConfig(self, request: Any, context: Any) -> Any:
        self.config = request.config
        return p4r.SetForwardingPipelineConfigResponse()

    def Write(self, request: Any, context: Any) -> Any:
        if self.errors:
            status = rpc_status.Status(code=rpc_code.UNKNOWN)
            for error in self.errors:
                status.details.add().Pack(error)
            context.set_trailing_metadata(((DETAILS, status.SerializeToString()),))
            context.abort(grpc.StatusCode.UNKNOWN, "")
        self.written += request.updates
        return p4r.WriteResponse()

    def Read(self, request: Any, context: Any) -> Iterator[Any]:
        [pattern] = request.entities
        if self.config is None:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no program")
        answer = p4r.ReadResponse()
        for value in self.values if pattern.HasField("counter_entry") else ():
            entity = answer.entities.add()
            entity.CopyFrom(pattern)
            entity.counter_entry.data.packet_count = value
        if pattern.HasField("packet_replication_engine_entry"):
            answer.entities.extend(self.groups())
        yield answer

    def groups(self) -> list[Any]:
        return [
            update.entity
            for update in self.written
            if update.type == p4r.Update.INSERT
            and update.entity.HasField("packet_replication_engine_entry")
        ]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A program, which the stand-in does not read, and what it says of itself."""
    program, p4info = tmp_path / "a.json", tmp_path / "a.p4info.txtpb"
    program.write_text("{}")
    p4info.write_text(P4INFO)
    return program, p4info


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn()


@pytest.fixture
def address(stand_in: StandIn, tmp_path: Path) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    p4r_grpc.add_P4RuntimeServicer_to_server(stand_in, server)
    address = f"unix:{tmp_path}/socket"
    server.add_insecure_port(address)
    server.start()
    yield address
    server.stop(0).wait()


@pytest.fixture
def switch(address: str, files: tuple[Path, Path]) -> Iterator[P4Runtime]:
    with P4Runtime(address, *files) as switch:
        yield switch


def refusal(code: int, text: str) -> Any:
    return p4r.Error(canonical_code=code, message=text)


def test_the_program_is_loaded(switch: P4Runtime, stand_in: StandIn) -> None:
    assert stand_in.config.p4_device_config == b"{}"
    assert [table.preamble.name for table in stand_in.config.p4info.tables] == [
        "a.hosts"
    ]


def test_an_entry_by_its_names(switch: P4Runtime, stand_in: StandIn) -> None:
    switch.insert(ENTRY)
    switch.modify(ENTRY)
    switch.delete(ENTRY)
    kinds = [update.type for update in stand_in.written]
    assert kinds == [p4r.Update.INSERT, p4r.Update.MODIFY, p4r.Update.DELETE]
    entry = stand_in.written[0].entity.table_entry
    port, prefix = entry.match
    assert (entry.table_id, port.field_id, prefix.field_id) == (33554433, 1, 2)
    assert port.exact.value == b"\x07"
    assert (prefix.lpm.value, prefix.lpm.prefix_len) == (b"\x0a\0\0\0", 8)
    way, mac = entry.action.action.params
    assert entry.action.action.action_id == 16777217
    assert (way.param_id, way.value) == (1, b"\x05")
    assert (mac.param_id, mac.value) == (2, b"\x02\0\0\0\0\x01")


def test_a_group(switch: P4Runtime, stand_in: StandIn) -> None:
    switch.insert_group(3, [Replica(0, 1), Replica(1, 2)])
    [update] = stand_in.written
    group = update.entity.packet_replication_engine_entry.multicast_group_entry
    assert group.multicast_group_id == 3
    copies = [(copy.instance, copy.egress_port) for copy in group.replicas]
    assert copies == [(0, 1), (1, 2)]


def test_a_reset_deletes_groups(switch: P4Runtime, stand_in: StandIn) -> None:
    switch.insert_group(3, [Replica(0, 1)])
    switch.reset()
    _, update = stand_in.written
    group = update.entity.packet_replication_engine_entry.multicast_group_entry
    assert (update.type, group.multicast_group_id) == (p4r.Update.DELETE, 3)


def test_a_counter(switch: P4Runtime, stand_in: StandIn) -> None:
    stand_in.values = [2**40]
    assert switch.read_counter("a.count", 5) == 2**40
    stand_in.values = []
    with pytest.raises(P4RuntimeError, match=r"a\.count at 5: .* returned 0 values"):
        switch.read_counter("a.count", 5)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (Entry("a.b", (1, "0/0"), "a.go", (1, 2)), "no P4Table named 'a.b'"),
        (Entry("a.hosts", (1, "1/8"), "a.come"), "no P4Action named 'a.come'"),
        (Entry("a.hosts", (1,), "a.go", (1, 2)), r"takes port, prefix; 1 values"),
        (Entry("a.hosts", (1, "1/8"), "a.go", (1,)), r"takes way, mac; 1 values"),
        (Entry("a.hosts", (1, "1/8"), "NoAction", (1,)), r"takes nothing; 1 values"),
        (Entry("a.hosts", (2**16, "1/8"), "NoAction"), "bitwidth 16: 65536"),
        (Entry("a.hosts", (1, "1/8"), "a.go", (512, 1)), "bitwidth 9: 512"),
    ],
)
def test_what_is_not_in_the_program(
    switch: P4Runtime, stand_in: StandIn, entry: Entry, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        switch.insert(entry)
    assert stand_in.written == []


def test_reasons_of_a_write_that_fails(switch: P4Runtime, stand_in: StandIn) -> None:
    stand_in.errors = [
        refusal(rpc_code.OK, "well"),
        refusal(rpc_code.RESOURCE_EXHAUSTED, "full"),
        refusal(rpc_code.NOT_FOUND, ""),
    ]
    text = r"^insert a\.hosts 7 167772160/8: RESOURCE_EXHAUSTED: full; NOT_FOUND$"
    with pytest.raises(P4RuntimeError, match=text):
        switch.insert(ENTRY)


def test_a_switch_of_another_controller(
    address: str, stand_in: StandIn, files: tuple[Path, Path]
) -> None:
    stand_in.arbitration = rpc_code.ALREADY_EXISTS
    with pytest.raises(P4RuntimeError, match="it has another one"):
        P4Runtime(address, *files)
    assert stand_in.config is None


def test_a_silent_switch(
    address: str, stand_in: StandIn, files: tuple[Path, Path]
) -> None:
    stand_in.is_silent = True
    expect_no_answer(address, files)


def test_nobody_there(tmp_path: Path, files: tuple[Path, Path]) -> None:
    expect_no_answer(f"unix:{tmp_path}/none", files)


def expect_no_answer(address: str, files: tuple[Path, Path]) -> None:
    start = time.monotonic()
    with pytest.raises(P4RuntimeError, match=r"no answer in 0\.5 s from unix:"):
        P4Runtime(address, *files, timeout=SOON)
    assert time.monotonic() - start < 10 * SOON


def test_a_file_that_is_not_there(address: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        P4Runtime(address, tmp_path / "a.json", tmp_path / "a.txtpb")


def test_a_file_that_is_no_p4info(address: str, files: tuple[Path, Path]) -> None:
    _, p4info = files
    p4info.write_text("tables { colour: 5 }")
    with pytest.raises(
        ValueError, match=r"a\.p4info\.txtpb is no P4Info in text: 1:10"
    ):
        P4Runtime(address, *files)


def test_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "finsy", None)
    monkeypatch.delitem(sys.modules, "finsy.p4entity")
    monkeypatch.delitem(sys.modules, "switch.p4runtime")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'intswitch\[bmv2\]'"):
        importlib.import_module("switch.p4runtime")


def test_the_server_opens_it(
    address: str, stand_in: StandIn, files: tuple[Path, Path]
) -> None:
    with p4_server.connect(p4_server.P4Runtime(address, *files)) as tables:
        tables.insert(ENTRY)
    assert len(stand_in.written) == 1


# Our program: p4_tables has its names.


def test_every_entry_is_in_the_program(program: Program) -> None:
    schema = P4Schema(program.p4info)
    tables = {"code4": tuple(range(-8, 8)), "code8": tuple(range(-128, 128))}
    workers, parent = (("10.0.0.1", 5000),), ("10.0.0.2", 48864)
    tree = TreePlace(num_workers=2, ranks=(0,), parent=parent)
    job = JobConfig(job=7, workers=workers, tree=tree, **tables)
    place = Place(1, 0, 1)
    stations = {"10.0.0.1": Station(1, 2), "10.0.0.2": Station(3, 4)}
    route = (p4_tables.ROUTES, ("167772160/8",), "SwitchIngress.forward.to_hop")
    entries = [
        p4_tables.job_entry(job, Rule.SAFE, place, 0, stations),
        *p4_tables.child_entries(job, place, stations),
        *p4_tables.tree_entries(job, place, stations),
        *p4_tables.code_entries(job),
        *p4_tables.own_entries("10.0.0.253", 3),
        STATION,
        p4_tables.flood_entry(1000),
        Entry(*route, (1, 2, 3)),
    ]
    filled = {entity_of(schema, entry).table_entry.table_id for entry in entries}
    assert filled == {table.id for table in schema.tables}
    for array, _ in p4_tables.COUNTERS.values():
        assert array in {counter.name for counter in schema.counters}


# BMv2.


@pytest.fixture
def real(bmv2_grpc: Bmv2) -> P4Runtime:
    """Empty."""
    bmv2_grpc.configure(SwitchConfig())
    assert isinstance(bmv2_grpc.tables, P4Runtime)
    return bmv2_grpc.tables


def test_bmv2_says_why_it_refuses(real: P4Runtime) -> None:
    with pytest.raises(P4RuntimeError, match="NOT_FOUND"):
        real.modify(STATION)
    real.insert(STATION)
    with pytest.raises(P4RuntimeError, match="ALREADY_EXISTS"):
        real.insert(STATION)
    real.delete(STATION)
    with pytest.raises(P4RuntimeError, match="NOT_FOUND"):
        real.delete(STATION)
    real.insert_group(1, [Replica(0, 1)])
    with pytest.raises(P4RuntimeError, match="ALREADY_EXISTS"):
        real.insert_group(1, [Replica(0, 1)])
    real.delete_group(1)
    with pytest.raises(P4RuntimeError, match="NOT_FOUND"):
        real.delete_group(1)
    with pytest.raises(P4RuntimeError, match="verdicts at 1000000"):
        real.read_counter(VERDICTS, 1_000_000)


def test_bmv2_obeys_one_controller(real: P4Runtime, program: Program) -> None:
    files = program.json, program.p4info
    with pytest.raises(P4RuntimeError, match=r"one controller of unix:.* exists"):
        P4Runtime(real.address, *files, device_id=os.getpid())
    with pytest.raises(P4RuntimeError, match="into device 1: UNKNOWN"):
        P4Runtime(real.address, *files, device_id=1)
    real.insert(STATION)


def test_bmv2_is_empty_after_a_reset(real: P4Runtime) -> None:
    real.insert(STATION)
    real.insert_group(1, [Replica(0, 1)])
    real.reset()
    real.insert(STATION)
    real.insert_group(1, [Replica(0, 1)])
    assert all(real.read_counter(VERDICTS, index) == 0 for index in range(16))
