"""The switch pipeline alone, without sockets: packets a second of four workers."""

import time

import numpy as np

from switch.config import JobConfig, SwitchConfig
from switch.pipeline import Pipeline
from switch.protocol import (
    ELEMENT_BITS,
    ELEMENT_BYTES,
    ElementType,
    Opcode,
    Overflow,
    Reduction,
    emit,
    kind_of,
)
from switch.udp import Rows

NUM_WORKERS = 4
NUM_SLOTS = 512
SLOT_BYTES = 1024
PACKETS_A_BATCH = 256
SECONDS = 0.5
ADDRESSES = tuple(("127.0.0.1", 5000 + worker) for worker in range(NUM_WORKERS))


def packets(element: ElementType, result: ElementType) -> list[tuple[int, bytes]]:
    """(worker, packet): both versions of every slot, filled by every worker."""
    kind = kind_of(Reduction.SUM, element, result)
    count = SLOT_BYTES // ELEMENT_BYTES[result]
    payload = bytes(count * ELEMENT_BITS[element] // 8)
    return [
        (worker, emit(opcode=Opcode.CONTRIBUTE, job=1, worker=worker, sequence=sequence,
                      kind=kind, element_count=count, payload=payload))
        for start in range(0, 2 * NUM_SLOTS, 64)
        for worker in range(NUM_WORKERS)
        for sequence in range(start, start + 64)
    ]  # fmt: skip


def batches(pipeline: Pipeline, rows: list[tuple[int, bytes]]) -> list[Rows]:
    split = []
    for start in range(0, len(rows), PACKETS_A_BATCH):
        some = rows[start : start + PACKETS_A_BATCH]
        length = np.array([len(packet) for _, packet in some])
        buffer = np.frombuffer(b"".join(packet for _, packet in some), np.uint8)
        source = [pipeline.known.number_of[ADDRESSES[worker]] for worker, _ in some]
        split.append(
            Rows(buffer.copy(), length.cumsum() - length, length, np.array(source))
        )
    return split


def rate(element: ElementType, result: ElementType, overflow: Overflow) -> float:
    """Packets a second."""
    job = JobConfig(
        job=1, workers=ADDRESSES, num_slots=NUM_SLOTS, slot_bytes=SLOT_BYTES,
        overflow=overflow, code4=tuple(range(-8, 8)),
        code8=(*range(-16, 16), *[0] * 224),
    )  # fmt: skip
    pipeline = Pipeline(SwitchConfig(jobs=(job,)))
    work = batches(pipeline, packets(element, result))
    for batch in work:  # compiles
        pipeline.run(batch, len(batch.length))
    pipeline.reset(1)
    count, seconds = 0, 0.0
    while seconds < SECONDS:
        started = time.perf_counter()
        for batch in work:
            pipeline.run(batch, len(batch.length))
        seconds += time.perf_counter() - started
        count += sum(len(batch.length) for batch in work)
        pipeline.reset(1)
    counters = pipeline.counters()
    assert counters["accepted"] == NUM_WORKERS * counters["results"], counters
    return count / seconds


def main() -> None:
    """One figure a line."""
    for element, result, overflow in (
        (ElementType.INT32, ElementType.INT32, Overflow.DETECT),
        (ElementType.INT8, ElementType.INT8, Overflow.DETECT),
        (ElementType.INT8, ElementType.INT8, Overflow.WRAP),
        (ElementType.INT8, ElementType.INT32, Overflow.DETECT),
        (ElementType.CODE4, ElementType.INT8, Overflow.WRAP),
        (ElementType.CODE4, ElementType.INT16, Overflow.WRAP),
        (ElementType.CODE8, ElementType.INT16, Overflow.WRAP),
    ):
        types = f"{element.name.lower()} to {result.name.lower()}"
        millions = rate(element, result, overflow) / 1e6
        print(
            f"pipeline alone, {types}, {overflow.name.lower()}, slots of {SLOT_BYTES}"
            f" bytes: {millions:.1f} million packets/s",
            flush=True,
        )


if __name__ == "__main__":
    main()
