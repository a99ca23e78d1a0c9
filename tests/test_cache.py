"""The folder for what took long to make, on machines that have no place for it."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from switch.cache import cache_folder

Folder = Callable[[str], Path]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """The folder that is found with this XDG_CACHE_HOME, below `tmp_path`."""

    def found(home: str) -> Path:
        monkeypatch.setenv("XDG_CACHE_HOME", home and str(tmp_path / home))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        return cache_folder.__wrapped__()

    (tmp_path / "tmp").mkdir()
    (tmp_path / "file").touch()  # no folder can be made there, not even by root
    return found


def spare(tmp_path: Path) -> Path:
    return tmp_path / "tmp" / f"intswitch-{os.getuid()}"


def test_the_user_s_own(folder: Folder, tmp_path: Path) -> None:
    assert folder("deep/cache") == tmp_path / "deep" / "cache" / "intswitch"
    assert folder("deep/cache").is_dir()


def test_one_below_tmpdir_instead(folder: Folder, tmp_path: Path) -> None:
    assert folder("file") == spare(tmp_path)
    assert folder("file").stat().st_mode & 0o777 == 0o700
    assert folder("file") == spare(tmp_path), "it is there already"


def test_one_that_can_be_read_alone(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may = lambda path, mode: "cache" not in str(path)  # noqa: E731
    monkeypatch.setattr(os, "access", may)
    assert folder("cache") == spare(tmp_path)


def test_nobody_has_a_home(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda text: text)
    assert folder("") == spare(tmp_path)
    assert not Path("~").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_somebody_else_s_is_not_trusted(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    spare(tmp_path).symlink_to(tmp_path / "theirs")
    os.lchown(spare(tmp_path), 12345, -1)
    told = rf"neither .*file/intswitch nor {spare(tmp_path)} can .* XDG_CACHE_HOME"
    with pytest.raises(OSError, match=told):
        folder("file")


def test_no_place_at_all(folder: Folder, tmp_path: Path) -> None:
    spare(tmp_path).touch()
    with pytest.raises(OSError, match="set XDG_CACHE_HOME to a folder that can"):
        folder("file")
