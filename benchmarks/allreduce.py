"""Throughput of an all-reduce: ours, gloo's, and the bare echo of the same bytes.

GB of float32 gradient per second and worker, compress and decompress included: the
median over repetitions that alternate between the methods. All processes of a row run
on the same cores, at the same time of day.
"""

import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np

import intswitch
from benchmarks.echo import Echo

WORKERS = (2, 4, 8)
MEBIBYTES = (4, 25, 100)
# loopback takes packets of 64 KiB; eight of these fill a train, eight trains a window
NUM_SLOTS, SLOT_BYTES, MTU = 64, 8104, 65535
REPETITIONS = {4: 15, 25: 7, 100: 5}
METHODS = ("int32", "int8", "gloo", "echo of int32", "echo of int8")


def measure(
    rank: int, num_workers: int, switch: str, echo_port: int, gloo_port: int, queue: Any
) -> None:
    """One worker: every method in turn, for every size; rank 0 reports the times."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(gloo_port))
    dist.init_process_group("gloo", rank=rank, world_size=num_workers)
    network = intswitch.join(
        switch, job="bench", rank=rank, num_workers=num_workers,
        num_slots=NUM_SLOTS, slot_bytes=SLOT_BYTES, mtu=MTU,
    )  # fmt: skip
    echo = Echo(("127.0.0.1", echo_port))
    for mebibytes in MEBIBYTES:
        gradient = np.random.default_rng(rank).standard_normal(
            mebibytes << 18, np.float32
        )
        runs = methods(gradient, network, echo)
        for repetition in range(REPETITIONS[mebibytes] + 1):
            for method in METHODS:
                network.barrier()
                started = time.perf_counter()
                runs[method]()
                network.barrier()
                seconds = time.perf_counter() - started
                if rank == 0 and repetition > 0:
                    queue.put((mebibytes, method, gradient.nbytes / seconds / 1e9))
    network.close()
    dist.destroy_process_group()


def methods(
    gradient: np.ndarray, network: Any, echo: Echo
) -> dict[str, Callable[[], Any]]:
    """What to time; each of METHODS averages `gradient`, or moves as many bytes."""
    import torch
    import torch.distributed as dist

    tensor = torch.from_numpy(gradient.copy())  # gloo works in place
    mean = np.zeros_like(gradient)
    int32 = intswitch.compressor("intsgd", element_type="int32")
    int8 = intswitch.compressor("intsgd", element_type="int8")

    def gloo() -> None:
        dist.all_reduce(tensor)
        tensor.div_(network.num_workers)

    return {
        "int32": lambda: int32.average(gradient, network, out=mean),
        "int8": lambda: int8.average(gradient, network, out=mean),
        "gloo": gloo,
        "echo of int32": lambda: echo.exchange(gradient.nbytes),
        "echo of int8": lambda: echo.exchange(gradient.nbytes // 4),
    }


@contextmanager
def echo_server() -> Any:
    """The port of an echo server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.echo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def compile_kernels() -> None:
    """By one process, or every worker compiles the same at once."""
    with (
        intswitch.Switch("127.0.0.1", 0) as switch,
        intswitch.join(switch.endpoint, job="c", rank=0, num_workers=1) as network,
    ):
        for element_type in ("int32", "int8"):
            compressor = intswitch.compressor("intsgd", element_type=element_type)
            compressor.average(np.ones(1, np.float32), network)
        network.barrier()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def rates(num_workers: int) -> dict[tuple[int, str], float]:
    """(MiB, method) -> median GB/s."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    with (
        intswitch.Switch("127.0.0.1", 0, slot_bytes=SLOT_BYTES) as switch,
        echo_server() as echo_port,
    ):
        args = (num_workers, switch.endpoint, echo_port, free_port(), queue)
        workers = [
            context.Process(target=measure, args=(rank, *args), daemon=True)
            for rank in range(num_workers)
        ]
        for worker in workers:
            worker.start()
        samples: dict[tuple[int, str], list[float]] = {}
        for _ in range(sum(REPETITIONS.values()) * len(METHODS)):
            mebibytes, method, rate = queue.get(timeout=300)
            samples.setdefault((mebibytes, method), []).append(rate)
        for worker in workers:
            worker.join()
    return {key: statistics.median(values) for key, values in samples.items()}


def main() -> None:
    """One figure a line."""
    compile_kernels()
    for num_workers in WORKERS:
        medians = rates(num_workers)
        for mebibytes in MEBIBYTES:
            row = f"all-reduce, {num_workers} workers, {mebibytes} MiB"
            gloo = medians[mebibytes, "gloo"]
            print(f"{row}, gloo float32: {gloo:.2f} GB/s")
            for method in ("int32", "int8"):
                rate = medians[mebibytes, method]
                limit = medians[mebibytes, f"echo of {method}"]
                print(
                    f"{row}, {method}: {rate:.2f} GB/s, {rate / gloo:.1f} x gloo,"
                    f" {100 * rate / limit:.0f} % of the bare echo's {limit:.2f} GB/s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
