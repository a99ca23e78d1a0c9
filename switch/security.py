"""Who may use the control plane: the switch's certificate, and a token for each job.

Without a certificate everybody on the way reads and changes what is said, so that the
control plane then serves this machine alone, unless it is told otherwise. The data path
has neither: packets are known by their addresses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from ipaddress import ip_address

NOT_EXPOSED = (
    "the control plane would be open to all who reach it, to join and to reset jobs: "
    "give it a certificate (--tls-certificate and --tls-key), or --insecure if the "
    "network is yours alone"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """What the control plane asks for."""

    certificate: bytes | None = None
    """PEM: the switch's certificate, and those between it and the authority's."""

    key: bytes | None = field(default=None, repr=False)
    """PEM: of the certificate."""

    tokens: Mapping[str, str] | None = field(default=None, repr=False)
    """By a job's name, or a fixed job's number: what its workers show. No other job can
    be joined or reset. None: a job's first worker chooses its token, or none."""

    insecure: bool = False
    """Serve more than this machine without a certificate."""

    above: bytes | None = None
    """PEM: vouches for the certificate of the switch above, in a tree. None: no TLS."""

    def certified(self) -> tuple[bytes, bytes] | None:
        """Key and certificate, if there are."""
        if self.certificate is None or self.key is None:
            return None
        return self.key, self.certificate

    def check_address(self, address: str) -> None:
        """Raises ValueError if the control plane must not listen there."""
        served = self.certified() is not None or self.insecure
        if not served and not ip_address(address).is_loopback:
            raise ValueError(f"address {address}: {NOT_EXPOSED}")

    def objection(self, job: str, token: str) -> str | None:
        """Why nobody with this token may use the job, or None."""
        if self.tokens is None:
            return None
        if job not in self.tokens:
            return f"job {job!r}: the switch's file of tokens has none for it"
        return None if same(token, self.tokens[job]) else wrong_token(job, token)


def same(token: str, other: str) -> bool:
    """Compared in a time that tells nothing."""
    return compare_digest(token.encode(), other.encode())


def wrong_token(job: str, token: str) -> str:
    """The text for who showed it. It repeats no token."""
    what = "is another one" if token else "is missing"
    return f"job {job!r}: its token {what}; workers take it from INTSWITCH_TOKEN"
