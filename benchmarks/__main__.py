"""All benchmarks in one run: `python -m benchmarks`, or one: `... pipeline`."""

import importlib
import sys

NAMES = (
    "pipeline", "compress", "selection", "coding", "latency", "allreduce", "simulator",
    "ddp", "collectives",
)  # fmt: skip


def main() -> None:
    names = sys.argv[1:] or NAMES
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        sys.exit(f"unknown benchmark {unknown}: expected {', '.join(NAMES)}")
    for name in names:
        importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
