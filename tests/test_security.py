"""Who may use the control plane: TLS, tokens, and where it listens without."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from fake_dataplane import FakeDataplane
from typer.testing import CliRunner

from host.access import Access
from host.channel import SwitchRefused
from host.controller import JoinRefused, Membership, join_job, ping, reset
from intswitch.access import read_security
from intswitch.cli import app
from intswitch.standalone import with_options
from switch.admission import JoinRequest
from switch.branch import Branch
from switch.config import JobConfig, SwitchConfig
from switch.control import Control, Joined, Refused
from switch.security import Security
from switch.service import ControlService

FIXED = JobConfig(job=2, workers=(("127.0.0.1", 6001),), num_slots=8, slot_bytes=256)
TOKENS = {"demo": "sesame", "2": "reset me"}
AUTHORITY = trustme.CA()
WAIT = 10.0  # seconds after which a test fails instead of hanging


def certified(*hosts: str) -> Security:
    made = AUTHORITY.issue_cert(*hosts)
    chain = b"".join(each.bytes() for each in made.cert_chain_pems)
    return Security(certificate=chain, key=made.private_key_pem.bytes())


@contextmanager
def serve(security: Security, host: str = "127.0.0.1") -> Iterator[str]:
    config = SwitchConfig(jobs=(FIXED,), security=security)
    control = Control(config, FakeDataplane(FIXED))
    service = ControlService(control, threading.Lock(), host, 0, security=security)
    service.start()
    try:
        yield f"{host}:{service.port}"
    finally:
        service.stop()


def join(address: str, access: Access, rank: int = 0, **changes: Any) -> Membership:
    fields: dict[str, Any] = {
        "job": "demo",
        "rank": rank,
        "num_workers": 1,
        "data_address": ("127.0.0.1", 5000 + rank),
        "num_slots": 4,
        "slot_bytes": 64,
        "timeout": WAIT,
    }
    return join_job(address, access=access, **fields | changes)


# where it listens


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.7", "2001:db8::1"])
def test_other_machines_are_not_served_without_a_certificate(address: str) -> None:
    with pytest.raises(ValueError, match=f"{address}: .*--tls-certificate"):
        Security().check_address(address)
    Security(insecure=True).check_address(address)
    Security(certificate=b"some", key=b"some").check_address(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_is(address: str) -> None:
    Security().check_address(address)


def test_the_service_does_not_start_there() -> None:
    control = Control(SwitchConfig(), FakeDataplane())
    service = ControlService(control, threading.Lock(), "0.0.0.0", 0)
    with pytest.raises(ValueError, match=r"0\.0\.0\.0"):
        service.start()
    service.stop()


def test_nor_does_the_command() -> None:
    result = CliRunner().invoke(app, ["switch", "--address", "0.0.0.0", "--port", "0"])
    assert isinstance(result.exception, ValueError)
    assert "--insecure" in str(result.exception)


# TLS


def test_workers_join_over_tls() -> None:
    access = Access(certificate=AUTHORITY.cert_pem.bytes())
    with serve(certified("127.0.0.1")) as address:
        assert ping(address, access) < WAIT
        member = join(address, access)
        assert member.counters() == {"accepted": 1}  # of the fake data plane
        member.leave()


@pytest.mark.parametrize(
    ("security", "access"),
    [
        (certified("127.0.0.1"), Access()),
        (certified("127.0.0.1"), Access(certificate=trustme.CA().cert_pem.bytes())),
        (certified("192.0.2.7"), Access(certificate=AUTHORITY.cert_pem.bytes())),
        (Security(), Access(certificate=AUTHORITY.cert_pem.bytes())),
    ],
    ids=["no TLS", "another authority", "another host", "no certificate"],
)
def test_who_is_not_vouched_for_is_not_talked_to(
    security: Security, access: Access
) -> None:
    with (
        serve(security) as address,
        pytest.raises(ConnectionError, match="INTSWITCH_CERTIFICATE"),
    ):
        join(address, access, timeout=0.5)


# tokens


@pytest.mark.parametrize(
    ("job", "token", "said"),
    [
        ("demo", "", "is missing"),
        ("demo", "sesam", "is another one"),
        ("other", "sesame", "has none for it"),
    ],
)
def test_a_stranger_is_refused_and_learns_nothing(
    job: str, token: str, said: str
) -> None:
    with (
        serve(Security(tokens=TOKENS)) as address,
        pytest.raises(JoinRefused, match=said) as refused,
    ):
        join(address, Access(token=token), job=job, num_slots=1 << 20)
    assert "num_slots" not in str(refused.value)
    assert "sesame" not in str(refused.value)


def test_who_has_the_token_joins() -> None:
    with serve(Security(tokens=TOKENS)) as address:
        join(address, Access(token="sesame")).leave()


def test_a_reset_takes_the_fixed_job_s_token() -> None:
    with serve(Security(tokens=TOKENS)) as address:
        with pytest.raises(SwitchRefused, match="'2': its token is missing"):
            reset(address, 2, Access())
        reset(address, 2, Access(token="reset me"))


def test_a_job_s_first_worker_chooses_its_token() -> None:
    control = Control(SwitchConfig(), FakeDataplane())
    asked = JoinRequest(
        job="a", rank=0, num_workers=2, data=("127.0.0.1", 5000), token="ours"
    )
    first = control.join(asked, now=0.0)
    second = replace(asked, rank=1, data=("127.0.0.1", 5001))
    for token in ("", "theirs"):
        control.join(replace(second, token=token), now=0.0)
        ((_, refused),) = control.take_events()
        assert isinstance(refused, Refused)
        assert "its token" in refused.reason
    last = control.join(second, now=0.0)
    assert [(member, type(event)) for member, event in control.take_events()] == [
        (first, Joined),
        (last, Joined),
    ]


@pytest.mark.parametrize("below", [False, True])
def test_a_member_s_number_cannot_be_guessed(below: bool) -> None:
    """Who knows it may leave in its name; at a switch below another one, too."""
    control = Control(SwitchConfig(), FakeDataplane())
    branch = Branch(control)
    asked = JoinRequest(job="a", rank=0, num_workers=1, data=("127.0.0.1", 5000))
    named = [replace(asked, job=str(each)) for each in range(64)]
    numbers = [branch.open(n) if below else control.join(n, now=0.0) for n in named]
    assert len(set(numbers)) == 64
    assert sum(each < 1 << 40 for each in numbers) == 0


def test_secrets_are_not_shown() -> None:
    asked = JoinRequest(
        job="a", rank=0, num_workers=1, data=("127.0.0.1", 1), token="sesame"
    )
    security = Security(tokens=TOKENS, key=b"sesame")
    for each in (
        asked,
        security,
        Access(token="sesame"),
        SwitchConfig(security=security),
    ):
        assert "sesame" not in repr(each)


# what files and the environment say


def test_files(tmp_path: Path) -> None:
    pair = certified("127.0.0.1")
    assert pair.certificate is not None
    assert pair.key is not None
    certificate, key, tokens = (tmp_path / name for name in ("c.pem", "k.pem", "t"))
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    tokens.write_text("tokens:\n  demo: sesame\n  2: reset me\n")
    assert read_security(certificate, key, tokens) == replace(pair, tokens=TOKENS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tls_certificate": "absent"}, "tls_key is missing"),
        ({"tls_key": "absent"}, "tls_certificate is missing"),
        ({"tls_certificate": "absent", "tls_key": "words"}, "absent: No such file"),
        ({"tls_certificate": "words", "tls_key": "words"}, "words: expected PEM"),
        ({"tokens": "absent"}, "absent: No such file"),
        ({"tokens": "words"}, "words: expected the fields tokens"),
        ({"tokens": "brackets"}, "brackets:1: not YAML"),
        ({"tokens": "number"}, "number:1: tokens.demo: expected text of printable"),
    ],
)
def test_wrong_files(given: Mapping[str, str], said: str, tmp_path: Path) -> None:
    for name, text in (
        ("words", "abc"),
        ("brackets", "[["),
        ("number", "tokens: {demo: 7}"),
    ):
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        read_security(**{name: tmp_path / file for name, file in given.items()})


def test_options_change_only_what_they_say(tmp_path: Path) -> None:
    """A switch whose file has tokens must not forget them for a certificate."""
    certificate, key = (tmp_path / name for name in ("c.pem", "k.pem"))
    pair = certified("127.0.0.1")
    assert pair.certificate is not None
    assert pair.key is not None
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    before = SwitchConfig(security=Security(tokens=TOKENS))
    given = {"tls_certificate": certificate, "tls_key": key}
    assert with_options(before, given).security == replace(pair, tokens=TOKENS)
    insecure = with_options(before, {"insecure": True}).security
    assert insecure == replace(before.security, insecure=True)


def test_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "c.pem"
    file.write_bytes(b"PEM")
    found = Access.from_environment(
        {"INTSWITCH_CERTIFICATE": str(file), "INTSWITCH_TOKEN": "sesame"}
    )
    assert found == Access(certificate=b"PEM", token="sesame")
    assert Access.from_environment({}) == Access()
    with pytest.raises(ValueError, match="INTSWITCH_CERTIFICATE=nowhere: No such file"):
        Access.from_environment({"INTSWITCH_CERTIFICATE": "nowhere"})
    with pytest.raises(ValueError, match="printable"):
        Access(token="a\nb")
