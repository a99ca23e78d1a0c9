"""The test kit against switches at the other end of a socket."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Timer

import pytest
from ports import free_ports
from real_switch import running
from switches_under_test import (
    Change,
    bare_switch,
    results,
    scripts_of,
    some,
    with_rule,
)

from intswitch.configuration import read_switch
from intswitch.conformance import Outcome, Script, parse, run
from intswitch.conformance.jobs import FixedJobs, JoinedJobs, fixed_file
from intswitch.conformance.network import BURST, NetworkTarget, bursts, query
from intswitch.conformance.script import Datagram
from intswitch.conformance.udp import UdpWire
from switch.config import Address, JobConfig, SwitchConfig
from switch.protocol import Opcode, Rule

TIMEOUT = 5.0  # seconds: a machine that is busy is no failure
SHORT = 0.3  # where nothing comes
LOOPBACK = "127.0.0.1"
RULES = pytest.mark.parametrize("rule", Rule, ids=lambda rule: rule.name.lower())


def joining(
    endpoint: str, chosen: list[Script], timeout: float = TIMEOUT
) -> list[Outcome]:
    jobs = JoinedJobs(endpoint, LOOPBACK)
    with closing(NetworkTarget(jobs, UdpWire(), timeout)) as target:
        return list(run(chosen, target, timeout))


def fixed(
    config: SwitchConfig, endpoint: str, chosen: list[Script], timeout: float = TIMEOUT
) -> list[Outcome]:
    jobs = FixedJobs(config, endpoint, timeout)
    with closing(NetworkTarget(jobs, UdpWire(), timeout)) as target:
        return list(run(chosen, target, timeout))


def jobs_for(chosen: list[Script], folder: Path) -> SwitchConfig:
    """As a user gets them: written into a file, and read."""
    path = folder / "jobs.yaml"
    workers = sum(len(job.workers) for script in chosen for job in script.jobs)
    path.write_text(fixed_file(chosen, [(LOOPBACK, free_ports(workers)[0])]))
    return read_switch(path)


@contextmanager
def bare(
    chosen: list[Script], folder: Path, answer: Change = lambda copies: copies
) -> Iterator[tuple[SwitchConfig, str]]:
    config = jobs_for(chosen, folder)
    with bare_switch(config, answer) as switch:
        yield config, switch.endpoint


@RULES
def test_a_switch_that_workers_join_passes(rule: Rule) -> None:
    chosen = scripts_of(rule)
    with running(rule=rule) as switch:
        outcomes = joining(switch.endpoint, chosen)
    assert [each for each in outcomes if each.result != "pass"] == []
    assert [each.sent for each in outcomes] == [each.num_packets for each in chosen]
    assert not any(each.unchecked for each in outcomes)


@RULES
def test_a_switch_with_fixed_jobs_passes_again_and_again(
    rule: Rule, tmp_path: Path
) -> None:
    """Its control plane resets the jobs and tells the counters."""
    chosen = scripts_of(rule)
    config = jobs_for(chosen, tmp_path)
    fields = {"jobs": config.jobs, "num_slots": config.num_slots}
    with running(rule=config.rule, slot_bytes=config.slot_bytes, **fields) as switch:
        for _ in range(2):
            outcomes = fixed(config, switch.endpoint, chosen)
            assert [each for each in outcomes if each.result != "pass"] == []
            assert not any(each.unchecked for each in outcomes)


@RULES
def test_a_switch_without_a_control_plane_passes(rule: Rule, tmp_path: Path) -> None:
    chosen = scripts_of(rule)
    with bare(chosen, tmp_path) as (config, endpoint):
        outcomes = fixed(config, endpoint, chosen)
    odd = {name: of for name, of in results(outcomes).items() if of != "pass"}
    assert odd == ({"reset": "skipped"} if rule == Rule.SAFE else {})
    unchecked = {each.script: each.unchecked for each in outcomes}
    counts = {
        script.name: sum(line.startswith("count") for line in script.lines)
        for script in chosen
        if script.name != "reset"  # ends before its last lines
    }
    assert {name: unchecked[name] for name in counts} == counts
    told = {each.reason for each in outcomes if each.script == "reset"}
    assert told <= {"only a control plane can reset a job, and none answers"}


def test_jobs_that_have_been_used_are_told(tmp_path: Path) -> None:
    chosen = some("safe_replay")
    with bare(chosen, tmp_path) as (config, endpoint):
        (first,) = fixed(config, endpoint, chosen)
        (second,) = fixed(config, endpoint, chosen)
    assert first.result == "pass"
    assert second.result == "fail"
    assert second.reason.startswith("its jobs have been used before: reset them, or")


def test_a_script_without_a_job_in_the_file_is_skipped(tmp_path: Path) -> None:
    with bare(some("wire"), tmp_path) as (config, endpoint):
        outcomes = fixed(config, endpoint, some("wire", "safe_replay_recipient"))
    assert results(outcomes) == {"safe_replay_recipient": "skipped", "wire": "pass"}
    assert outcomes[0].reason == (
        "the file has no job left with 2 workers, num_slots 1, slot_bytes 64, "
        "overflow detect"
    )


def test_a_job_that_is_refused_is_skipped_with_the_targets_reason() -> None:
    with running(num_slots=64, slot_bytes=16) as switch:
        outcomes = joining(switch.endpoint, some("drop_malformed", "safe_reduce"))
    assert results(outcomes) == {"drop_malformed": "pass", "safe_reduce": "skipped"}
    assert outcomes[1].reason == (
        "the target refuses the job: slot_bytes 64: allowed are multiples of 4 up to 16"
    )


def test_an_unknown_job_is_unknown_to_the_target_too() -> None:
    """Job 8, which the script takes for unknown, is one of the switch's own."""
    own = tuple(
        JobConfig(job=job, workers=((LOOPBACK, 1),), num_slots=1, slot_bytes=64)
        for job in (8, 65535)
    )
    with running(jobs=own) as switch:
        (outcome,) = joining(switch.endpoint, some("drop_unknown_job"))
    assert outcome.result == "pass"


