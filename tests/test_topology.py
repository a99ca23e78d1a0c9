"""Topologies: those that come along, and what a file must not say."""

import json
from pathlib import Path

import pytest

from intswitch.configuration import read_faults
from intswitch.topology import available, load
from intswitch.yaml_model import FileError
from switch.config import FaultConfig, LinkEnd, LinkFaults

GOOD = """
switches: {s: {rule: switchml}}
hosts: [a, b]
links:
  - {between: [a, s], rate: 10 Gbit/s, delay: 5 us, loss: 0.01}
  - {between: [b, s]}
jobs:
  - {name: j, workers: [b, a], num_slots: 8, slot_bytes: 256, overflow: wrap}
"""


def write(folder: Path, text: str) -> str:
    path = folder / "net.yaml"
    path.write_text(text)
    return str(path)


def mistakes(folder: Path, text: str) -> list[str]:
    path = write(folder, text)
    with pytest.raises(FileError) as caught:
        load(path)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    ("name", "workers"),
    [("pair", 2), ("star", 4), ("star8", 8), ("tree", 6), ("two_jobs", 4)],
)
def test_comes_along_with_a_drawing(name: str, workers: int) -> None:
    topology = load(name)
    assert sum(len(job.workers) for job in topology.jobs) == workers
    assert len(topology.links) == workers + len(topology.tree()) - 1
    lines = available()[name].read_text().splitlines()
    drawing = "\n".join(line for line in lines[:10] if line.startswith("#"))
    assert "switch1" in drawing
    assert f"worker{workers - 1}" in drawing


def test_file(tmp_path: Path) -> None:
    topology = load(write(tmp_path, GOOD))
    assert topology.switches["s"].rule == "switchml"
    assert topology.links[0].rate == 1e10
    assert topology.links[0].delay == pytest.approx(5e-6)
    assert topology.links[1].rate is None
    assert topology.jobs[0].workers == ("b", "a")


def test_all_mistakes_in_fields_at_once(tmp_path: Path) -> None:
    text = (
        GOOD.replace("switchml", "fast")
        .replace("10 Gbit/s", "10")
        .replace("0.01", "1.5")
        .replace("overflow", "colour")
        .replace("num_slots: 8", "num_slots: 9")
        .replace("[b, a]", "[b, b]")
    )
    found = mistakes(tmp_path, text)
    assert found == [
        "2: switches.s.rule: expected 'safe' or 'switchml' (found 'fast')",
        "5: links.0.loss: expected a probability from 0 to 1 (found 1.5)",
        "5: links.0.rate: expected a number and one of the units "
        "bit/s, kbit/s, Mbit/s, Gbit/s (found 10)",
        "8: jobs.0.workers: named more than once: b",
        "8: jobs.0.num_slots: expected a power of two (found 9)",
        "8: jobs.0.colour: no such field; allowed: "
        "name, workers, num_slots, slot_bytes, overflow, straggler_timeout, "
        "packet_threshold, start",
    ]


def test_all_contradictions_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("[b, s]", "[x, s]").replace("[b, a]", "[b, a, y]")
    text = text.replace("hosts: [a, b]", "hosts: [a, b, s]")
    text += "  - {name: j, workers: [a]}\n"
    assert mistakes(tmp_path, text) == [
        "3: hosts.2: this name has been given before (found 's')",
        "6: links.1.between.0: expected one of s, a, b, s (found 'x')",
        "8: jobs.0.workers.0: no link leads to this host (found 'b')",
        "8: jobs.0.workers.2: expected one of a, b, s (found 'y')",
        "9: jobs.1.name: this name has been given before (found 'j')",
    ]


def test_contradictions_are_told_beside_mistakes_in_fields(tmp_path: Path) -> None:
    text = """
switches: {s: {num_slots: few}}
hosts: [a, b, 3]
links:
  - {between: [a], delay: 5}
  - {between: [c, s]}
jobs:
  - {name: j, workers: [b, d], slot_bytes: 1.5}
"""
    assert mistakes(tmp_path, text) == [
        "2: switches.s.num_slots: expected an integer (found 'few')",
        "3: hosts.2: expected text (found 3)",
        "5: links.0.delay: expected a number and one of the units s, ms, us, ns"
        " (found 5)",
        "5: links.0.between.1: is missing",
        "6: links.1.between.0: expected one of s, a, b (found 'c')",
        "8: jobs.0.slot_bytes: expected a multiple of 4 from 4 to 65488 (found 1.5)",
        "8: jobs.0.workers.0: no link leads to this host (found 'b')",
        "8: jobs.0.workers.1: expected one of a, b (found 'd')",
    ]


def test_slots_that_no_switch_has(tmp_path: Path) -> None:
    text = """
switches: {s: {}, t: {slot_bytes: 258}}
hosts: [a]
links: [{between: [a, s], delay: -5 us}, {between: [t, s]}]
jobs: [{name: j, workers: [a], slot_bytes: 2048}]
"""
    assert mistakes(tmp_path, text) == [
        "2: switches.t.slot_bytes: expected a multiple of 4 from 4 to 65488"
        " (found 258)",
        "4: links.0.delay: expected a number and one of the units s, ms, us, ns,"
        " not below 0 (found '-5 us')",
        "5: jobs.0.slot_bytes: switches.s.slot_bytes allows 1408 (found 2048)",
        "5: jobs.0.slot_bytes: switches.t.slot_bytes allows 258 (found 2048)",
    ]


def test_parts_that_are_none(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "switches: 1\nhosts: 2\nlinks: 3\njobs: []\n") == [
        "1: switches: expected a mapping (found 1)",
        "2: hosts: expected a list (found 2)",
        "3: links: expected a list (found 3)",
        "4: jobs: expected at least one",
    ]


