"""host/compressors/level_messages.py: what is exchanged on the papers' path."""

import pytest
from leveling import METHODS, SLOT, N, gaussian, make
from local_network import LocalNetwork, results_of, run_workers


class Garbling(LocalNetwork):
    """A worker whose message loses its last byte."""

    def gather(self, message: bytes) -> list[bytes]:
        return super().gather(message[:-1])


def test_a_malformed_message_is_an_error_on_every_worker() -> None:
    gradient = gaussian()[0]

    def work(network: LocalNetwork) -> None:
        if network.rank == 2:
            network = Garbling(network.fabric, 2)
        made = make(METHODS["nuqsgd, gather"])
        with pytest.raises(ValueError, match="message of worker 2: it ends within"):
            made.average(gradient[network.rank], network)

    results_of(run_workers(N, work, slot_bytes=SLOT))
