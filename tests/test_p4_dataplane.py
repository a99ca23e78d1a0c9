"""Jobs on a P4 switch, without one: what is written into its tables, and when."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from switch import p4_tables
from switch.codes import NO_TABLE, TABLE_SIZES
from switch.config import JobConfig, SwitchConfig, TreePlace
from switch.p4_dataplane import P4Dataplane
from switch.p4_tables import COUNTERS, Entry, Replica, Station
from switch.pipeline import MAX_JOBS, Pipeline
from switch.ports import COUNTED
from switch.protocol import DEFAULT_PORT, ElementType, Overflow, Rule
from switch.slots import FIRST_DROP, NUM_VERDICTS

P4 = Path(__file__).parent.parent / "p4"
STATIONS = {f"10.0.0.{host}": Station(mac=0x10 + host, port=host) for host in range(4)}
CODES = f"{p4_tables.ADMISSION}.codes"
CODES8 = f"{p4_tables.LOOK_UP8}.codes8"
JOBS, CHILDREN = f"{p4_tables.ADMISSION}.jobs", f"{p4_tables.ADMISSION}.children"
PARENTS = f"{p4_tables.ADMISSION}.parents"
RANKS = f"{p4_tables.REPLY}.ranks"
RECEIVERS = f"{p4_tables.REPLICATE}.receivers"


class FakeTables:
    """Keeps what is written, and a log of it."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, tuple[int | str, ...]], Entry] = {}
        self.groups: dict[int, list[Replica]] = {}
        self.counts: Counter[tuple[str, int]] = Counter()
        self.log: list[str] = []

    def reset(self) -> None:
        self.entries.clear()
        self.groups.clear()
        self.counts.clear()
        self.log.append("reset")

    def insert(self, entry: Entry) -> None:
        assert (entry.table, entry.key) not in self.entries
        self.entries[entry.table, entry.key] = entry
        self.log.append(f"insert {entry.table}")

    def modify(self, entry: Entry) -> None:
        assert (entry.table, entry.key) in self.entries
        self.entries[entry.table, entry.key] = entry
        self.log.append(f"modify {entry.table}")

    def delete(self, entry: Entry) -> None:
        del self.entries[entry.table, entry.key]
        self.log.append(f"delete {entry.table}")

    def insert_group(self, group: int, replicas: Sequence[Replica]) -> None:
        assert group not in self.groups
        self.groups[group] = list(replicas)

    def delete_group(self, group: int) -> None:
        del self.groups[group]

    def read_counter(self, name: str, index: int) -> int:
        return self.counts[name, index]

    def count(self, name: str, row: int, times: int) -> None:
        """As if packets had been counted in the row of a job."""
        array, places = COUNTERS[name]
        self.counts[array, row * p4_tables.COUNTERS_PER_JOB + places[0]] += times


def job_of(number: int, num_slots: int = 2, **fields: object) -> JobConfig:
    workers = (("10.0.0.1", 5000), ("10.0.0.2", 5001))
    return JobConfig(
        **{"job": number, "workers": workers, "num_slots": num_slots}
        | {"slot_bytes": 256, "overflow": Overflow.SATURATE}
        | fields
    )


def dataplane(
    tables: FakeTables, num_slots: int = 8, loop: int | None = None, **fields: object
) -> P4Dataplane:
    config = SwitchConfig(**{"num_slots": num_slots, "rule": Rule.SWITCHML} | fields)
    return P4Dataplane(tables, config, STATIONS, loop)


def test_a_job_in_the_tables() -> None:
    tables = FakeTables()
    switch = dataplane(tables)
    switch.install(job_of(9, num_slots=4))
    switch.install(job_of(7))
    assert tables.entries[JOBS, (7,)] == Entry(
        JOBS,
        (7,),
        f"{p4_tables.ADMISSION}.set_job",
        (
            *(2, 8, 2, 256, 2, 2, Overflow.SATURATE, Rule.SWITCHML, 2, 2, 0),
            *(NO_TABLE, p4_tables.NO_PORT, 0),
        ),
    )
    second = p4_tables.number_of("10.0.0.2")
    key = (7, 1, second, 5001)
    assert tables.entries[CHILDREN, key].parameters == (1, 0b10, 1, 2)
    assert tables.entries[RECEIVERS, (2, 1)].parameters == (0x12, second, 5001)
    assert tables.groups[2] == [Replica(0, 1), Replica(1, 2)]