def test_the_stranger_gets_nothing(tmp_path: Path) -> None:
    """A switch that returns what it drops to whoever sent it."""
    chosen = some("drop_unknown_source")
    config = jobs_for(chosen, tmp_path)
    with bare_switch(config) as switch:
        right = switch.pipeline.process
        wrong = lambda datagrams: right(datagrams) or datagrams  # noqa: E731
        switch.pipeline.process = wrong  # type: ignore[method-assign]
        (outcome,) = fixed(config, switch.endpoint, chosen)
    assert outcome.result == "fail"
    assert outcome.reason == "the stranger got a packet that no line expects"
    assert outcome.line == 5


def test_a_multicast_may_be_overtaken_by_an_answer(tmp_path: Path) -> None:
    """Results take their time, and replays and statuses do not."""
    chosen = some("safe_reduce", "recipient")
    config = jobs_for(chosen, tmp_path)
    with bare_switch(config) as switch:
        send = switch.send

        def send_later(packet: bytes, receiver: Address) -> None:
            if packet[0] & 15 == Opcode.RESULT:
                Timer(0.05, send, (packet, receiver)).start()
            else:
                send(packet, receiver)

        switch.send = send_later  # type: ignore[method-assign]
        outcomes = fixed(config, switch.endpoint, chosen)
    assert set(results(outcomes).values()) == {"pass"}


def test_a_wrong_rule_fails(tmp_path: Path) -> None:
    chosen = some("safe_behind", "lanes_sum")
    config = with_rule(Rule.SWITCHML)(jobs_for(chosen, tmp_path))
    with bare_switch(config) as switch:
        outcomes = fixed(config, switch.endpoint, chosen, SHORT)
    assert results(outcomes) == {"lanes_sum": "pass", "safe_behind": "fail"}


def test_an_answer_from_another_port_is_told(tmp_path: Path) -> None:
    chosen = some("safe_reduce")
    config = jobs_for(chosen, tmp_path)
    with bare_switch(config) as switch, socket.socket(type=socket.SOCK_DGRAM) as other:
        switch.send = other.sendto  # type: ignore[method-assign]
        (outcome,) = fixed(config, switch.endpoint, chosen)
        port = other.getsockname()[1]
    assert outcome.result == "fail"
    assert outcome.reason.startswith(f"a packet came from {LOOPBACK}:{port}, not from")


