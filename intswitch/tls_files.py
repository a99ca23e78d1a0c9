"""The control plane's certificates, as switches' files have them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from switch.tls import Tls


class TlsPart(BaseModel):
    """Paths of files in PEM, from where the switch is started."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    certificate: str
    key: str
    authority: str | None = None

    def files(self) -> Tls:
        authority = None if self.authority is None else Path(self.authority)
        return Tls(
            certificate=Path(self.certificate), key=Path(self.key), authority=authority
        )