def test_a_job_in_a_tree() -> None:
    """A worker, and a switch that leads to three others, below another switch."""
    tables = FakeTables()
    place = TreePlace(num_workers=6, ranks=(1, (0, 2, 5)), parent=("10.0.0.3", 48864))
    switch = dataplane(tables, rule=Rule.SAFE)
    switch.install(job_of(7, tree=place))
    job = tables.entries[JOBS, (7,)].parameters
    assert (job[4], job[5], job[12]) == (6, 4, 3), "all, those below, the parent's port"
    assert job[13] == 1, "it has a switch below it"
    first, second, parent = (p4_tables.number_of(f"10.0.0.{n}") for n in (1, 2, 3))
    assert {
        key: entry.parameters
        for (table, key), entry in tables.entries.items()
        if table == CHILDREN
    } == {(7, 1, first, 5000): (0, 1, 1, 1), (7, 3, second, 5001): (1, 2, 3, 2)}
    assert tables.entries[PARENTS, (7, parent, 48864)].parameters == ()
    key = (1, p4_tables.PARENT)
    assert tables.entries[RECEIVERS, key].parameters == (0x13, parent, 48864)
    for rank, child in {1: 0, 0: 1, 2: 1, 5: 1}.items():
        assert tables.entries[RANKS, (7, rank)].parameters == (child,)
    assert tables.groups[1] == [Replica(0, 1), Replica(1, 2)]
    switch.remove(7)
    assert tables.entries == {}


def test_trees_that_the_program_cannot_serve() -> None:
    switch = dataplane(FakeTables(), rule=Rule.SAFE)
    root = TreePlace(num_workers=16385, ranks=(0, tuple(range(1, 16385))))
    with pytest.raises(ValueError, match="job 7: 16385 ranks, but the P4 program's"):
        switch.install(job_of(7, tree=root))
    for ranks, parent, message in (
        ((0, 1), None, "no child of the root leads to rank 2"),
        ((0, 1), ("10.9.9.9", 48864), "no port leads to 10.9.9.9"),
    ):
        place = TreePlace(num_workers=3, ranks=ranks, parent=parent)
        with pytest.raises(ValueError, match=f"job 7: {message}"):
            switch.install(job_of(7, tree=place))