def test_an_answer_with_another_job_id_is_told(tmp_path: Path) -> None:
    """Of all ids the script's own, which the target was never told."""

    def wrong(copies: list[Datagram]) -> list[Datagram]:
        return [
            (packet[:2] + b"\0\7" + packet[4:] if packet[0] == 0x11 else packet, to)
            for packet, to in copies
        ]

    chosen = some("safe_reduce")
    with bare(chosen, tmp_path, wrong) as (config, endpoint):
        (outcome,) = fixed(config, endpoint, chosen)
    assert outcome.result == "fail"
    assert outcome.reason.startswith("a packet of job 7, which is not ours: 11 12 0007")


def test_silence_is_a_timeout_and_no_hang(tmp_path: Path) -> None:
    """The switch falls silent within the second script."""
    answers = 40

    def for_a_while(copies: list[Datagram]) -> list[Datagram]:
        nonlocal answers
        answers -= 1
        return copies if answers > 0 else []

    chosen = some("drop_opcode", "safe_ahead", "wire")
    began = time.monotonic()
    with bare(chosen, tmp_path, for_a_while) as (config, endpoint):
        outcomes = fixed(config, endpoint, chosen, SHORT)
    assert list(results(outcomes).values()) == ["pass", "timeout", "timeout"]
    told = r"no status came to worker \d of job 2 \(in the script 7\) within 0.3 s"
    assert re.match(told, outcomes[1].reason)
    assert outcomes[1].statement.startswith("packet ")
    assert time.monotonic() - began < 3


def test_a_lost_result_is_told(tmp_path: Path) -> None:
    lost = []

    def once(copies: list[Datagram]) -> list[Datagram]:
        if len(copies) == 3 and not lost:
            lost.append(copies[1])
            return [copies[0], copies[2]]
        return copies

    chosen = some("recipient")
    with bare(chosen, tmp_path, once) as (config, endpoint):
        (outcome,) = fixed(config, endpoint, chosen, SHORT)
    assert outcome.result == "fail"
    assert outcome.reason == "nothing came to worker 1 of job 7"


def test_nobody_there(tmp_path: Path) -> None:
    chosen = some("one_worker")
    config = jobs_for(chosen, tmp_path)
    with socket.socket(type=socket.SOCK_DGRAM) as mute:
        mute.bind((LOOPBACK, 0))
        endpoint = f"{LOOPBACK}:{mute.getsockname()[1]}"
        with pytest.raises(
            ConnectionError, match=f"from the target at {endpoint}: no "
        ):
            fixed(config, endpoint, chosen, SHORT)


TRAIN = """
job 7 workers=1 num_slots=4
train 0 contribute sum int32 sequence=0..3992 step=8
count accepted 500
packet 0 query
expect 0 status sequence=3992 worker=1 : bitmap 0
"""


def test_a_train_is_sent_in_bursts() -> None:
    """The long script of the golden packets has one of 131,072 packets."""
    script = parse(TRAIN)
    assert script.num_packets == 501
    with running() as switch:
        (outcome,) = joining(switch.endpoint, [script])
    assert (outcome.result, outcome.received) == ("pass", 501)


def test_addresses_that_are_taken_are_told(tmp_path: Path) -> None:
    chosen = some("wire")
    config = jobs_for(chosen, tmp_path)
    host, port = config.jobs[0].workers[2]
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind((host, port))
        with pytest.raises(OSError, match=f"^{host}:{port}: Address already in use"):
            fixed(config, "127.0.0.1:9", chosen)


def test_bursts_end_where_an_answer_could_be_taken_for_the_markers() -> None:
    a, b = ("10.0.0.0", 1), ("10.0.0.1", 1)
    asked, plain = query(7, 0, 0), b"\x10"
    datagrams = [(plain, a), (plain, a), (plain, b), (asked, b), (plain, b)]
    assert [len(burst) for burst in bursts(datagrams)] == [2, 2, 1]
    assert [len(burst) for burst in bursts([(plain, a)] * (BURST + 1))] == [BURST, 1]


def test_the_file_of_jobs_says_when_ports_run_out() -> None:
    with pytest.raises(ValueError, match="65500: 36 ports do not suffice"):
        fixed_file(some("workers_64", "wire", "one_worker"), [("10.0.0.1", 65500)])


def test_the_file_of_jobs_takes_ipv6(tmp_path: Path) -> None:
    path = tmp_path / "jobs.yaml"
    text = fixed_file(some("one_worker"), [("::1", 20000)])
    path.write_text(text.replace("switch:", 'switch:\n  address: "::1"'))
    assert read_switch(path).jobs[0].workers == (("::1", 20000),)
