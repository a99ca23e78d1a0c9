"""BMv2's `simple_switch` over its Thrift interface, by way of `simple_switch_CLI`.

The command line tool comes with BMv2 and with the Python that has its Thrift classes;
it is kept running, one command at a time.
"""

import re
import subprocess
from collections.abc import Sequence

from switch.closing import Closing
from switch.p4_tables import Entry, Replica

CLI = "simple_switch_CLI"
PROMPT = b"RuntimeCmd: "
FAILED = re.compile(r"^(Error|Invalid|\*\*\*).*", re.MULTILINE)
UNCONNECTED = "Could not connect"
QUEUE_DEPTH = 1024  # packets; BMv2's own 64 lose replies while registers change


class SimpleSwitchError(ValueError):
    """A command that the switch or its command line refused."""


class SimpleSwitch(Closing):
    """The tables of one running switch. Empties it first."""

    def __init__(self, thrift_port: int, command: Sequence[str] = (CLI,)) -> None:
        """`command`: how to start the tool, say in another network namespace."""
        self._process = _start([*command, "--thrift-port", str(thrift_port)])
        self._handles: dict[tuple[str, tuple[int | str, ...]], int] = {}
        self._nodes: dict[int, list[int]] = {}
        try:
            self._greet(thrift_port)
            self.reset()
            self.run(f"set_queue_depth {QUEUE_DEPTH}")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the command line; the switch keeps running."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def reset(self) -> None:
        """Empty tables, groups, counters and registers."""
        self.run("reset_state")
        self._handles.clear()
        self._nodes.clear()

    def run(self, command: str) -> str:
        """What one command prints. SimpleSwitchError if it fails."""
        assert self._process.stdin
        try:
            self._process.stdin.write(command.encode() + b"\n")
        except BrokenPipeError as error:
            raise SimpleSwitchError(f"{command}: {CLI} has ended") from error
        answer = self._answer(command)
        failure = FAILED.search(answer)
        if failure:
            raise SimpleSwitchError(f"{command}: {failure[0]}")
        return answer

    def _greet(self, thrift_port: int) -> None:
        try:
            self._answer("starting")
        except SimpleSwitchError as error:
            if UNCONNECTED not in str(error):
                raise
            raise SimpleSwitchError(
                f"no switch answers at Thrift port {thrift_port}: start simple_switch "
                "there, with our program (p4/README.md)"
            ) from None

    def _answer(self, command: str) -> str:
        """Everything up to the next prompt."""
        assert self._process.stdout
        answer = b""
        while not answer.endswith(PROMPT):
            more = self._process.stdout.read(1 << 16)
            if not more:
                raise SimpleSwitchError(f"{command}: {answer.decode().strip()}")
            answer += more
        return answer.removesuffix(PROMPT).decode()

    def _number(self, command: str, pattern: str) -> int:
        answer = self.run(command)
        found = re.search(pattern, answer)
        if not found:
            raise SimpleSwitchError(f"{command}: {answer.strip()}")
        return int(found[1])

    # switch.p4_tables.Tables

    def insert(self, entry: Entry) -> None:
        key, parameters = _words(entry.key), _words(entry.parameters)
        command = f"table_add {entry.table} {entry.action} {key} => {parameters}"
        handle = self._number(command, r"handle (\d+)")
        self._handles[entry.table, entry.key] = handle

    def modify(self, entry: Entry) -> None:
        handle = self._handles[entry.table, entry.key]
        parameters = _words(entry.parameters)
        self.run(f"table_modify {entry.table} {entry.action} {handle} {parameters}")

    def delete(self, entry: Entry) -> None:
        handle = self._handles[entry.table, entry.key]
        self.run(f"table_delete {entry.table} {handle}")
        del self._handles[entry.table, entry.key]

    def insert_group(self, group: int, replicas: Sequence[Replica]) -> None:
        self.run(f"mc_mgrp_create {group}")
        nodes = self._nodes[group] = []
        for replica in replicas:
            command = f"mc_node_create {replica.instance} {replica.port}"
            node = self._number(command, r"handle (\d+)")
            nodes.append(node)
            self.run(f"mc_node_associate {group} {node}")

    def delete_group(self, group: int) -> None:
        for node in self._nodes.pop(group):
            self.run(f"mc_node_dissociate {group} {node}")
            self.run(f"mc_node_destroy {node}")
        self.run(f"mc_mgrp_destroy {group}")

    def read_counter(self, name: str, index: int) -> int:
        return self._number(f"counter_read {name} {index}", r"(\d+) packets")


def _start(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{command[0]} is not on PATH: it comes with BMv2 (p4/README.md)"
        ) from None


def _words(numbers: Sequence[int | str]) -> str:
    return " ".join(str(number) for number in numbers)
