"""
The libraries of a user's own client may write neither payments nor sessions nor the keys in URLs of nodes into logs.

httpcore and httpcore2 log the headers of answers at DEBUG, hpack (HTTP/2, which only a user's own client speaks) all.
A user's own httpx client logs the URL of every request at INFO.
"""

import logging
import re

from og_integrations._urls import server_of
from og_integrations.client.channels._httpx_client import under_way
from og_integrations.protocol.payment._x402 import PAYMENT_SIGNATURE, SESSION

_LOGGERS = ("httpcore.http11", "httpcore.http2", "httpcore2.http11", "httpcore2.http2")
_URL_LOGGERS = ("httpx", "httpx2")
_HEADER_LOGGERS = ("hpack.hpack", "hpack.table")
_URL = re.compile(r"https?://[^\s'\"]+")
_NAMED = re.compile(rf"((?:{SESSION}|{PAYMENT_SIGNATURE})\b\W{{0,6}}b?['\"]?)[^'\"\s,)]+", re.IGNORECASE)
# A signature, and how the base64 of a payment begins: a gateway may send either back under any name.
_SECRET = re.compile(r"0x[0-9a-f]{130}|eyJ4NDAyVmVyc2lvbiI6IDIsICJwYXlsb2Fk[A-Za-z0-9+/=]*", re.IGNORECASE)


class _Redacting(logging.Filter):
    """This filter replaces secrets in the finished text of a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        redacted = _SECRET.sub("[redacted]", _NAMED.sub(r"\1[redacted]", text))
        if redacted != text:
            record.msg, record.args = redacted, None
        return True


class _Shortening(logging.Filter):
    """This filter shows scheme and host only of the URLs of our own requests; what else the client does is its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        if under_way():
            text = record.getMessage()
            shortened = _URL.sub(lambda url: server_of(url[0]), text)
            if shortened != text:
                record.msg, record.args = shortened, None
        return True


class _Silent(logging.Filter):
    """This filter lets nothing through: hpack also logs headers as the compressed bytes that they become."""

    def filter(self, record: logging.LogRecord) -> bool:
        return False


def redact_logs() -> None:
    """Keep payments, sessions and keys in URLs out of the logs of this process."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_Redacting())
    for name in _URL_LOGGERS:
        logging.getLogger(name).addFilter(_Shortening())
    for name in _HEADER_LOGGERS:
        logging.getLogger(name).addFilter(_Silent())
