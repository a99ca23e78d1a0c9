"""The switch's YAML file: what it means, and every mistake by line and path."""

import socket
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from intswitch.configuration import read_switch, resolve_worker
from intswitch.yaml_model import FileError
from switch.config import (
    FaultConfig,
    JobConfig,
    LinkEnd,
    LinkFaults,
    SwitchConfig,
    TreePlace,
)
from switch.protocol import Overflow, Rule

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str) -> Path:
        path = tmp_path / "switch.yaml"
        path.write_text(dedent(text))
        return path

    return to_file


def mistakes(path: Path) -> list[str]:
    """What is wrong with the file, without its name, by line."""
    with pytest.raises(FileError) as raised:
        read_switch(path)
    lines = str(raised.value).splitlines()
    assert all(line.startswith(f"{path}:") for line in lines)
    told = [line.removeprefix(f"{path}:") for line in lines]
    return sorted(told, key=lambda line: int(line.partition(":")[0]))


def test_the_example(write: Write) -> None:
    path = write(
        """\
        switch:
          address: 127.0.0.1
          port: 48864
          rule: switchml
        jobs:
          - job: 7
            num_slots: 8
            slot_bytes: 256
            overflow: wrap
            workers: [127.0.0.1:5001, 127.0.0.1:5002]
        """
    )
    job = JobConfig(
        job=7,
        num_slots=8,
        slot_bytes=256,
        overflow=Overflow.WRAP,
        workers=(("127.0.0.1", 5001), ("127.0.0.1", 5002)),
    )
    assert read_switch(path) == SwitchConfig(rule=Rule.SWITCHML, jobs=(job,))


def test_defaults_are_those_of_the_switch(write: Write) -> None:
    assert read_switch(write("switch: {}")) == SwitchConfig()
    [job] = read_switch(write("jobs: [{job: 1, workers: [127.0.0.1:1]}]")).jobs
    assert job == JobConfig(job=1, workers=(("127.0.0.1", 1),))


def test_every_field(write: Write) -> None:
    path = write(
        """\
        switch: {address: "::1", port: 0, rule: safe, num_slots: 100, slot_bytes: 8000}
        faults: {inward: {loss: 0.25}, outward: {loss: 1}, seed: 3,
                 links: {"::1": {inward: {delay: 1 ms, flipped_bits: 2}}}}
        jobs:
          - {job: 65535, num_slots: 64, slot_bytes: 8000, overflow: saturate,
             workers: ["[::1]:1", "[0:0::1]:65535"],
             code4: [0, 1, 2, 3, 4, 5, 6, 7, -1, -2, -3, -4, -5, -6, -7, 1073741823]}
          - {job: 1, num_slots: 32, workers: ["[::1]:1"], overflow: detect}
        """
    )
    config = read_switch(path)
    assert (config.address, config.port) == ("::1", 0)
    assert (config.num_slots, config.slot_bytes) == (100, 8000)
    assert config.faults == FaultConfig(
        inward=LinkFaults(loss=0.25),
        outward=LinkFaults(loss=1.0),
        links=(("::1", LinkEnd(inward=LinkFaults(delay=1e-3, flipped_bits=2))),),
        seed=3,
    )
    first, second = config.jobs
    assert first.workers == (("::1", 1), ("::1", 65535))
    assert first.code4 == (*range(8), *range(-1, -8, -1), 1073741823)
    assert (first.code8, second.code4, second.code8) == (None, None, None)
    assert (first.overflow, second.overflow) == (Overflow.SATURATE, Overflow.DETECT)


