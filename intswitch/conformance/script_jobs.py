"""The jobs of the golden packets: what stands behind the word `job`."""

from switch.config import Address, JobConfig, TreePlace
from switch.protocol import Overflow

JOB_FIELDS = (
    "workers", "num_slots", "slot_bytes", "overflow", "code4", "code8",
    "of", "ranks", "parent",
)  # fmt: skip


def job_of(number: int, given: dict[str, str], place: int) -> JobConfig:
    """A job of JOB_FIELDS, the one at `place` in its file. Raises KeyError,
    ValueError."""
    ranks = range(int(given["workers"]))
    return JobConfig(
        job=number,
        workers=tuple((f"10.0.{place}.{rank}", 5000) for rank in ranks),
        num_slots=int(given.get("num_slots", "4")),
        slot_bytes=int(given.get("slot_bytes", "64")),
        overflow=Overflow[given.get("overflow", "detect").upper()],
        code4=table_of(given.get("code4")),
        code8=table_of(given.get("code8")),
        tree=tree_of(given, (f"10.1.{place}.0", 5000)),
    )


def tree_of(given: dict[str, str], parent: Address) -> TreePlace | None:
    """The switch's place in a tree, of `of`, `ranks` and `parent`."""
    if "ranks" not in given:
        return None
    return TreePlace(
        num_workers=int(given["of"]),
        ranks=tuple(child_of(word) for word in given["ranks"].split(",")),
        parent=parent if given.get("parent") == "yes" else None,
    )


def child_of(word: str) -> int | tuple[int, ...]:
    """3: the worker of this rank. 3-5 or 1+3-5: a switch that leads to these."""
    if word.isdigit():
        return int(word)
    ranks: list[int] = []
    for part in word.split("+"):
        first, _, last = part.partition("-")
        ranks += range(int(first), int(last or first) + 1)
    return tuple(ranks)


def table_of(word: str | None) -> tuple[int, ...] | None:
    """Integers joined by commas; `5*60` is sixty times 5, `-8..7` all from -8 to 7."""
    if word is None:
        return None
    entries: list[int] = []
    for part in word.split(","):
        first, is_range, last = part.partition("..")
        value, _, times = first.partition("*")
        if is_range:
            entries += range(int(first, 0), int(last, 0) + 1)
        else:
            entries += [int(value, 0)] * int(times or "1")
    return tuple(entries)