@pytest.mark.parametrize(
    ("largest", "lanes"),
    [(63, (0, 1, 2)), (64, (1, 2)), (16383, (1, 2)), (16384, (2,))],
)
def test_code_tables_for_the_result_types_that_their_sums_fit(
    largest: int, lanes: tuple[int, ...]
) -> None:
    tables = FakeTables()
    table = (largest, -largest, 0, -1, *range(12))
    switch = dataplane(tables, jobs=(job_of(9, code4=table),))
    found = {key for name, key in tables.entries if name == CODES}
    assert found == {(9, lane) for lane in lanes}
    for lane in lanes:
        width = 1 << lane
        words = tables.entries[CODES, (9, lane)].parameters
        assert len(words) == 16
        for word, entry in zip(words, table, strict=True):
            block = word.to_bytes(p4_tables.BLOCK_BYTES, "big")
            assert block == entry.to_bytes(width, "big", signed=True) * (256 // width)
    assert tables.log[-1] == f"insert {JOBS}"
    switch.remove(9)
    assert tables.entries == {}


def test_a_table_of_256_comes_in_parts() -> None:
    tables = FakeTables()
    table = (*range(-128, 127), 16384)
    switch = dataplane(tables, jobs=(job_of(9, code8=table),))
    parts = [tables.entries[CODES8, (9, part)].parameters for part in range(16)]
    entries = [entry for part in parts for entry in part]
    assert entries == [entry & 0xFFFFFFFF for entry in table]
    assert tables.entries[JOBS, (9,)].parameters[11] == ElementType.INT32
    assert tables.log[-1] == f"insert {JOBS}"
    switch.remove(9)
    assert tables.entries == {}


def test_tables_that_the_program_cannot_serve() -> None:
    switch = dataplane(FakeTables())
    for name, size in TABLE_SIZES.items():
        objection = f"job 7: {name}: 2 workers times the largest"
        with pytest.raises(ValueError, match=objection):
            switch.install(job_of(7, **{name: (2**30, *[0] * (size - 1))}))


def test_the_jobs_entry_comes_last_and_goes_first() -> None:
    tables = FakeTables()
    switch = dataplane(tables)
    switch.install(job_of(7))
    assert tables.log[-1] == f"insert {JOBS}"
    tables.log.clear()
    switch.remove(7)
    assert tables.log[0] == f"delete {JOBS}"
    assert (tables.entries, tables.groups) == ({}, {})


def test_a_reset_is_a_new_epoch() -> None:
    tables = FakeTables()
    switch = dataplane(tables)
    switch.install(job_of(7))
    before = tables.entries[JOBS, (7,)].parameters
    switch.reset(7)
    assert tables.log[-1] == f"modify {JOBS}"
    after = tables.entries[JOBS, (7,)].parameters
    assert before[:9] == after[:9]
    assert (before[9], after[9]) == (1, 2)
    switch.remove(7)
    switch.install(job_of(7))
    assert tables.entries[JOBS, (7,)].parameters[9] == 3


def test_counters_of_a_job_and_of_all() -> None:
    tables = FakeTables()
    switch = dataplane(tables, jobs=(job_of(7), job_of(8)))
    tables.count("stale", row=0, times=1)
    tables.count("stale", row=1, times=10)
    tables.count("stale", row=2, times=100)
    tables.count("copies", row=2, times=5)
    assert switch.counters(7)["stale"] == 10
    assert switch.counters()["stale"] == 111
    assert switch.counters(8) == {
        **dict.fromkeys(COUNTERS, 0),
        "stale": 100,
        "copies": 5,
    }


def test_the_next_job_of_a_row_counts_from_0() -> None:
    tables = FakeTables()
    switch = dataplane(tables, jobs=(job_of(7),))
    tables.count("accepted", row=1, times=10)
    switch.remove(7)
    switch.install(job_of(8))
    tables.count("accepted", row=1, times=1)
    assert switch.counters(8)["accepted"] == 1
    assert switch.counters()["accepted"] == 11


def test_slots_run_out_and_come_back() -> None:
    switch = dataplane(FakeTables(), num_slots=4)
    switch.install(job_of(1))
    switch.install(job_of(2))
    with pytest.raises(ValueError, match="1 slots asked for, but of the"):
        switch.install(job_of(3, num_slots=1))
    switch.remove(1)
    switch.install(job_of(3))


def test_jobs_run_out() -> None:
    switch = dataplane(FakeTables(), num_slots=MAX_JOBS + 1)
    for number in range(1, MAX_JOBS + 1):
        switch.install(job_of(number, num_slots=1))
    with pytest.raises(ValueError, match=f"at most {MAX_JOBS} jobs"):
        switch.install(job_of(MAX_JOBS + 1, num_slots=1))


def test_places_for_workers_run_out() -> None:
    switch = dataplane(FakeTables(), num_slots=128)
    many = tuple(("10.0.0.1", port) for port in range(64))
    for number in range(1, 65):
        switch.install(job_of(number, num_slots=1, workers=many))
    with pytest.raises(ValueError, match=r"2 workers and switches, but .* room for 0"):
        switch.install(job_of(65, num_slots=1))
    switch.remove(1)
    switch.install(job_of(65, num_slots=1))


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (job_of(1), "job 1 exists already"),
        (job_of(2, slot_bytes=1408), "slot_bytes 1408 is more than the P4 program's"),
        (
            job_of(2, tree=TreePlace(num_workers=2, ranks=(0, 1))),
            "job 2: trees of switches take the rule safe",
        ),
        (job_of(2, slot_bytes=516), "more than 512, which takes two ports wired to"),
        (job_of(2, workers=(("10.9.9.9", 1),)), "no port leads to 10.9.9.9"),
    ],
)
def test_what_the_switch_cannot_serve_is_refused(job: JobConfig, message: str) -> None:
    tables = FakeTables()
    switch = dataplane(tables, jobs=(job_of(1),))
    before = list(tables.log)
    with pytest.raises(ValueError, match=message):
        switch.install(job)
    assert tables.log == before


