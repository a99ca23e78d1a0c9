"""The file of `intswitch controller`: what it means, every mistake by line and path."""

from pathlib import Path
from textwrap import dedent, indent

import pytest

from intswitch import p4_configuration, p4_program
from intswitch.p4_configuration import number_of_mac, read_controller
from intswitch.p4_program import CompilerError, Program, compile_program
from intswitch.yaml_model import FileError
from switch.config import JobConfig, TreePlace
from switch.p4_server import P4Runtime, Thrift
from switch.p4_tables import MAX_JOBS, NUM_SLOTS, SLOT_BYTES, Station
from switch.protocol import DEFAULT_PORT, Overflow, Rule

REST = """\
control: {address: 10.0.0.254}
stations:
  - {address: 10.0.0.1, mac: "02:00:00:00:00:01", port: 0}
  - {address: 10.0.0.2, mac: "02:00:00:00:00:02", port: 1}
"""
HEAD = """\
switch:
  address: 10.0.0.253
  mac: "02:00:00:00:01:fd"
"""
THRIFT = "thrift_port: 9090"
EXAMPLE = Path(__file__).parent.parent / "examples" / "controller.yaml"


class File:
    """The file of one test."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, text: str) -> Path:
        self.path.write_text(dedent(text))
        return self.path

    def with_switch(self, fields: str, rest: str = REST) -> Path:
        """A right file but for these fields of `switch`, which begin in line 4."""
        return self.write(HEAD + indent(dedent(fields).strip(), "  ") + "\n" + rest)

    def mistakes(self) -> list[str]:
        """What is wrong with it, without its name, by line."""
        with pytest.raises(FileError) as raised:
            read_controller(self.path)
        lines = str(raised.value).splitlines()
        assert all(line.startswith(f"{self.path}:") for line in lines)
        told = [line.removeprefix(f"{self.path}:") for line in lines]
        return sorted(told, key=lambda line: int(line.partition(":")[0]))


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "controller.yaml")


def test_every_field_by_thrift(file: File) -> None:
    jobs = 'jobs: [{job: 7, num_slots: 8, slot_bytes: 256, workers: ["10.0.0.1:5000"]}]'
    config = read_controller(
        file.with_switch(
            """\
            rule: switchml
            thrift_port: 9091
            loop: 5
            """,
            REST + jobs,
        )
    )
    assert config.connection == Thrift(9091)
    assert config.mac == 0x02_00_00_00_01_FD
    assert config.loop == 5
    assert config.control == ("10.0.0.254", DEFAULT_PORT)
    assert config.stations == {
        "10.0.0.1": Station(0x02_00_00_00_00_01, 0),
        "10.0.0.2": Station(0x02_00_00_00_00_02, 1),
    }
    switch = config.switch
    assert (switch.address, switch.port) == ("10.0.0.253", DEFAULT_PORT)
    assert (switch.num_slots, switch.slot_bytes) == (NUM_SLOTS, SLOT_BYTES)
    assert switch.rule == Rule.SWITCHML
    assert switch.jobs == (
        JobConfig(
            job=7, num_slots=8, slot_bytes=256, workers=(("10.0.0.1", 5000),),
            overflow=Overflow.DETECT,
        ),
    )  # fmt: skip


def test_defaults(file: File) -> None:
    config = read_controller(file.with_switch(THRIFT))
    assert config.loop is None
    assert config.switch.rule == Rule.SAFE
    assert config.switch.jobs == ()


def test_every_field_by_p4runtime(file: File) -> None:
    path = file.with_switch(
        """\
        p4runtime: 127.0.0.1:9559
        device_id: 3
        program: a.json
        p4info: a.p4info.txtpb
        """
    )
    assert read_controller(path).connection == P4Runtime(
        "127.0.0.1:9559", Path("a.json"), Path("a.p4info.txtpb"), device_id=3
    )


def test_a_program_that_is_not_given_is_compiled(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Program(Path("ours.json"), Path("ours.txtpb"))
    monkeypatch.setattr(p4_configuration, "compile_program", lambda: ours)
    assert read_controller(
        file.with_switch("p4runtime: 127.0.0.1:9559")
    ).connection == P4Runtime("127.0.0.1:9559", ours.json, ours.p4info, device_id=1)


def test_a_missing_compiler_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(p4_program, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(p4_program, "COMPILER", "no-p4c-of-this-name")
    with pytest.raises(CompilerError, match="no-p4c-of-this-name is not on PATH"):
        compile_program()


def test_the_example() -> None:
    config = read_controller(EXAMPLE)
    assert config.connection == Thrift(9090)
    assert "10.0.0.254" in config.stations, "the control plane has a port too"


def test_all_mistakes_at_once(file: File) -> None:
    file.write(
        """\
        switch:
          address: ten
          mac: "02:00"
          rule: fast
          thrift_port: 0
          p4runtime: 9559
          colour: red
        control:
          address: 10.0.0.254
          port: 65536
        stations:
          - {address: 10.0.0.1, mac: 2, port: 512}
          - address: "::1"
            mac: "02:00:00:00:00:0g"
        jobs:
          - {job: 0, slot_bytes: 256, workers: ["10.0.0.1:1"]}
        """
    )
    mac = "expected six bytes, as in 02:00:00:00:00:01; quote them"
    assert file.mistakes() == [
        "2: switch.address: expected an IPv4 address, as in 10.0.0.1 (found 'ten')",
        f"3: switch.mac: {mac} (found '02:00')",
        "4: switch.rule: expected 'safe' or 'switchml' (found 'fast')",
        "5: switch.thrift_port: expected an integer from 1 to 65535 (found 0)",
        "6: switch.p4runtime: expected ADDRESS:PORT, as in 127.0.0.1:9559 (found 9559)",
        f"6: {WHICH} both",
        "7: switch.colour: no such field; allowed: address, mac, rule, thrift_port,"
        " p4runtime, device_id, program, p4info, loop",
        "10: control.port: expected an integer from 0 to 65535 (found 65536)",
        f"12: stations.0.mac: {mac} (found 2)",
        "12: stations.0.port: expected an integer from 0 to 511 (found 512)",
        "13: stations.1.address: expected an IPv4 address, as in 10.0.0.1"
        " (found '::1')",
        "13: stations.1.port: is missing",
        f"14: stations.1.mac: {mac} (found '02:00:00:00:00:0g')",
        "16: jobs.0.job: expected an integer from 1 to 65535 (found 0)",
    ]


WHICH = (
    "switch.p4runtime: expected either thrift_port, of simple_switch, or p4runtime,"
    " of simple_switch_grpc; found"
)
BY_P4RUNTIME = "p4runtime: 127.0.0.1:9559"


@pytest.mark.parametrize(
    ("fields", "mistakes"),
    [
        ("rule: safe", [f"1: {WHICH} neither"]),
        (f"{THRIFT}\n{BY_P4RUNTIME}", [f"5: {WHICH} both"]),
        (
            f"{THRIFT}\ndevice_id: 1\nprogram: x.json\np4info: x.txtpb",
            [
                "5: switch.device_id: allowed beside p4runtime alone",
                "6: switch.program: allowed beside p4runtime alone",
                "7: switch.p4info: allowed beside p4runtime alone",
            ],
        ),
        (
            f"{BY_P4RUNTIME}\nprogram: x.json",
            ["5: switch.program: expected p4info beside it, from the same compilation"],
        ),
        (
            f"{BY_P4RUNTIME}\np4info: x.txtpb",
            ["5: switch.p4info: expected program beside it, from the same compilation"],
        ),
        (
            f"{BY_P4RUNTIME}\ndevice_id: 0",
            [
                "5: switch.device_id: expected an integer from 1 to"
                " 18446744073709551615 (found 0)"
            ],
        ),
    ],
)
def test_thrift_or_p4runtime(file: File, fields: str, mistakes: list[str]) -> None:
    file.with_switch(fields)
    assert file.mistakes() == mistakes


@pytest.mark.parametrize(
    "text", ["9559", ":9559", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "a:65536"]
)
def test_addresses_of_p4runtime(file: File, text: str) -> None:
    file.with_switch(f"p4runtime: '{text}'")
    assert file.mistakes() == [
        "4: switch.p4runtime: expected ADDRESS:PORT, as in 127.0.0.1:9559"
        f" (found '{text}')"
    ]


@pytest.mark.parametrize(
    ("field", "mistake"),
    [
        ("thrift_port: '9090'", "switch.thrift_port: expected an integer from 1"),
        ("loop: 512", "switch.loop: expected an integer from 0 to 511 (found 512)"),
        ("loop: -1", "switch.loop: expected an integer from 0 to 511 (found -1)"),
        ("program: 5", "switch.program: expected the path of a file (found 5)"),
    ],
)
def test_fields_of_the_switch(file: File, field: str, mistake: str) -> None:
    others = "" if "thrift" in field else THRIFT
    if "program" in field:
        others = f"p4info: x.txtpb\n{BY_P4RUNTIME}"
    file.with_switch(f"{field}\n{others}")
    [found] = file.mistakes()
    assert found.startswith("4: ")
    assert mistake in found


def test_hosts_are_told_apart(file: File) -> None:
    again = '  - {address: 10.0.0.1, mac: "02:00:00:00:00:02", port: 2}\n'
    file.with_switch(THRIFT, REST + again)
    assert file.mistakes() == [
        "9: stations.2.address: stations.0 has the same (found '10.0.0.1')",
        "9: stations.2.mac: stations.1 has the same (found '02:00:00:00:00:02')",
    ]


def test_ports_are_told_apart(file: File) -> None:
    again = """\
  - {address: 10.0.0.253, mac: "02:00:00:00:01:FD", port: 1}
  - {address: 10.0.0.4, mac: "02:00:00:00:00:04", port: 5}
