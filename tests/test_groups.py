"""Results by IP multicast on the loopback interface: one packet for all workers."""

import numpy as np
import pytest
from lossy import losing
from real_switch import (
    WAIT,
    array_of,
    attempt,
    check_identities,
    running,
    total,
)

from host.agent import Network
from switch.config import FaultConfig, group_of
from switch.udp import hears_groups, open_group, open_socket, reaches_groups

GROUPS = hears_groups(("127.0.0.1", 9))
SIZE = 99 * 256  # int32 elements of 99 packets of 1024 bytes
needs_groups = pytest.mark.skipif(
    not GROUPS, reason="no multicast on the loopback interface"
)


@needs_groups
def test_everyone_in_a_group_gets_one_packet_whole() -> None:
    with open_socket(("127.0.0.1", 0)) as switch:
        assert reaches_groups(switch)
        own = switch.getsockname()
        group = group_of(0x1234, own[1])
        assert group == ("239.255.18.52", own[1])
        with open_group(group, own) as one, open_group(group, own) as other:
            packet = bytes(range(256)) * 200
            switch.sendto(packet, group)
            for listener in (one, other):
                listener.settimeout(WAIT)
                assert listener.recvfrom(65536) == (packet, own)


@needs_groups
def test_a_group_hears_its_source_alone() -> None:
    with (
        open_socket(("127.0.0.1", 0)) as switch,
        open_socket(("127.0.0.1", 0)) as stranger,
    ):
        assert reaches_groups(switch)
        assert reaches_groups(stranger)
        own = switch.getsockname()
        group, another = group_of(1, own[1]), group_of(2, own[1])
        with open_group(group, own) as listener:
            listener.settimeout(WAIT)
            stranger.sendto(b"not from the switch", group)
            switch.sendto(b"to another job", another)
            switch.sendto(b"to this job", group)
            assert listener.recv(100) == b"to this job"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::1"])
def test_groups_are_for_the_loopback_interface(host: str) -> None:
    assert not hears_groups((host, 9))


def test_a_switch_that_listens_everywhere_reaches_no_group() -> None:
    with open_socket(("0.0.0.0", 0)) as sock:
        assert not reaches_groups(sock)


@pytest.mark.parametrize(
    ("faults", "grouped"),
    [
        (FaultConfig(), GROUPS),
        (losing(inward=0.05), GROUPS),
        (losing(outward=0.05), False),  # drawn for every copy
    ],
)
def test_one_packet_for_all_workers(faults: FaultConfig, grouped: bool) -> None:
    """What is lost is replayed by unicast."""
    packets: list[int] = []

    def work(network: Network) -> bool:
        own = array_of(network.rank, SIZE, np.int32, 3)
        assert (network._group is not None) == grouped
        return np.array_equal(network.sum(own), total(3, SIZE, np.int32))

    with running(faults=faults) as switch:
        switch.tap(lambda out: packets.append(int(out.used[0])))
        outcome = attempt(switch, 3, work)
        assert outcome.values == [True] * 3
        counters = switch.settle()
    check_identities(counters, [outcome])
    shared = 2 * counters["results"] if grouped else 0
    assert sum(packets) == counters["copies"] - counters["lost_out"] - shared