@pytest.mark.parametrize("text", ["", "- a", "just words"])
def test_no_mapping(tmp_path: Path, text: str) -> None:
    (line,) = mistakes(tmp_path, text)
    assert "expected the fields switches, hosts, links, jobs, seed" in line


def test_no_yaml(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, "switches: {")
    assert line.startswith("1: not YAML: expected the node content, but found")
    assert mistakes(tmp_path, "switches:\n  s:\n\trule: safe\n") == [
        "3: not YAML: a tab in column 1; indent with spaces"
    ]
    (tmp_path / "net.yaml").write_bytes(b"switches: \xff\n")
    with pytest.raises(FileError, match="not YAML: expected text in UTF-8"):
        load(str(tmp_path / "net.yaml"))


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(FileError, match="'ring' is no file, and none of pair, star, s"):
        load("ring")


def test_each_direction_by_itself(tmp_path: Path) -> None:
    text = GOOD.replace("loss: 0.01", "loss: 0.01, toward: {s: {loss: 0.5}}")
    topology = load(write(tmp_path, text))
    to_switch, to_host = (topology.links[0].to(end).faults() for end in ("s", "a"))
    assert (to_switch.loss, to_host.loss) == (0.5, 0.01)
    assert to_switch.delay == to_host.delay == pytest.approx(5e-6)
    lossy = topology.with_loss(0.25).links[0]
    assert [lossy.to(end).loss for end in ("s", "a")] == [0.25, 0.25]
    prompt = topology.without_delay().links[0]
    assert [prompt.to(end).delay for end in ("s", "a")] == [0.0, 0.0]
    assert [prompt.to(end).loss for end in ("s", "a")] == [0.5, 0.01]
    (mistake,) = mistakes(tmp_path, text.replace("{s: {loss", "{b: {loss"))
    assert mistake == "5: links.0.toward.b: expected one of a, s"


def test_jobs_that_have_more_slots_than_their_switch(tmp_path: Path) -> None:
    jobs = "jobs:\n  - {name: i, workers: [a], num_slots: 4}\n"
    text = GOOD.replace("jobs:\n", jobs)
    load(write(tmp_path, text.replace("switchml", "switchml, num_slots: 12")))
    (mistake,) = mistakes(tmp_path, text.replace("switchml", "switchml, num_slots: 11"))
    assert mistake == (
        "9: jobs.1.num_slots: switches.s.num_slots allows 11, and jobs have 12"
        " (found 8)"
    )


def test_loss_on_every_link_leaves_the_rest(tmp_path: Path) -> None:
    late = GOOD.replace("loss: 0.01", "toward: {a: {delay: 1 ms, loss: 0.5}}")
    link = load(write(tmp_path, late)).with_loss(0.25).links[0]
    assert [link.to(end).loss for end in ("s", "a")] == [0.25, 0.25]
    assert [link.to(end).delay for end in ("s", "a")] == pytest.approx([5e-6, 1e-3])


def test_what_a_switch_is_told_of_its_links(tmp_path: Path) -> None:
    topology = load(write(tmp_path, GOOD.replace("0.01", "0.01, held_for: 2 ms")))
    told = json.dumps(topology.faults_at("s", {"a": "127.0.0.1", "b": "::1"}))
    faulty = LinkFaults(loss=0.01, delay=topology.links[0].delay, held_for=2e-3)
    assert read_faults(told) == FaultConfig(
        links=(
            ("127.0.0.1", LinkEnd(inward=faulty, outward=faulty)),
            ("::1", LinkEnd()),
        )
    )


def test_switches_under_switches() -> None:
    topology = load("tree")
    above = {"switch1": None, "switch2": "switch1", "switch3": "switch1"}
    assert topology.tree() == above
    assert topology.switch_of("worker4") == "switch3"
    names = [*topology.switches, *topology.hosts]
    addresses = {name: f"10.0.0.{n}" for n, name in enumerate(names)}
    lossy = topology.with_loss(0.5)
    told = lossy.faults_at("switch2", addresses)["links"]
    # between switches, each end does what the link does on the way to it
    assert told["10.0.0.0"] == {"inward": {"loss": 0.5}, "outward": {}}
    assert told["10.0.0.3"] == {"inward": {"loss": 0.5}, "outward": {"loss": 0.5}}
    assert set(told) == {"10.0.0.0", "10.0.0.3", "10.0.0.4", "10.0.0.5"}


@pytest.mark.parametrize(
    ("links", "text"),
    [
        ("[t, s], [t, u], [u, s], [a, s]", "a ring of switches goes through"),
        ("[t, s], [a, s]", "none leads from u to s, the root"),
        ("[t, s], [u, t], [a, s], [a, t]", "hosts.a: expected a link to one switch"),
    ],
)
def test_switches_that_are_no_tree(tmp_path: Path, links: str, text: str) -> None:
    between = ", ".join(f"{{between: {ends}]}}" for ends in links.split("], "))
    file = (
        "switches: {s: {}, t: {}, u: {}}\nhosts: [a]\n"
        f"links: [{between.replace(']]', ']')}]\njobs: [{{name: j, workers: [a]}}]\n"
    )
    with pytest.raises(ValueError, match=text):
        load(write(tmp_path, file)).tree()


def test_with_loss() -> None:
    topology = load("pair").with_loss(0.25)
    assert [link.loss for link in topology.links] == [0.25, 0.25]
    with pytest.raises(ValueError, match="expected a probability below 1, not -1"):
        topology.with_loss(-1.0)