def test_all_mistakes_at_once(write: Write) -> None:
    path = write(
        """\
        switch:
          port: 70000
          rule: fast
          colour: red
        faults: {inward: {loss: 1.5}}
        jobs:
          - job: 7
            num_slots: 12
            workers: [127.0.0.1:5001, localhost:5001]
          - job: 7
            overflow: clip
            workers: []
          - workers: 127.0.0.1:5001
        """
    )
    assert mistakes(path) == [
        "2: switch.port: expected an integer from 0 to 65535 (found 70000)",
        "3: switch.rule: expected 'safe' or 'switchml' (found 'fast')",
        "4: switch.colour: no such field; allowed: address, port, rule, num_slots,"
        " slot_bytes, parent",
        "5: faults.inward.loss: expected a probability from 0 to 1 (found 1.5)",
        "8: jobs.0.num_slots: expected a power of two from 1 to 1048576 (found 12)",
        "9: jobs.0.workers.1: worker 0 has this address (found 'localhost:5001')",
        "10: jobs.1.job: jobs.0 has this id (found 7)",
        "11: jobs.1.overflow: expected 'wrap', 'saturate' or 'detect' (found 'clip')",
        "12: jobs.1.workers: expected a list of 1 to 64 workers, ADDRESS:PORT",
        "13: jobs.2.job: is missing",
        "13: jobs.2.workers: expected a list of 1 to 64 workers, ADDRESS:PORT"
        " (found '127.0.0.1:5001')",
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("switch: {port: -1}", "switch.port: expected an integer from 0 to 65535"),
        ("switch: {port: '1'}", "switch.port: expected an integer from 0 to 65535"),
        ("switch: {port: yes}", "switch.port: expected an integer from 0 to 65535"),
        ("switch: {num_slots: 0}", "switch.num_slots: expected an integer from 1"),
        ("switch: {slot_bytes: 30}", "switch.slot_bytes: expected a multiple of 4"),
        ("switch: {slot_bytes: 65492}", "from 4 to 65488 (found 65492)"),
        (f"switch: {{address: {'x' * 64}}}", "expected a host with an IP"),
        ("switch: {address: 5}", "switch.address: expected text"),
        ("switch:", "switch: expected a mapping of fields (found None)"),
        ("faults: {outward: {loss: .nan}}", "outward.loss: expected a probability"),
        ("faults: {inward: {loss: yes}}", "inward.loss: expected a probability"),
        ("faults: {inward: {delay: 5}}", "inward.delay: expected a number and one of"),
        ("faults: {links: {here: {}}}", "faults.links.here: expected a numeric IP"),
        ("faults: {outward: {los: 1}}", "allowed: loss, burst_enter, burst_leave,"),
        ("faults: {seed: -1}", "faults.seed: expected an integer from 0"),
        ("jobs: {job: 1}", "jobs: expected a list of jobs"),
        ("jobs: [5]", "jobs.0: expected a mapping of fields (found 5)"),
        (
            "workers: []",
            "workers: no such field; allowed: switch, faults, control, jobs",
        ),
    ],
)
def test_fields(write: Write, text: str, mistake: str) -> None:
    [found] = mistakes(write(text))
    assert mistake in found
    assert found.startswith("1: ")


@pytest.mark.parametrize(
    ("fields", "mistake"),
    [
        ("job: 0", "jobs.0.job: expected an integer from 1 to 65535 (found 0)"),
        ("job: 65536", "jobs.0.job: expected an integer from 1 to 65535"),
        ("num_slots: 64", "num_slots: only 32 of the switch's 32 slots are left"),
        ("num_slots: 8.0", "jobs.0.num_slots: expected a power of two"),
        ("slot_bytes: 260", "expected at most 256, the switch's slot_bytes"),
        ("slot_bytes: -4", "jobs.0.slot_bytes: expected a multiple of 4"),
        (
            "code4: [1, 2]",
            "jobs.0.code4: expected a list of 16 integers",
        ),
        (f"code4: {[0.5] * 16}", "jobs.0.code4: expected a list of 16 integers"),
        (f"code8: {[1] * 16}", "jobs.0.code8: expected a list of 256 integers"),
        ("code8: null", "jobs.0.code8: expected a list of 256 integers"),
        (
            f"code4: {[2**31] * 16}",
            "jobs.0.code4: 1 workers times the largest entry, 2147483648, is",
        ),
        ("workers: [5001]", "jobs.0.workers.0: expected text"),
        ("workers: [':5001']", "expected ADDRESS:PORT, as in 127.0.0.1:5001"),
        ("workers: ['127.0.0.1']", "expected ADDRESS:PORT, as in 127.0.0.1:5001"),
        ("workers: ['::1:5001']", "expected ADDRESS:PORT, as in 127.0.0.1:5001"),
        ("workers: ['127.0.0.1:0']", "port '0': expected 1 to 65535"),
        ("workers: ['127.0.0.1:x']", "port 'x': expected 1 to 65535"),
        ("workers: ['0.0.0.0:5001']", "expected the address of one worker"),
        ("workers: ['[::1]:5001']", "expected a host with an IPv4 address"),
    ],
)
def test_fields_of_a_job(write: Write, fields: str, mistake: str) -> None:
    right = {
        "job": "1",
        "num_slots": "8",
        "slot_bytes": "256",
        "workers": "['127.0.0.1:5001']",
    }
    name, _, value = fields.partition(": ")
    job = ", ".join(f"{key}: {text}" for key, text in (right | {name: value}).items())
    head = "switch: {num_slots: 32, slot_bytes: 256}"
    [found] = mistakes(write(f"{head}\njobs:\n  - {{{job}}}\n"))
    assert mistake in found
    assert found.startswith("3: ")


