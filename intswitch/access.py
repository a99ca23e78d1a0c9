"""Who may use a switch's control plane, as its file and its options say it.

control: {tls_certificate: switch.pem, tls_key: switch.key, tokens: tokens.yaml}

and in tokens.yaml

tokens: {train: what-its-workers-show, 7: what-resets-fixed-job-7}
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from intswitch.yaml_model import expect, read_model
from switch.security import Security

FilePath = Annotated[Path, Field(strict=False)]  # YAML has strings


def _is_token(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


Token = Annotated[str, expect("text of printable ASCII characters", _is_token)]


class TokensFile(BaseModel):
    """Tokens by a job's name, or a fixed job's number."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    tokens: dict[str | int, Token]


class SecurityPart(BaseModel):
    """Files are named from where the switch is started."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    tls_certificate: FilePath | None = None
    tls_key: FilePath | None = None
    tokens: FilePath | None = None
    insecure: bool = False

    def security(self) -> Security:
        """See `read_security`."""
        return read_security(
            self.tls_certificate, self.tls_key, self.tokens, self.insecure
        )


def read_security(
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    tokens: Path | None = None,
    insecure: bool = False,
) -> Security:
    """What these files say. Raises ValueError, which names the file."""
    if (tls_certificate is None) != (tls_key is None):
        missing = "tls_key" if tls_key is None else "tls_certificate"
        raise ValueError(f"{missing} is missing: a certificate and its key go together")
    return Security(
        certificate=_read(tls_certificate, "CERTIFICATE"),
        key=_read(tls_key, "PRIVATE KEY"),
        tokens=None if tokens is None else _tokens(tokens),
        insecure=insecure,
    )


def _read(path: Path | None, kind: str) -> bytes | None:
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    if f"{kind}-----".encode() not in content:
        raise ValueError(f"{path}: expected PEM with a block of {kind}")
    return content


def _tokens(path: Path) -> dict[str, str]:
    try:
        file = read_model(path, TokensFile, lambda document: ())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    return {str(job): token for job, token in file.tokens.items()}
