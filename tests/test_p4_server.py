"""The control plane of a P4 switch as a program: how it begins, and how it cannot."""

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from test_p4_dataplane import CHILDREN, JOBS, PARENTS, STATIONS, FakeTables, job_of

from host.controller import Membership, join_job
from switch import p4_server, p4_tables
from switch.config import SwitchConfig
from switch.p4_server import P4SwitchConfig, Thrift, open_control
from switch.p4_tables import Entry
from switch.simple_switch import SimpleSwitchError


def config_of(port: int = 0, **switch: Any) -> P4SwitchConfig:
    fields = {"address": "10.0.0.253", "jobs": (job_of(7), job_of(8))} | switch
    return P4SwitchConfig(
        switch=SwitchConfig(num_slots=8, **fields),
        mac=0xFD,
        control=("127.0.0.1", port),
        connection=Thrift(9090),
        stations=STATIONS,
    )


class Full(FakeTables):
    """Has no room for a second job, and then perhaps is gone."""

    gone = False

    def insert(self, entry: Entry) -> None:
        if entry.table == JOBS and any(table == JOBS for table, _ in self.entries):
            raise SimpleSwitchError("TABLE_FULL")
        super().insert(entry)

    def reset(self) -> None:
        if self.gone:
            raise SimpleSwitchError("simple_switch_CLI has ended")
        super().reset()


def test_it_begins_with_its_stations_and_jobs() -> None:
    tables = FakeTables()
    with open_control(config_of(), tables) as (dataplane, (address, port)):
        assert (address, port > 0) == ("127.0.0.1", True)
        assert {key for table, key in tables.entries if table == JOBS} == {(7,), (8,)}
        stations = [key for table, key in tables.entries if table == p4_tables.STATIONS]
        assert len(stations) == len(STATIONS) + 1  # and broadcasts
        assert dataplane.counters(8)["accepted"] == 0
    assert "reset" not in tables.log


def test_a_job_that_cannot_be_installed_takes_the_others_with_it() -> None:
    tables = Full()
    with (
        pytest.raises(SimpleSwitchError, match="TABLE_FULL"),
        open_control(config_of(), tables),
    ):
        pass
    assert f"insert {JOBS}" in tables.log, "the first job was there"
    assert (tables.entries, tables.groups) == ({}, {})


def test_so_does_an_address_that_is_taken() -> None:
    tables = FakeTables()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(OSError, match=f"cannot listen at 127.0.0.1:{port}"),
            open_control(config_of(port), tables),
        ):
            pass
    assert (tables.entries, tables.groups) == ({}, {})


def test_a_second_controller_leaves_the_switch_to_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def connect(connection: Thrift) -> FakeTables:
        raise AssertionError("and the switch is empty")

    monkeypatch.setattr(p4_server, "connect", connect)
    with socket.create_server(("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen at 127.0.0.1:{port} .TCP"):
            p4_server.serve(config_of(port))


def test_of_a_switch_that_is_gone_the_first_error_is_told() -> None:
    tables = Full()
    tables.gone = True
    with (
        pytest.raises(SimpleSwitchError, match="TABLE_FULL"),
        open_control(config_of(), tables),
    ):
        pass


def test_workers_join_at_a_leaf() -> None:
    """Below another P4 switch, at which a third worker joins."""
    above, below, parent, child = FakeTables(), FakeTables(), "10.0.0.3", "10.0.0.2"
    root = config_of(address=parent, jobs=())
    with ExitStack() as stack:
        _, (host, port) = stack.enter_context(open_control(root, above))
        at_root = f"{host}:{port}"
        leaf = config_of(address=child, jobs=(), parent=at_root)
        _, (host, port) = stack.enter_context(open_control(leaf, below))
        places = [f"{host}:{port}", f"{host}:{port}", at_root]

        def join(rank: int) -> Membership:
            return join_job(
                places[rank], job="tree", rank=rank, num_workers=3, num_slots=2,
                slot_bytes=256, data_address=(f"10.0.0.{rank % 2}", 5000 + rank),
            )  # fmt: skip

        with ThreadPoolExecutor() as pool:
            members = list(pool.map(join, range(3)))
        number = p4_tables.number_of
        ends = number(child), number(parent)
        # the worker of rank 2, and the leaf, which stands for two workers
        assert {key[1:] for table, key in above.entries if table == CHILDREN} == {
            (2, ends[0], 48864),
            (2, number("10.0.0.0"), 5002),
        }
        assert {key[1:] for table, key in below.entries if table == CHILDREN} == {
            (0, number("10.0.0.0"), 5000),
            (1, number("10.0.0.1"), 5001),
        }
        assert [key[1:] for table, key in below.entries if table == PARENTS] == [
            (ends[1], 48864)
        ]
        for member in members:
            member.leave()
