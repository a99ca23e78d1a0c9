from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Overflow(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WRAP: _ClassVar[Overflow]
    SATURATE: _ClassVar[Overflow]
    DETECT: _ClassVar[Overflow]
WRAP: Overflow
SATURATE: Overflow
DETECT: Overflow

class DataAddress(_message.Message):
    __slots__ = ("address", "port")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    address: str
    port: int
    def __init__(self, address: _Optional[str] = ..., port: _Optional[int] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("job", "rank", "num_workers", "data", "format", "num_slots", "slot_bytes", "overflow", "timeout", "multicast", "code4", "code8", "via", "straggler_timeout")
    JOB_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    NUM_WORKERS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    NUM_SLOTS_FIELD_NUMBER: _ClassVar[int]
    SLOT_BYTES_FIELD_NUMBER: _ClassVar[int]
    OVERFLOW_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MULTICAST_FIELD_NUMBER: _ClassVar[int]
    CODE4_FIELD_NUMBER: _ClassVar[int]
    CODE8_FIELD_NUMBER: _ClassVar[int]
    VIA_FIELD_NUMBER: _ClassVar[int]
    STRAGGLER_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    job: str
    rank: int
    num_workers: int
    data: DataAddress
    format: int
    num_slots: int
    slot_bytes: int
    overflow: Overflow
    timeout: float
    multicast: bool
    code4: _containers.RepeatedScalarFieldContainer[int]
    code8: _containers.RepeatedScalarFieldContainer[int]
    via: _containers.RepeatedCompositeFieldContainer[DataAddress]
    straggler_timeout: float
    def __init__(self, job: _Optional[str] = ..., rank: _Optional[int] = ..., num_workers: _Optional[int] = ..., data: _Optional[_Union[DataAddress, _Mapping]] = ..., format: _Optional[int] = ..., num_slots: _Optional[int] = ..., slot_bytes: _Optional[int] = ..., overflow: _Optional[_Union[Overflow, str]] = ..., timeout: _Optional[float] = ..., multicast: _Optional[bool] = ..., code4: _Optional[_Iterable[int]] = ..., code8: _Optional[_Iterable[int]] = ..., via: _Optional[_Iterable[_Union[DataAddress, _Mapping]]] = ..., straggler_timeout: _Optional[float] = ...) -> None: ...

class JoinEvent(_message.Message):
    __slots__ = ("joined", "refused", "death", "left", "closing")
    JOINED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    DEATH_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    joined: Joined
    refused: Refused
    death: Gone
    left: Gone
    closing: Closing
    def __init__(self, joined: _Optional[_Union[Joined, _Mapping]] = ..., refused: _Optional[_Union[Refused, _Mapping]] = ..., death: _Optional[_Union[Gone, _Mapping]] = ..., left: _Optional[_Union[Gone, _Mapping]] = ..., closing: _Optional[_Union[Closing, _Mapping]] = ...) -> None: ...

class Joined(_message.Message):
    __slots__ = ("member", "job", "data", "window", "workers", "group", "places", "children", "is_below")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    IS_BELOW_FIELD_NUMBER: _ClassVar[int]
    member: int
    job: int
    data: DataAddress
    window: int
    workers: _containers.RepeatedCompositeFieldContainer[DataAddress]
    group: DataAddress
    places: _containers.RepeatedCompositeFieldContainer[Place]
    children: _containers.RepeatedCompositeFieldContainer[Child]
    is_below: bool
    def __init__(self, member: _Optional[int] = ..., job: _Optional[int] = ..., data: _Optional[_Union[DataAddress, _Mapping]] = ..., window: _Optional[int] = ..., workers: _Optional[_Iterable[_Union[DataAddress, _Mapping]]] = ..., group: _Optional[_Union[DataAddress, _Mapping]] = ..., places: _Optional[_Iterable[_Union[Place, _Mapping]]] = ..., children: _Optional[_Iterable[_Union[Child, _Mapping]]] = ..., is_below: _Optional[bool] = ...) -> None: ...

class Place(_message.Message):
    __slots__ = ("children", "straggler_timeout")
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    STRAGGLER_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    children: _containers.RepeatedCompositeFieldContainer[Child]
    straggler_timeout: float
    def __init__(self, children: _Optional[_Iterable[_Union[Child, _Mapping]]] = ..., straggler_timeout: _Optional[float] = ...) -> None: ...

class Child(_message.Message):
    __slots__ = ("data", "ranks", "is_switch")
    DATA_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    IS_SWITCH_FIELD_NUMBER: _ClassVar[int]
    data: DataAddress
    ranks: _containers.RepeatedScalarFieldContainer[int]
    is_switch: bool
    def __init__(self, data: _Optional[_Union[DataAddress, _Mapping]] = ..., ranks: _Optional[_Iterable[int]] = ..., is_switch: _Optional[bool] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("reason", "timed_out")
    REASON_FIELD_NUMBER: _ClassVar[int]
    TIMED_OUT_FIELD_NUMBER: _ClassVar[int]
    reason: str
    timed_out: bool
    def __init__(self, reason: _Optional[str] = ..., timed_out: _Optional[bool] = ...) -> None: ...

class Gone(_message.Message):
    __slots__ = ("ranks", "text")
    RANKS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ranks: _containers.RepeatedScalarFieldContainer[int]
    text: str
    def __init__(self, ranks: _Optional[_Iterable[int]] = ..., text: _Optional[str] = ...) -> None: ...

class Closing(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LeaveRequest(_message.Message):
    __slots__ = ("member",)
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    member: int
    def __init__(self, member: _Optional[int] = ...) -> None: ...

class LeaveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResetRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: int
    def __init__(self, job: _Optional[int] = ...) -> None: ...

class ResetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CountersRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: int
    def __init__(self, job: _Optional[int] = ...) -> None: ...

class CountersResponse(_message.Message):
    __slots__ = ("counters", "lateness")
    class CountersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    LATENESS_FIELD_NUMBER: _ClassVar[int]
    counters: _containers.ScalarMap[str, int]
    lateness: _containers.RepeatedCompositeFieldContainer[Lateness]
    def __init__(self, counters: _Optional[_Mapping[str, int]] = ..., lateness: _Optional[_Iterable[_Union[Lateness, _Mapping]]] = ...) -> None: ...

class Lateness(_message.Message):
    __slots__ = ("ranks", "last", "seconds", "missed")
    RANKS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    MISSED_FIELD_NUMBER: _ClassVar[int]
    ranks: _containers.RepeatedScalarFieldContainer[int]
    last: int
    seconds: float
    missed: int
    def __init__(self, ranks: _Optional[_Iterable[int]] = ..., last: _Optional[int] = ..., seconds: _Optional[float] = ..., missed: _Optional[int] = ...) -> None: ...

class PingRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PingResponse(_message.Message):
    __slots__ = ("format",)
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    format: int
    def __init__(self, format: _Optional[int] = ...) -> None: ...
