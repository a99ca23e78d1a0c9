"""BMv2's `simple_switch_grpc` over P4Runtime.

The numbers behind names come from the program's P4Info. Calls are gRPC's blocking ones:
whoever writes a table has to wait for the answer anyway.

P4Runtime cannot say how deep BMv2's queues are, nor has `simple_switch_grpc` an option
for it: a port holds 64 packets there. What goes beyond is lost, and sent again.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import grpc
from google.protobuf.text_format import ParseError

from switch.closing import Closing
from switch.p4_tables import Entry, Replica

try:
    from finsy.p4entity import (
        P4CounterEntry,
        P4MulticastGroupEntry,
        P4Replica,
        P4TableAction,
        P4TableEntry,
        P4TableMatch,
    )
    from finsy.p4schema import P4Schema
    from finsy.proto import p4r, p4r_grpc, rpc_code, rpc_status
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"P4Runtime needs the package {error.name}: pip install 'intswitch[bmv2]'",
        name=error.name,
    ) from error

TIMEOUT = 5.0  # seconds that the switch has for one answer
PUSH_TIMEOUT = 60.0  # ... to read a program
# The election is between controllers of one switch, and there is one: a second must
# not take the switch from the first.
ELECTION = p4r.Uint128(high=0, low=1)
OPTIONS = (
    # a switch is reached directly
    ("grpc.enable_http_proxy", 0),
    # a switch that starts late is found soon
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)
DETAILS = "grpc-status-details-bin"  # where gRPC puts a google.rpc.Status
CODES: dict[int, str] = {code: name for name, code in rpc_code.Code.items()}

Answer = TypeVar("Answer")


class P4RuntimeError(ValueError):
    """What the switch refused, or that it does not answer."""

    code: grpc.StatusCode | None = None


class P4Runtime(Closing):
    """The tables of one running switch. Empties it first."""

    def __init__(
        self,
        address: str,
        program: Path,
        p4info: Path,
        device_id: int = 1,
        timeout: float = TIMEOUT,
    ) -> None:
        """`address`: ADDRESS:PORT, or unix:PATH. `program`: BMv2's JSON."""
        self.address = address
        self._schema = _read_schema(program, p4info)
        self._device_id = device_id
        self._timeout = timeout
        self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self._stub = p4r_grpc.P4RuntimeStub(self._channel)
        self._requests: SimpleQueue[p4r.StreamMessageRequest | None] = SimpleQueue()
        try:
            self._stream = self._stub.StreamChannel(
                iter(self._requests.get, None), wait_for_ready=True
            )
            self._become_primary()
            self.reset()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leave the switch, which keeps running as it is."""
        self._requests.put(None)
        self._channel.close()

    def reset(self) -> None:
        """Load the program anew, which empties tables, counters and registers.

        Not so groups: the new program's would have the old ones' copies too, and the
        switch would say that there are none. So they go first.
        """
        for group in self._groups():
            self.delete_group(group)
        request = p4r.SetForwardingPipelineConfigRequest(
            device_id=self._device_id,
            election_id=ELECTION,
            action=p4r.SetForwardingPipelineConfigRequest.VERIFY_AND_COMMIT,
            config=self._schema.get_pipeline_config(),
        )
        load = self._stub.SetForwardingPipelineConfig
        what = f"loading the program into device {self._device_id}"
        self._await(what, lambda: load(request, timeout=PUSH_TIMEOUT))

    def _become_primary(self) -> None:
        """Only a primary may write, and it is one as long as its stream lives."""
        request = p4r.StreamMessageRequest()
        request.arbitration.device_id = self._device_id
        request.arbitration.election_id.CopyFrom(ELECTION)
        self._requests.put(request)
        # a deadline of gRPC's would end the stream, not the wait
        expiry = threading.Timer(self._timeout, self._stream.cancel)
        expiry.start()
        what = f"becoming the one controller of {self.address}"
        try:
            answer = self._await(what, lambda: next(iter(self._stream), None))
        finally:
            expiry.cancel()
        if answer is None or answer.arbitration.status.code != rpc_code.OK:
            raise P4RuntimeError(f"{what}: it has another one")

    def _await(self, what: str, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except grpc.RpcError as error:
            failure = P4RuntimeError(f"{what}: {self._reason(error)}")
            failure.code = error.code()
            raise failure from error

    def _reason(self, error: grpc.RpcError) -> str:
        """A silent switch, or what the switch says."""
        code = error.code()
        if code == grpc.StatusCode.CANCELLED:
            return f"no answer in {self._timeout:g} s from {self.address}"
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"no answer in time from {self.address}"
        if code == grpc.StatusCode.UNAVAILABLE:
            return f"no switch at {self.address} any more: {error.details()}"
        return "; ".join(_refused(error)) or f"{code.name}: {error.details()}"

    def _write(self, what: str, kind: p4r.Update.Type.ValueType, entity: Any) -> None:
        request = p4r.WriteRequest(
            device_id=self._device_id,
            election_id=ELECTION,
            updates=[p4r.Update(type=kind, entity=entity)],
        )
        self._await(what, lambda: self._stub.Write(request, timeout=self._timeout))

    def _write_entry(
        self, verb: str, kind: p4r.Update.Type.ValueType, entry: Entry
    ) -> None:
        key = " ".join(map(str, entry.key))
        self._write(f"{verb} {entry.table} {key}", kind, entity_of(self._schema, entry))

    def _read(self, what: str, pattern: p4r.Entity) -> list[p4r.Entity]:
        request = p4r.ReadRequest(device_id=self._device_id, entities=[pattern])
        read = self._stub.Read
        answers = self._await(what, lambda: list(read(request, timeout=self._timeout)))
        return [entity for answer in answers for entity in answer.entities]

    def _groups(self) -> list[int]:
        """Numbers of multicast groups."""
        every = P4MulticastGroupEntry().encode(self._schema)
        try:
            found = self._read("reading multicast groups", every)
        except P4RuntimeError as error:
            if error.code is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
            return []  # the switch has no program yet
        groups = [entity.packet_replication_engine_entry for entity in found]
        return [group.multicast_group_entry.multicast_group_id for group in groups]

    # switch.p4_tables.Tables

    def insert(self, entry: Entry) -> None:
        self._write_entry("insert", p4r.Update.INSERT, entry)

    def modify(self, entry: Entry) -> None:
        self._write_entry("modify", p4r.Update.MODIFY, entry)

    def delete(self, entry: Entry) -> None:
        self._write_entry("delete", p4r.Update.DELETE, entry)

    def insert_group(self, group: int, replicas: Sequence[Replica]) -> None:
        copies = [P4Replica(each.port, instance=each.instance) for each in replicas]
        entry = P4MulticastGroupEntry(group, replicas=copies)
        what = f"insert multicast group {group}"
        self._write(what, p4r.Update.INSERT, entry.encode(self._schema))

    def delete_group(self, group: int) -> None:
        entry = P4MulticastGroupEntry(group).encode(self._schema)
        self._write(f"delete multicast group {group}", p4r.Update.DELETE, entry)

    def read_counter(self, name: str, index: int) -> int:
        what = f"counter {name} at {index}"
        entity = P4CounterEntry(name, index=index).encode(self._schema)
        found = self._read(what, entity)
        if len(found) != 1:
            raise P4RuntimeError(f"{what}: the switch returned {len(found)} values")
        return int(found[0].counter_entry.data.packet_count)


def _read_schema(program: Path, p4info: Path) -> P4Schema:
    try:
        return P4Schema(p4info, program)
    except ParseError as error:
        raise ValueError(f"{p4info} is no P4Info in text: {error}") from error


def entity_of(schema: P4Schema, entry: Entry) -> p4r.Entity:
    """An entry in the program's numbers. Raises ValueError if it has no such names."""
    key = schema.tables[entry.table].match_fields
    parameters = schema.actions[entry.action].params
    return P4TableEntry(
        entry.table,
        match=P4TableMatch(_named(entry.table, key, entry.key)),
        action=P4TableAction(
            entry.action, **_named(entry.action, parameters, entry.parameters)
        ),
    ).encode(schema)


def _named(whose: str, fields: Any, values: Sequence[int | str]) -> dict[str, Any]:
    """Values in the order of the fields -> by name."""
    names = [field.name for field in fields]
    if len(names) != len(values):
        takes = ", ".join(names) or "nothing"
        raise ValueError(f"{whose} takes {takes}; {len(values)} values were given")
    return dict(zip(names, values, strict=True))


def _refused(error: grpc.RpcError) -> list[str]:
    """P4Runtime's reason for every update of a write that failed."""
    reasons = []
    for item in error.trailing_metadata() or ():
        if item.key == DETAILS:
            for detail in rpc_status.Status.FromString(item.value).details:
                reason = p4r.Error.FromString(detail.value)
                if reason.canonical_code != rpc_code.OK:
                    code = CODES.get(reason.canonical_code, "?")
                    reasons.append(f"{code}: {reason.message}".removesuffix(": "))
    return reasons
