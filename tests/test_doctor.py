"""`intswitch doctor` says what is there, and what to install for the rest."""

import io
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from rich.console import Console

from intswitch import doctor
from intswitch.doctor import Finding, findings, report


def shown() -> tuple[bool, str]:
    output = io.StringIO()
    is_well = report(Console(file=output, width=200))
    return is_well, output.getvalue()


def finding(what: str) -> Finding:
    (found,) = [each for each in findings() if each.what == what]
    return found


def test_the_default_fabric_always_runs() -> None:
    assert finding("fabric loopback").is_well
    is_well, text = shown()
    assert is_well
    assert "intswitch train --fabric loopback" in text


def test_what_is_missing_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    bmv2 = finding("fabric bmv2")
    assert not bmv2.is_well
    for part in ("simple_switch is not on PATH", "p4c-bm2-ss", "root"):
        assert part in bmv2.text
    assert not finding("nft").is_well
    assert "install nftables" in finding("nft").text
    is_well, text = shown()
    assert is_well, "the emulator needs none of it"
    assert "fabric bmv2" in text


def test_programs_of_root_are_found_with_a_user_s_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {}
    monkeypatch.setattr(
        "shutil.which", lambda name, path=None: asked.update({name: path})
    )
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    list(findings())
    assert {"nft", "ip"} <= set(asked)
    assert asked["nft"] == asked["ip"] == "/usr/bin:/bin:/usr/sbin:/sbin"


def test_packages_come_with_the_extra_that_brings_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert finding("torch").text.endswith("pip install 'intswitch[torch]'")
    assert shown()[0] is False


def test_a_cache_that_does_not_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(doctor, "preferred_folder", lambda: tmp_path)
    text = f"{tmp_path}, where compiled kernels are kept"
    assert finding("cache") == Finding("cache", True, text)
    monkeypatch.setattr(doctor, "preferred_folder", lambda: Path("/nowhere/intswitch"))
    found = finding("cache")
    assert not found.is_well
    assert found.text.startswith(f"{text}, for /nowhere/intswitch cannot be written to")
    assert "XDG_CACHE_HOME" in found.text
    assert shown()[0], "it runs all the same"


def test_what_was_left_behind_is_named_with_the_way_to_remove_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    spaces, folders = tmp_path / "netns", tmp_path / "tmp"
    monkeypatch.setattr(doctor, "NAMESPACES", spaces)
    monkeypatch.setattr(tempfile, "tempdir", str(folders))
    assert finding("nothing left behind").is_well, "no such folder"
    for name in (f"intswitch-{os.getpid()}-ab12-worker0", "other-1-2"):
        (spaces / name).mkdir(parents=True)
    for name in (f"intswitch-bmv2-{os.getpid()}-xy", "intswitch-0", "intswitch-user"):
        (folders / name).mkdir(parents=True)
    assert finding("nothing left behind").is_well, "all of them are somebody's"
    (spaces / f"intswitch-{gone.pid}-ab12-worker0").touch()
    (folders / f"intswitch-bmv2-{gone.pid}-xy").mkdir()
    assert finding("nothing left behind") == Finding(
        "nothing left behind",
        False,
        f"ip netns delete intswitch-{gone.pid}-ab12-worker0; "
        f"rm -r {folders}/intswitch-bmv2-{gone.pid}-xy",
    )
    assert shown()[0]


def test_a_fabric_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ModuleNotFoundError("No module named 'pyroute2'", name="pyroute2")

    monkeypatch.setattr(doctor, "find_fabric", fail)
    text = "pip install 'intswitch[bmv2]' (pyroute2 is missing)"
    assert finding("fabric bmv2") == Finding("fabric bmv2", False, text)
