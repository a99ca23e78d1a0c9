"""What tests/test_torch.py runs in processes of torch: one check after the other, each
a function that asserts. The ranks write what came of them to a file each.

    RANK=0 WORLD_SIZE=4 ... python tests/torch_checks.py FOLDER ANOTHER_PORT
"""

import json
import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import timedelta
from importlib import import_module
from io import StringIO
from pathlib import Path
from time import monotonic
from typing import Any

import torch
import torch.distributed as dist

EXAMPLES = Path(__file__).parent.parent / "examples"
TIMEOUT = timedelta(seconds=60)
CHECKS: dict[str, Callable[[], Any]] = {}
OUTCOMES: dict[str, str] = {}
GROUPS: dict[str, Any] = {}


def check(function: Callable[[], Any]) -> Callable[[], Any]:
    CHECKS[function.__name__] = function
    return function


def rank() -> int:
    return dist.get_rank()


def group() -> Any:
    return dist.group.WORLD


def raised(error: type[Exception], call: Callable[[], Any]) -> str:
    try:
        call()
    except error as found:
        return str(found)
    raise AssertionError(f"no {error.__name__}")


def finish() -> None:
    Path(sys.argv[1], f"{rank()}.json").write_text(json.dumps(OUTCOMES))


def run(name: str, function: Callable[[], Any]) -> None:
    OUTCOMES[name] = "it has not ended"
    started = monotonic()
    try:
        function()
        OUTCOMES[name] = "ok"
    except BaseException:
        OUTCOMES[name] = traceback.format_exc()
    print(f"{name}: {monotonic() - started:.2f} s", flush=True)


def the_example_of_fsdp2() -> None:
    """With a process group of its own."""
    sys.path.append(str(EXAMPLES))
    import fsdp2

    with redirect_stdout(StringIO()) as printed:
        fsdp2.main()
    own_rank, lines = int(os.environ["RANK"]), printed.getvalue().splitlines()
    own = 1443 if own_rank < 3 else 1185  # rows of 128 and of 10
    assert lines.pop() == f"rank {own_rank} has {own} of the model's elements"
    if lines:
        [right] = re.findall(r"^step 40: (\d+) of 256 right$", lines[-1])
        assert int(right) > 200


def main() -> None:
    torch.set_num_threads(1)
    run("the_example_of_fsdp2", the_example_of_fsdp2)
    # torch's store is at one port until all have let go of it
    os.environ["MASTER_PORT"] = sys.argv[2]
    dist.init_process_group("intswitch", timeout=TIMEOUT)
    GROUPS["gloo"] = dist.new_group(backend="gloo", timeout=TIMEOUT)
    for module in ("torch_collectives", "torch_models", "torch_failures"):
        import_module(module)
    for name, function in CHECKS.items():
        finish()
        run(name, function)
    finish()


if __name__ == "__main__":
    from torch_checks import main as main_of_checks  # of the module that they know

    main_of_checks()
