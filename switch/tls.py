"""Certificates of the control plane, which both of its ends share."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files in PEM. A switch needs certificate and key; a worker, the authority that
    the switch's certificate is from. What the other side asks for comes on top."""

    certificate: Path | None = None
    """Who this end is. A switch may ask workers for theirs."""

    key: Path | None = None
    """Of the certificate."""

    authority: Path | None = None
    """Whose certificates are believed. At a switch: workers must have one of its."""

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Authority, key, certificate, as gRPC has them. Raises OSError."""
        authority, key, certificate = (
            None if path is None else Path(path).read_bytes()
            for path in (self.authority, self.key, self.certificate)
        )
        return authority, key, certificate
