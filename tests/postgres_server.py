"""
A PostgreSQL server for tests: its own data in a temporary folder, a Unix socket there, and nobody else's server.

PostgreSQL refuses to run as root; root's tests run it as `postgres`, or `nobody`. Where the programs are missing,
`find_programs` says what to install.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

MISSING = "PostgreSQL is missing (initdb and postgres): apt-get install postgresql"


def find_programs() -> Path | None:
    """Return the folder of `initdb` and `postgres`, None if there is none."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    for place in [*places, *([Path(found).resolve().parent] if found else [])]:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    return None


def _user() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


class PostgresServer:
    """A server of one's own; a context manager. `url` is that of a new, empty database."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="og-pg-"))
        self._as: dict[str, Any] = (
            {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if (user := _user()) else {}
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if self._as:
            os.chown(self._folder, pwd.getpwnam(self._as["user"]).pw_uid, self._as["group"])
        options = ["-D", "data", "-U", "og", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"]
        command: list[Any] = [self._programs / "initdb", *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self._there)
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop(signal.SIGINT)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _there(self) -> dict[str, Any]:
        return {"cwd": self._folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}} | self._as

    @property
    def process_id(self) -> int:
        """Return the id of its first process; each connection is a child of it."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["-D", "data", "-k", str(self._folder), "-c", "listen_addresses=", "-c", "max_connections=60"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", *options, "-c", "shared_buffers=16MB"], stderr=log, **self._there
            )
        ready: list[Any] = [self._programs / "pg_isready", "-q", "-h", str(self._folder), "-t", "1"]
        while subprocess.run(ready, check=False, **self._there).returncode != 0:
            assert self._process.poll() is None, (self._folder / "log").read_text()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT is PostgreSQL's fast shutdown, SIGQUIT an immediate one, as in a crash."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(30)

    def new_database(self) -> str:
        """Return the URL of a place for tables that is empty: a schema, which is made faster than a database."""
        name = f"og_{secrets.token_hex(6)}"
        url = f"postgresql://og@/postgres?host={self._folder}&options=-csearch_path%3D{name}"
        self.sql(url, f"CREATE SCHEMA {name}")
        return url

    def sql(self, url: str, *statements: str) -> list[Any]:
        """Run statements as another program would; return the rows of the last one, if it has any."""
        import psycopg

        with psycopg.connect(url, autocommit=True) as db:
            for statement in statements:
                done = db.execute(statement)  # type: ignore[call-overload, unused-ignore]
            return done.fetchall() if done.description else []