"""
    file.with_switch(f"{THRIFT}\nloop: 5", REST + again)
    assert file.mistakes() == [
        "10: stations.2.address: switch.address is the same (found '10.0.0.253')",
        "10: stations.2.mac: switch.mac is the same (found '02:00:00:00:01:FD')",
        "10: stations.2.port: stations.1 has the same (found 1)",
        "11: stations.3.port: switch.loop is the same (found 5)",
    ]


def test_jobs_fit_the_switch(file: File) -> None:
    jobs = """\
        jobs:
          - job: 1
            num_slots: ALL
            slot_bytes: 256
            workers: ["10.0.0.1:1", "10.0.0.9:1", here]
          - {job: 1, slot_bytes: 2048, workers: ["10.0.0.1:1"]}
        """
    file.with_switch(THRIFT, REST + dedent(jobs.replace("ALL", str(NUM_SLOTS))))
    assert file.mistakes() == [
        "13: jobs.0.workers.2: expected ADDRESS:PORT, as in 127.0.0.1:5001 or"
        " [::1]:5001 (found 'here')",
        "13: jobs.0.workers.1: no station has this address (found '10.0.0.9:1')",
        "14: jobs.1.job: jobs.0 has this id (found 1)",
        f"14: jobs.1.num_slots: only 0 of the switch's {NUM_SLOTS} slots are left"
        " for job 1 (found 512)",
        "14: jobs.1.slot_bytes: expected at most 1280, the switch's slot_bytes"
        " (found 2048)",
        "14: jobs.1.slot_bytes: expected at most 512 where switch.loop is not given"
        " (found 2048)",
    ]


def test_wide_slots_take_a_loop(file: File) -> None:
    jobs = 'jobs: [{job: 1, slot_bytes: 1024, workers: ["10.0.0.1:1"]}]'
    [job] = read_controller(
        file.with_switch(f"{THRIFT}\nloop: 5", REST + jobs)
    ).switch.jobs
    assert job.slot_bytes == 1024


def test_code_tables(file: File) -> None:
    job = '{job: 1, slot_bytes: 256, workers: ["10.0.0.1:1"]'
    table = list(range(-8, 8))
    path = file.with_switch(THRIFT, REST + f"jobs: [{job}, code4: {table}}}]")
    assert read_controller(path).switch.jobs[0].code4 == tuple(table)
    table = list(range(256))
    path = file.with_switch(THRIFT, REST + f"jobs: [{job}, code8: {table}}}]")
    assert read_controller(path).switch.jobs[0].code8 == tuple(table)


TREE = """
jobs:
  - job: 7
    workers: ["10.0.0.1:5000", "10.0.0.2:48864"]
    slot_bytes: 256
    tree: {num_workers: 5, ranks: [0, [3, 1]], parent: PARENT}
