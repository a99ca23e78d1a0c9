"""What a worker shows to the control plane, and what it asks of it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from switch.protocol import TOKEN

CERTIFICATE, TOKEN_VARIABLE = "INTSWITCH_CERTIFICATE", "INTSWITCH_TOKEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """See the module. Like its switch's `Security`, from the other side."""

    certificate: bytes | None = None
    """PEM: of the authority that signed the switch's certificate, or that one itself.
    The switch must then prove that it is the host that was asked for. None: no TLS."""

    token: str = field(default="", repr=False)
    """Of the job."""

    def __post_init__(self) -> None:
        if not (self.token.isascii() and self.token.isprintable()):
            raise ValueError("token: expected printable ASCII characters")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """INTSWITCH_CERTIFICATE names a file, INTSWITCH_TOKEN is the token; neither
        must be there. Raises ValueError if the file cannot be read."""
        path = environment.get(CERTIFICATE)
        try:
            certificate = Path(path).read_bytes() if path else None
        except OSError as error:
            raise ValueError(f"{CERTIFICATE}={path}: {error.strerror}") from None
        return cls(certificate=certificate, token=environment.get(TOKEN_VARIABLE, ""))

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """For a call of gRPC's."""
        return ((TOKEN, self.token),) if self.token else ()
