"""Our P4 program as BMv2 takes it, compiled once for each version of it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from switch.cache import cache_folder

COMPILER = "p4c-bm2-ss"
_HERE = Path(__file__).resolve().parent
FOLDERS = (_HERE / "p4", _HERE.parent / "p4")
"""Where the P4 files lie: installed, or in the sources."""


class CompilerError(RuntimeError):
    """There is no compiler, or it refused the program."""


@dataclass(frozen=True)
class Program:
    """What the compiler makes."""

    json: Path
    """The program, for BMv2."""

    p4info: Path
    """The numbers of its tables, actions and counters, for P4Runtime; text."""


def compile_program() -> Program:
    """The compiled program, kept in the user's cache. Raises CompilerError."""
    source = next(each for each in FOLDERS if each.is_dir())
    files = sorted(source.glob("*.p4"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    stem = cache_folder() / f"p4-{digest[:16]}"
    program = Program(stem.with_suffix(".json"), stem.with_suffix(".p4info.txtpb"))
    if not (program.json.exists() and program.p4info.exists()):
        with tempfile.TemporaryDirectory(dir=stem.parent) as folder:
            fresh = Program(Path(folder) / "json", Path(folder) / "p4info.txtpb")
            _compile(source / "intswitch.p4", fresh)
            # at once, so that nobody reads half a file
            fresh.json.replace(program.json)
            fresh.p4info.replace(program.p4info)
    return program


def _compile(main: Path, program: Program) -> None:
    if shutil.which(COMPILER) is None:
        raise CompilerError(f"{COMPILER} is not on PATH: p4c, the compiler of P4")
    outputs = ["-o", str(program.json), "--p4runtime-files", str(program.p4info)]
    command = [COMPILER, "--std", "p4-16", *outputs, str(main)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CompilerError(f"{COMPILER}: {done.stderr.strip()}")
