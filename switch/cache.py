"""Where what took long to make is kept from run to run: kernels, the P4 program."""

import os
import tempfile
from functools import cache
from pathlib import Path


def preferred_folder() -> Path:
    """In the user's cache folder (the XDG Base Directory Specification)."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "intswitch"


@cache
def cache_folder() -> Path:
    """A folder that can be written to: the preferred one, or one below TMPDIR.

    Raises OSError, which says what to do, if there is none.
    """
    preferred = preferred_folder()
    if preferred.parts[0] != "~" and _is_usable(preferred):  # "~": nobody has a home
        return preferred
    spare = Path(tempfile.gettempdir()) / f"intswitch-{os.getuid()}"
    # code is loaded from it: nobody else's will do
    if _is_usable(spare) and spare.lstat().st_uid == os.getuid():
        return spare
    raise OSError(
        f"neither {preferred} nor {spare} can be written to, to keep compiled kernels: "
        "set XDG_CACHE_HOME to a folder that can"
    )


def _is_usable(folder: Path) -> bool:
    """Makes it, if need be."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