def test_wide_slots_with_a_loop() -> None:
    tables = FakeTables()
    dataplane(tables, loop=6, jobs=(job_of(1, slot_bytes=1280),))
    assert tables.entries[JOBS, (1,)].parameters[10] == 6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_slots": 65536}, "num_slots 65536 is more than the P4 program's 32768"),
        (
            {"port": 5},
            f"port 5: the P4 program takes packets at UDP port {DEFAULT_PORT}",
        ),
    ],
)
def test_what_the_program_is_not_compiled_for(
    fields: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dataplane(FakeTables(), **fields)


@pytest.mark.parametrize("call", ["remove", "reset", "counters"])
def test_an_unknown_job_is_an_error_that_names_the_known_ones(call: str) -> None:
    switch = dataplane(FakeTables(), jobs=(job_of(1),))
    with pytest.raises(ValueError, match=r"job 2 does not exist.* jobs: 1"):
        getattr(switch, call)(2)


# The same numbers stand in the P4 files.


def number_in(file: str, pattern: str) -> int:
    found = re.search(pattern, (P4 / file).read_text())
    assert found, pattern
    return int(found[1], 0)


def test_sizes_are_those_of_the_program() -> None:
    assert number_in("sizes.p4", r"SLOT_BYTES = (\d+);") == p4_tables.SLOT_BYTES
    assert number_in("sizes.p4", r"BLOCK_BYTES = (\d+);") == p4_tables.BLOCK_BYTES
    assert number_in("sizes.p4", r"#define NUM_SLOTS (\d+)") == p4_tables.NUM_SLOTS
    assert number_in("sizes.p4", r"#define NUM_JOBS (\d+)") == p4_tables.MAX_JOBS
    bindings = number_in("sizes.p4", r"#define NUM_BINDINGS (\d+)")
    assert bindings == p4_tables.NUM_BINDINGS
    ranks = number_in("sizes.p4", r"#define NUM_RANKS (\d+)")
    assert ranks == p4_tables.NUM_RANKS
    assert number_in("sizes.p4", r"#define SWITCH_PORT (\d+)") == DEFAULT_PORT
    per_job = number_in("sizes.p4", r"COUNTERS_PER_JOB = (\d+);")
    assert per_job == p4_tables.COUNTERS_PER_JOB
    assert (
        number_in("sizes.p4", r"GROWTH = (\d+);") == p4_tables.SLOT_BYTES_WITHOUT_LOOP
    )


def test_verdicts_are_those_of_the_program() -> None:
    text = (P4 / "headers.p4").read_text()
    verdicts = re.search(r"enum bit<5> verdict_t \{(.*?)\}", text, re.DOTALL)
    assert verdicts
    names = dict(re.findall(r"(\w+) = (\d+)", verdicts[1]))
    # the program has no clock: not the verdicts on who is late, and who is passed by
    assert int(names["MALFORMED"]) == FIRST_DROP - 2 == p4_tables.FIRST_DROP
    assert int(names["RESULTS"]) == NUM_VERDICTS - 2
    for name, (_, places) in COUNTERS.items():
        expected = {
            "accepted": ("TAKE_OVER", "REDUCE", "START_AGAIN", "FINISH"),
            "replays": ("REPLAY", "SEND_UP"),
            "statuses": ("ANSWER",),
            "opcode": ("WRONG_OPCODE",),
        }.get(name, (name.upper(),))
        assert tuple(int(names[verdict]) for verdict in expected) == places


def test_counters_are_named_as_the_emulators() -> None:
    names = list(Pipeline(SwitchConfig(num_slots=1)).counters())
    ports = [f"{what}_{way}" for way in ("in", "out") for what in COUNTED.values()]
    shared = names[: -len(ports)]
    assert list(COUNTERS) == [*shared, "damaged"]
    assert names[-len(ports) :] == ports
