"""Processes that gevent has patched (gunicorn, celery, Locust): greenlets share a client, and the pin holds."""

import os
import subprocess
import sys
from pathlib import Path

import og_integrations
from og_integrations.devnet import Devnet

ROOT = Path(og_integrations.__file__).parent.parent
PATCHED = """
from gevent import monkey; monkey.patch_all()
import gevent
from og_integrations import Client, OpenGradientError

client = Client(max_retries=0, max_concurrency=4)

def ask(text): return client.chat("openai/gpt-5-mini", [{"role": "user", "content": text}])
"""
ASKS = """
jobs = [gevent.spawn(ask, f"[[delay=500]] {number}") for number in range(8)]
gevent.joinall(jobs, timeout=50, raise_error=True)
print(*sorted(job.value.text[-1] for job in jobs))
print(*{job.value.receipt["status"] for job in jobs}, *{job.value.receipt["channel"] for job in jobs})
*texts, answer = client.stream("openai/gpt-5-mini", [{"role": "user", "content": "streamed"}])
print("".join(texts) == answer.text)
"""
IS_REFUSED = """
try: print(ask("SECRET PROMPT"))
except OpenGradientError as exc: print(type(exc).__name__)
"""


def run(net: Devnet, program: str) -> list[str]:
    command = [sys.executable, "-W", "ignore", "-c", PATCHED + program]
    environment = os.environ | net.environment()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_greenlets_share_a_client(net: Devnet) -> None:
    assert run(net, ASKS) == ["0 1 2 3 4 5 6 7", "verified pinned", "True"]
    assert net.stats().payments == 1


def test_pin_holds(net: Devnet) -> None:
    """Gevent brings sockets of its own, which compare nothing."""
    net.inject("wrong_certificate")
    assert run(net, IS_REFUSED) == ["CertificateMismatchError"]
