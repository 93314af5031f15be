"""A real PostgreSQL server for the tests: its own directory, its own port, gone at the end.

Import the fixture ``postgres_server`` into a test module. Where the programs are missing
the tests fail and say what to install; they are not skipped.
"""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PASSWORD = "correct horse"
HOW_TO = "no PostgreSQL server programs found: install the package postgresql (Debian, Ubuntu)"


@dataclass
class Server:
    """A server that can be stopped and started again on the same port."""

    programs: Path
    home: Path
    port: int
    account: dict[str, Any]

    @property
    def root_cert(self) -> Path:
        """The certificate to trust; it is for ``localhost`` and no other name."""
        return self.home / "server.crt"

    def url(
        self,
        *,
        user: str = "postgres",
        password: str = PASSWORD,
        host: str = "127.0.0.1",
        query: str = "",
    ) -> str:
        """A URL of the database ``postgres``."""
        password = password.replace(" ", "%20")
        return f"postgresql://{user}:{password}@{host}:{self.port}/postgres{query}"

    def socket_url(self) -> str:
        return (
            f"postgresql://postgres:{PASSWORD.replace(' ', '%20')}@/postgres"
            f"?host={self.home}&port={self.port}"
        )

    def start(self) -> None:
        options = (
            f"-h 127.0.0.1 -p {self.port} -k {self.home} -F -c max_connections=30"
            f" -c ssl=on -c ssl_cert_file={self.home}/server.crt"
            f" -c ssl_key_file={self.home}/server.key"
        )
        log = str(self.home / "log")
        self._run("pg_ctl", "start", "-w", "-D", str(self.home / "data"), "-l", log, "-o", options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self.home / "data"))

    def initialise(self) -> None:
        password = self.home / "password"
        password.write_text(PASSWORD)
        self._run(
            "initdb", "--no-sync", "--auth=scram-sha-256", "--username=postgres",
            "--encoding=UTF8", "--locale=C", f"--pwfile={password}", "-D", str(self.home / "data"),
        )  # fmt: skip

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.programs / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.home,
            check=False,
            timeout=60,
            **self.account,
        )
        if done.returncode != 0:
            log = self.home / "log"
            said = log.read_text() if log.exists() else ""
            pytest.fail(f"{program} ended with {done.returncode}\n{said}", pytrace=False)


def _programs() -> Path:
    places = [Path(found).parent for found in [shutil.which("pg_ctl")] if found]
    if shutil.which("pg_config"):
        told = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True)
        places.append(Path(told.stdout.strip()))
    places += [Path(found) for found in sorted(glob.glob("/usr/lib/postgresql/*/bin"))[::-1]]
    for place in places:
        if all((place / name).exists() for name in ("initdb", "postgres", "pg_ctl")):
            return place
    pytest.fail(HOW_TO, pytrace=False)


def _account() -> dict[str, Any]:
    """PostgreSQL does not run as root; whoever is not root runs it as oneself."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _write_certificate(home: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (home / "server.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (home / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (home / "server.key").chmod(0o600)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A running server, one for the whole session."""
    account = _account()
    home = Path(tempfile.mkdtemp(prefix="consentry-pg-"))
    server = Server(_programs(), home, _free_port(), account)
    try:
        _write_certificate(home)
        if account:
            for path in (home, *home.iterdir()):
                os.chown(path, account["user"], account["group"])
        server.initialise()
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)
