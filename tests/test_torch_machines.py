"""torchrun on two machines, and the switch on a third that lies between them.

    left 10.0.1.1 ---- 10.0.1.254 middle 10.0.2.254 ---- 10.0.2.1 right

Machines are network namespaces. The middle one forwards: torch's rendezvous, its store
and gloo go from left to right; packets to be added end at the switch.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("pyroute2")

from torch_processes import ENDS_WITHIN, installed

from intswitch.child import python
from intswitch.fabrics.namespaces import End, Namespaces

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.timeout(ENDS_WITHIN + 20),
]

SCRIPT = """
import torch, torch.distributed as dist
from intswitch.job import Job, Options
torch.set_num_threads(1)
dist.init_process_group("intswitch")
rank = dist.get_rank()
total = torch.full((5000,), rank + 1, dtype=torch.int32)
dist.all_reduce(total)
mean = torch.full((5000,), float(rank))
dist.all_reduce(mean, dist.ReduceOp.AVG)
wide = torch.tensor([rank])
dist.all_reduce(wide)  # by gloo, from left to right
group = dist.group.WORLD
print(rank, group.job.setup.switch.split(":")[0], group.network.address,
      set(total.tolist()), set(mean.tolist()), wide.item(), flush=True)
beside = dist.new_group(pg_options=Options())  # at a switch that rank 0 starts
there = beside.job.setup.switch.split(":")[0]
dist.all_reduce(total, group=beside)
print(rank, there == __import__("os").environ["MASTER_ADDR"], set(total.tolist()),
      flush=True)
dist.destroy_process_group()
"""


@pytest.fixture
def machines() -> Iterator[Namespaces]:
    namespaces = Namespaces()
    try:
        for name in ("left", "middle", "right"):
            namespaces.add(name)
        for number, name in ((1, "left"), (2, "right")):
            namespaces.connect(
                End(name, "eth0", f"10.0.{number}.1"),
                End("middle", f"port{number}", f"10.0.{number}.254"),
            )
            with namespaces.opened(name) as stack:
                stack.route("add", dst="default", gateway=f"10.0.{number}.254")
        with namespaces.opened("middle"):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        yield namespaces
    finally:
        namespaces.close()


@pytest.fixture
def switch(machines: Namespaces) -> Iterator[str]:
    """In the middle."""
    options = "--address 10.0.1.254 --port 0 --insecure --until-stdin-closes"
    command = python("intswitch", "switch", *options.split())
    with subprocess.Popen(
        [*machines.enter("middle"), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().removeprefix("listening ").strip()
        finally:
            process.terminate()


def test_two_machines_with_the_switch_between_them(
    machines: Namespaces, switch: str, tmp_path: Path
) -> None:
    environment = installed(tmp_path) | {"INTSWITCH_SWITCH": switch}
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    agents = []
    for number, name in ((1, "left"), (2, "right")):
        # torchrun would know by the machine's name which of them it is
        is_host = int(name == "left")
        options = (
            "--nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-id job "
            f"--rdzv-endpoint 10.0.1.1:29400 --local-addr 10.0.{number}.1 "
            f"--rdzv-conf is_host={is_host}"
        )
        command = [sys.executable, "-m", "torch.distributed.run", *options.split()]
        agents.append(
            subprocess.Popen(
                [*machines.enter(name), *command, str(script)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        printed = [each.communicate(timeout=ENDS_WITHIN)[0] for each in agents]
    finally:
        for each in agents:
            each.kill()
    text = "".join(printed)
    assert [each.returncode for each in agents] == [0, 0], text
    for rank in (0, 1):
        (first, second) = [
            line for line in text.splitlines() if line.startswith(f"{rank} ")
        ]
        assert first.startswith(f"{rank} 10.0.1.254 10.0.")
        assert first.endswith(" {3} {0.5} 1")
        assert second == f"{rank} True {{6}}"
