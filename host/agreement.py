"""Workers that must do the same say what they are about to do, before they do it."""

from collections.abc import Sequence
from zlib import crc32

import numpy as np

from host.collectives import Collectives
from host.compressors.base import Network

MOST = 4
"""Of pairs of workers that an error names."""


class Disagreement(ValueError):
    """The workers are not about to do the same. The network can be used further."""


def agree(network: Network, text: str) -> None:
    """Raise Disagreement, on every worker, unless all have the same text.

    One chunk, whose maximum tells the largest of the texts' digests and the smallest;
    only if they differ are the texts themselves exchanged.
    """
    digest = np.array(crc32(text.encode()), np.uint32).astype(np.int32)
    largest, complement = network.max(np.stack([digest, ~digest]))
    if largest == ~complement:
        return
    texts = [each.decode() for each in network.gather(text.encode())]
    raise Disagreement(f"the workers do not do the same: {'; '.join(told(texts))}")


def agree_on_parts(
    network: Collectives, sent: Sequence[int], expected: Sequence[int]
) -> None:
    """Raise Disagreement, on every worker, unless each sends every other as many
    elements as that expects of it. sent, expected: of this one, by rank."""
    every = network.all_gather(np.array([sent, expected], np.int64))
    given, wanted = every[:, 0], every[:, 1].T
    wrong = [
        f"rank {one} sends {given[one, other]} elements to rank {other}, which expects "
        f"{wanted[one, other]}"
        for one, other in np.argwhere(given != wanted)
    ]
    if wrong:
        rest = [f"and {len(wrong) - MOST} more"] if len(wrong) > MOST else []
        raise Disagreement(
            f"the workers do not do the same: {'; '.join(wrong[:MOST] + rest)}"
        )


def told(texts: list[str]) -> list[str]:
    """Each text once, with the ranks that have it."""
    ranks: dict[str, list[int]] = {}
    for rank, text in enumerate(texts):
        ranks.setdefault(text, []).append(rank)
    return [
        f"{'rank' if len(who) == 1 else 'ranks'} {', '.join(map(str, who))}: {text}"
        for text, who in ranks.items()
    ]
