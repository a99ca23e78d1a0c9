"""The command line of BMv2, spoken to: with a stand-in of a few lines of Python."""

import sys
from collections.abc import Iterator

import pytest

from switch.p4_tables import Entry, Replica
from switch.simple_switch import SimpleSwitch, SimpleSwitchError

# Echoes every command, and answers as simple_switch_CLI does.
STAND_IN = r"""
import sys
port = sys.argv[sys.argv.index("--thrift-port") + 1]
if port == "1":
    sys.exit("Could not connect to thrift client on port 1\nMake sure that\nit is up")
if port == "2":
    sys.exit("ModuleNotFoundError: No module named 'thrift'")
handles = iter(range(40, 50))
while True:
    print("RuntimeCmd: ", end="", flush=True)
    line = sys.stdin.readline().strip()
    if line == "end":
        break
    print("got", line)
    if line.startswith("table_add full"):
        print("Invalid table operation (TABLE_FULL)")
    elif line.startswith("bad"):
        print("*** Unknown syntax: bad")
    elif line.startswith("table_add"):
        print("Entry has been added with handle", next(handles))
    elif line.startswith("mc_node_create"):
        print("node was created with handle", next(handles))
    elif line.startswith("counter_read"):
        print("name[3]= (640 bytes, 10 packets)")
"""
COMMAND = [sys.executable, "-c", STAND_IN]


class Logged(SimpleSwitch):
    """Keeps the commands."""

    log: list[str]

    def run(self, command: str) -> str:
        self.log.append(command)
        return super().run(command)


@pytest.fixture
def switch() -> Iterator[Logged]:
    Logged.log = []
    with Logged(9090, COMMAND) as switch:
        assert switch.log == ["reset_state", "set_queue_depth 1024"]
        switch.log.clear()
        yield switch


def test_entries_are_found_again_by_their_key(switch: Logged) -> None:
    entry = Entry("table", (7, "10.0.0.0/8"), "action", (1, 2))
    switch.insert(entry)
    switch.modify(Entry("table", (7, "10.0.0.0/8"), "action", (3,)))
    switch.delete(entry)
    assert switch.log == [
        "table_add table action 7 10.0.0.0/8 => 1 2",
        "table_modify table action 40 3",
        "table_delete table 40",
    ]
    with pytest.raises(KeyError):
        switch.delete(entry)


def test_a_group_and_its_nodes(switch: Logged) -> None:
    switch.insert_group(3, [Replica(0, 1), Replica(1, 1)])
    switch.delete_group(3)
    assert switch.log == [
        "mc_mgrp_create 3",
        "mc_node_create 0 1",
        "mc_node_associate 3 40",
        "mc_node_create 1 1",
        "mc_node_associate 3 41",
        "mc_node_dissociate 3 40",
        "mc_node_destroy 40",
        "mc_node_dissociate 3 41",
        "mc_node_destroy 41",
        "mc_mgrp_destroy 3",
    ]


def test_a_counter_is_packets(switch: Logged) -> None:
    assert switch.read_counter("name", 3) == 10


def test_a_refusal_is_an_error_with_its_command(switch: Logged) -> None:
    with pytest.raises(
        SimpleSwitchError,
        match=r"^table_add full action 1 => : Invalid table operation \(TABLE_FULL\)$",
    ):
        switch.insert(Entry("full", (1,), "action"))
    with pytest.raises(SimpleSwitchError, match=r"^bad: \*\*\* Unknown syntax"):
        switch.run("bad")
    assert switch.read_counter("name", 3) == 10, "and it goes on"


def test_a_command_line_that_ends(switch: Logged) -> None:
    with pytest.raises(SimpleSwitchError, match=r"^end: "):
        switch.run("end")
    with pytest.raises(SimpleSwitchError, match=r"^reset_state: "):
        switch.reset()


def test_no_switch_at_that_port() -> None:
    with pytest.raises(SimpleSwitchError) as raised:
        SimpleSwitch(1, COMMAND)
    assert str(raised.value) == (
        "no switch answers at Thrift port 1: start simple_switch there, with our "
        "program (p4/README.md)"
    )


def test_a_command_line_that_does_not_start() -> None:
    with pytest.raises(
        SimpleSwitchError, match=r"starting: .* No module named 'thrift'"
    ):
        SimpleSwitch(2, COMMAND)
    with pytest.raises(
        FileNotFoundError, match="no-such-tool is not on PATH: it comes"
    ):
        SimpleSwitch(1, ["no-such-tool"])