def test_65_workers_are_too_many(write: Write) -> None:
    workers = ", ".join(f"127.0.0.1:{5000 + rank}" for rank in range(65))
    [found] = mistakes(write(f"jobs: [{{job: 1, workers: [{workers}]}}]"))
    assert "jobs.0.workers: expected a list of 1 to 64 workers" in found


def test_jobs_may_take_all_slots_but_not_more(write: Write) -> None:
    text = """\
        switch: {num_slots: 24}
        jobs:
          - {job: 1, num_slots: 16, workers: [127.0.0.1:5001]}
          - {job: 2, num_slots: 8, workers: [127.0.0.1:5001]}
    """
    assert len(read_switch(write(text)).jobs) == 2
    assert mistakes(write(text.replace("24", "23"))) == [
        "4: jobs.1.num_slots: only 7 of the switch's 23 slots are left for job 2"
        " (found 8)"
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "- 1\n", "switch: [\n"])
def test_what_is_no_mapping(write: Write, text: str) -> None:
    path = write(text)
    with pytest.raises(FileError, match=r"switch\.yaml"):
        read_switch(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_switch(tmp_path / "none.yaml")


def test_a_name_takes_the_version_of_ip_that_the_switch_has() -> None:
    assert resolve_worker("localhost:5001", 4) == ("127.0.0.1", 5001)
    assert resolve_worker("localhost:5001") == ("127.0.0.1", 5001)
    try:
        socket.getaddrinfo("localhost", None, socket.AF_INET6)
    except OSError:
        pytest.skip("localhost has no IPv6 address here")
    assert resolve_worker("localhost:5001", 6) == ("::1", 5001)


TREE = """\
    jobs:
      - job: 7
        workers: [127.0.0.1:1, 127.0.0.1:2]
        tree: {{{tree}}}
"""


def test_a_place_in_a_tree(write: Write) -> None:
    tree = "num_workers: 3, ranks: [2, [0, 1]], parent: localhost:3"
    [job] = read_switch(write(TREE.format(tree=tree))).jobs
    parent = ("127.0.0.1", 3)
    assert job.tree == TreePlace(num_workers=3, ranks=(2, (0, 1)), parent=parent)
    [job] = read_switch(write(TREE.format(tree="num_workers: 2, ranks: [1, 0]"))).jobs
    assert job.tree == TreePlace(num_workers=2, ranks=(1, 0))


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ("num_workers: 0, ranks: [0, 1]", "tree.num_workers: expected an integer fr"),
        ("num_workers: 3", "tree.ranks: is missing"),
        ("num_workers: 3, ranks: [0, x]", "tree.ranks: expected a list with each wo"),
        ("num_workers: 3, ranks: [0, 1]", "tree: no child of the root leads to rank 2"),
        ("num_workers: 3, ranks: [0, [1, 3]]", "tree: rank 3: allowed are 0 to 2"),
        ("num_workers: 3, ranks: [0], parent: 127.0.0.1:3", "tree: ranks for 1 child"),
        (
            "num_workers: 3, ranks: [0, 1], parent: 127.0.0.1:1",
            "tree: ('127.0.0.1', 1) is a child and the parent",
        ),
        (
            "num_workers: 3, ranks: [0, 1], parent: nowhere",
            "tree.parent: expected ADDR",
        ),
        ("num_workers: 3, ranks: [0, 1], child: 4", "tree.child: no such field; allow"),
    ],
)
def test_what_is_no_place_in_a_tree(write: Write, tree: str, told: str) -> None:
    found = mistakes(write(TREE.format(tree=tree)))
    assert len(found) == 1, found
    assert found[0].startswith(f"4: jobs.0.{told}")


def test_trees_and_codes_count_the_workers_of_the_whole_job(write: Write) -> None:
    tree = "num_workers: 3, ranks: [0, 1], parent: 127.0.0.1:3"
    codes = f"code4: [{', '.join(['1000000000'] * 16)}]"
    text = TREE.format(tree=tree) + f"        {codes}\n"
    [told] = mistakes(write(text))
    assert "3 workers times the largest entry" in told
    text = "switch: {rule: switchml}\n" + dedent(TREE.format(tree=tree))
    assert mistakes(write(text)) == [
        "5: jobs.0.tree: trees of switches take the rule safe"
    ]