"""


def test_a_place_in_a_tree(file: File) -> None:
    """The switches above and below are stations, too."""
    there = REST + TREE.replace("PARENT", "10.0.0.1:48864")
    [job] = read_controller(file.with_switch(THRIFT, there)).switch.jobs
    assert job.tree == TreePlace(
        num_workers=5, ranks=(0, (3, 1)), parent=("10.0.0.1", 48864)
    )
    file.with_switch(THRIFT, REST + TREE.replace("PARENT", "10.0.0.9:48864"))
    assert file.mistakes() == [
        "14: jobs.0.tree.parent: no station has this address (found '10.0.0.9:48864')"
    ]
    joined = there.replace("10.0.0.254", '10.0.0.254, parent: "10.0.0.7:48864"')
    config = read_controller(file.with_switch(THRIFT, joined)).switch
    assert config.parent == "10.0.0.7:48864"
    file.with_switch(f"{THRIFT}\nrule: switchml", there)
    assert file.mistakes() == ["15: jobs.0.tree: trees of switches take the rule safe"]


@pytest.mark.parametrize("part", ["switch", "control", "stations"])
def test_parts_that_must_be_there(file: File, part: str) -> None:
    whole = {
        "switch": '{address: 10.0.0.253, mac: "02:00:00:00:01:fd", thrift_port: 1}',
        "control": "{address: 10.0.0.254}",
        "stations": "[]",
    }
    parts = [f"{name}: {text}" for name, text in whole.items()]
    read_controller(file.write("\n".join(parts)))
    others = [text for text in parts if not text.startswith(part)]
    file.write("\n".join(others))
    assert file.mistakes() == [f"1: {part}: is missing"]
    file.write("\n".join([f"{part}: 5", *others]))
    [found] = file.mistakes()
    assert found.startswith(f"1: {part}: ")
    assert "(found 5)" in found


@pytest.mark.parametrize("text", ["", "# nothing\n", "- 1\n", "switch: [\n"])
def test_what_is_no_mapping(file: File, text: str) -> None:
    path = file.write(text)
    with pytest.raises(FileError, match=r"controller\.yaml"):
        read_controller(path)


def test_more_than_the_program_s_tables_hold(file: File) -> None:
    few = ", ".join(f'"10.0.0.1:{port}"' for port in range(1, 18))
    lines = [
        f"  - {{job: {number}, num_slots: 1, slot_bytes: 4, workers: [{few}]}}\n"
        for number in range(1, MAX_JOBS + 2)
    ]
    file.with_switch(THRIFT, REST + "jobs:\n" + "".join(lines))
    assert file.mistakes() == [
        "9: jobs: expected at most 4096 workers in all jobs, not 4352",
        f"{9 + MAX_JOBS + 1}: jobs.255: expected at most 255 jobs, not 256",
    ]
    file.with_switch(THRIFT, REST + "jobs:\n" + "".join(lines[:240]))
    assert len(read_controller(file.path).switch.jobs) == 240


def test_a_file_that_is_not_there(file: File) -> None:
    with pytest.raises(FileNotFoundError):
        read_controller(file.path)


def test_numbers_of_macs() -> None:
    assert number_of_mac("02:00:00:00:00:01") == 0x02_00_00_00_00_01
    for text in (
        "",
        "02:00:00:00:00",
        "2:0:0:0:0:1",
        "0_:0_:0_:0_:0_:01",
        "02-00-00-00-00-01",
    ):
        with pytest.raises(ValueError, match="expected six bytes"):
            number_of_mac(text)
