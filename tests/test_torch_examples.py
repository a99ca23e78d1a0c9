"""The examples for PyTorch, by torchrun as the documentation says. (The one of FSDP2
runs in the processes of tests/test_torch.py.)"""

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("torch")

from torch_processes import ENDS_WITHIN, installed, torchrun

pytestmark = pytest.mark.timeout(ENDS_WITHIN + 20)

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = ("train", "ddp_hook", "fsdp2", "lightning_train", "transformers_train")
TRAINERS = {
    # what is printed in the end, and what it must be: untrained it is 10 % and 2.3
    "lightning": (r"^(\d+) % right$", lambda share: share > 70),
    "transformers": (r"^rank 0: loss (\S+) on average$", lambda loss: loss < 1.5),
}
DIES = """
import os, sys
import torch
from pathlib import Path
sys.path.insert(0, "examples")
import ddp_hook

attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
step = torch.optim.SGD.step
steps = 0

def counted(self, *arguments):
    global steps
    steps += 1
    if attempt == 0 and steps == 31 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), 9)
    return step(self, *arguments)

torch.optim.SGD.step = counted
ddp_hook.main(Path(sys.argv[1]))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return installed(tmp_path)


def run(
    environment: dict[str, str], ranks: int, *arguments: str
) -> subprocess.CompletedProcess[str]:
    options = ["--standalone", "--nproc-per-node", str(ranks)]
    done = torchrun([*options, *arguments], environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("name", NAMES)
def test_they_are_short_and_say_how_to_be_run(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text()
    assert text.count("\n") < 60
    command = rf"^    torchrun .*--nproc-per-node \d [^#]*examples/{name}.py"
    assert re.search(command, text, re.M)


def test_train(environment: dict[str, str]) -> None:
    done = run(environment, 4, "examples/train.py")
    shares = re.findall(r"step \d+: (\d+) % right", done.stdout)
    assert len(shares) == 3
    assert int(shares[-1]) > 80


@pytest.mark.parametrize("method", [[], ["intsgd:element_type=int8"]], ids=str)
@pytest.mark.parametrize("package", TRAINERS)
def test_the_trainers_of_others(
    environment: dict[str, str], package: str, method: list[str]
) -> None:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    done = run(environment, 2, f"examples/{package}_train.py", *method)
    pattern, is_learned = TRAINERS[package]
    [found] = re.findall(pattern, done.stdout, re.M)
    assert is_learned(float(found)), found


def test_a_rank_that_dies_begins_again_from_the_checkpoint(
    environment: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "dies.py"
    script.write_text(DIES)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    done = run(environment, 2, "--max-restarts", "1", str(script), str(folder))
    assert done.stdout.count("goes on after step 20") == 2
    assert len(re.findall(r"rank \d, step 20: ", done.stdout)) == 2
    losses = re.findall(r"rank \d, step 60: loss (\d\.\d+)", done.stdout)
    assert max(map(float, losses)) < 2.0
