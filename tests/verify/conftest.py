"""The judge is tested on what the tests of the command line have: one devnet, and what was saved of a call there."""

from tests.cli.conftest import environment, network, receipt_file, saved, saved_text

__all__ = ["environment", "network", "receipt_file", "saved", "saved_text"]
