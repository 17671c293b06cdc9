"""What libraries below us log: no payment and no session, however the line is made."""

import logging

import pytest

from og_integrations.client.channels._connections import SyncConnections
from og_integrations.protocol.payment._x402 import encode_header

PAYMENT = encode_header({"x402Version": 2, "payload": {"signature": "0x" + "5a" * 65}})
SESSION = "1f0c2b7e-5e55-4d1a-9a52-0d5a3b1e7c11"
SIGNATURE = "0x" + "5a" * 65


@pytest.mark.parametrize("name", ["httpcore.http11", "httpcore.http2", "httpcore2.http11", "httpcore2.http2"])
@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        (f"return_value=(200, [(b'X-Upto-Session', b'{SESSION}'), (b'Server', b'x')])", ()),
        ("headers=%r", ([(b"payment-signature", PAYMENT.encode()), (b"Server", b"x")],)),
        ("headers=%s", ({"x-upto-session": SESSION, "Server": "x"},)),
        ("headers=%r", ([(b"x-anything", PAYMENT.encode()), (b"X-Settlement-Tx-Hash", SIGNATURE.encode())],)),
    ],
)
def test_secrets_are_redacted(
    name: str, line: str, arguments: tuple[object, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Those that are named, and what is a payment under any name."""
    SyncConnections()  # its module is loaded, which is what redacts
    caplog.set_level(logging.DEBUG)
    logging.getLogger(name).debug(line, *arguments)
    (record,) = caplog.records
    assert "[redacted]" in record.getMessage()
    assert "Server" in record.getMessage() or "Hash" in record.getMessage()
    shown = f"{record.__dict__} {caplog.text}"
    assert not [secret for secret in (SESSION, PAYMENT, PAYMENT[:40], SIGNATURE, SIGNATURE[2:]) if secret in shown]


def test_other_lines_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpcore.http11").debug("send_request_headers.started request=%r", "POST")
    (record,) = caplog.records
    assert (record.msg, record.args) == ("send_request_headers.started request=%r", ("POST",))


@pytest.mark.parametrize("name", ["hpack.hpack", "hpack.table"])
def test_http2_headers_are_not_logged(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Only a client of the user's own speaks HTTP/2; hpack also logs what the headers are compressed to."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger(name).debug("Adding %s=%s to the header table", b"x-upto-session", SESSION)
    logging.getLogger(name).debug("Encoded header block to %s", b"\x82\x84")
    assert caplog.records == []
