"""The command line's side of a conversation with the operator's own server.

The address is the operator's word, not a configured destination, and it is usually on this
machine or a private network. So the guard that keeps deliveries off such addresses has no
place here. Redirects are not followed and proxies not asked: the admin key goes to the host
that was named, and nowhere else.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from consentry import __version__
from consentry.cli.group import CONFIGURATION, UNREACHABLE, USAGE, CliError
from consentry.cli.output import note
from consentry.secret import Secret

TIMEOUT_S = 30.0
LONGEST_ANSWER = 256 * 1024 * 1024  # bytes
LONGEST_LINE = 16 * 1024 * 1024  # bytes
LONGEST_WAIT_S = 60.0  # for a server that asks for patience
_PORTS = {"http": 80, "https": 443}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Server:
    """A running server. ``admin_key`` is sent with every request and never shown.

    Every failure is a CliError: 4 when the server cannot be reached or fails, 3 when the
    admin key is missing or wrong, 2 when the request was refused.
    """

    def __init__(
        self, url: str, admin_key: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._parts = _read_url(url)
        self._timeout_s = timeout_s
        self._key = None if admin_key is None else Secret(_checked_key(admin_key))
        self.name = f"{self._parts.scheme}://{self._parts.netloc}{self._parts.path.rstrip('/')}"
        if self._key is not None and self._parts.scheme == "http":
            self._warn_of_plain_text()

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The JSON object at ``path``. Members of ``query`` that are None are left out."""
        return self._json("GET", _with_query(path, query), None)

    def post(self, path: str, body: Mapping[str, Any], *, tries: int = 1) -> dict[str, Any]:
        """The JSON object that answers ``body``.

        With ``tries`` above 1 the same request is sent again while the server asks for
        patience (429, 503); only for requests that may be repeated.
        """
        data = json.dumps(body).encode("ascii")
        for left in range(tries - 1, 0, -1):
            try:
                return self._json("POST", path, data)
            except _Busy as busy:
                note(f"the server asks for patience; {left} more tries")
                time.sleep(busy.retry_after_s)
        return self._json("POST", path, data)

    def text(self, path: str) -> str:
        """The text at ``path``."""
        with self._asked("GET", path, None, self._timeout_s) as response:
            return _read(response).decode("utf-8", "replace")

    def lines(
        self, path: str, body: Any = None, *, endless: bool = False, **query: Any
    ) -> Iterator[dict[str, Any]]:
        """The JSON objects of an ``application/x-ndjson`` answer, as they come.

        With a ``body`` it is sent, as JSON. ``endless`` is for a stream that may be silent for hours.
        """
        target = _with_query(path, query)
        data = None if body is None else json.dumps(body).encode("ascii")
        method = "GET" if data is None else "POST"
        with self._asked(method, target, data, self._timeout_s, endless=endless) as response:
            for line in _lines(response):
                if line.strip():
                    yield self._object(line)

    def _json(self, method: str, target: str, data: bytes | None) -> dict[str, Any]:
        with self._asked(method, target, data, self._timeout_s) as response:
            return self._object(_read(response))

    def _object(self, data: bytes) -> dict[str, Any]:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise CliError(
                f"{self.name} answered something that is not Consentry's: check --server",
                UNREACHABLE,
            )
        return value

    @contextmanager
    def _asked(
        self,
        method: str,
        target: str,
        data: bytes | None,
        timeout_s: float,
        *,
        endless: bool = False,
    ) -> Iterator[HTTPResponse]:
        """One request and its answer, which is a success. The world's failures are worded here."""
        connection = self._connect(timeout_s)
        try:
            connection.request(
                method, self._parts.path.rstrip("/") + target, data, self._headers(data)
            )
            response = connection.getresponse()
            if not 200 <= response.status < 300:
                raise self._refusal(response, target.partition("?")[0])
            if endless and connection.sock is not None:
                connection.sock.settimeout(None)
            yield response
        except TimeoutError:
            raise CliError(
                f"{self.name} did not answer within {timeout_s:g} seconds: is it overloaded?",
                UNREACHABLE,
            ) from None
        except socket.gaierror:
            raise CliError(
                f"{self.name}: there is no such host: check --server", UNREACHABLE
            ) from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise CliError(
                f"{self.name} cannot be reached ({reason}): start it with `consentry serve`, "
                "or name another with --server",
                UNREACHABLE,
            ) from None
        finally:
            connection.close()

    def _connect(self, timeout_s: float) -> HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port or _PORTS[self._parts.scheme]
        kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        return kind(host, port, timeout=timeout_s)

    def _headers(self, data: bytes | None) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": f"consentry-cli/{__version__}"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key.reveal()}"
        return headers

    def _refusal(self, response: HTTPResponse, path: str) -> CliError:
        """What a status that is no success means for the person at the keyboard."""
        status, said = response.status, _problem(_read(response))
        if status in (401, 403):
            if self._key is None:
                return CliError(
                    "this needs the admin key: set CONSENTRY_ADMIN_KEY to it", CONFIGURATION
                )
            return CliError(
                f"{self.name} refused the admin key: set CONSENTRY_ADMIN_KEY to the value of "
                "[server] admin_key",
                CONFIGURATION,
            )
        if status in (429, 503):
            wait = _seconds(response.getheader("Retry-After"))
            return _Busy(f"{self.name} is busy: {said or status}; try again", wait)
        if status >= 500:
            return CliError(f"{self.name} failed: {said or status}; see its log", UNREACHABLE)
        if said is None:
            return CliError(
                f"{self.name} answered {status} for {path}: check that --server names a "
                "Consentry server of this version",
                UNREACHABLE,
            )
        return CliError(f"the server refused this: {said}", USAGE)

    def _warn_of_plain_text(self) -> None:
        if self._parts.hostname not in _LOOPBACK:
            note(f"the admin key goes to {self.name} unencrypted: use https where you can")


class _Busy(CliError):
    """The server asks to be asked again after ``retry_after_s`` seconds."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message, UNREACHABLE)
        self.retry_after_s = retry_after_s


def _read_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or parts.query or parts.fragment:
        raise CliError("--server must look like https://consentry.example:8000", USAGE)
    if "@" in parts.netloc:
        raise CliError(
            "--server must not hold a key or password: set CONSENTRY_ADMIN_KEY instead", USAGE
        )
    return parts


def _checked_key(key: str) -> str:
    if not (key.isascii() and key.isprintable()):
        raise CliError(
            "CONSENTRY_ADMIN_KEY holds characters that no key has: set it again, without line ends",
            CONFIGURATION,
        )
    return key


def _with_query(path: str, query: Mapping[str, Any]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _read(response: HTTPResponse) -> bytes:
    data = response.read(LONGEST_ANSWER + 1)
    if len(data) > LONGEST_ANSWER:
        raise CliError("the answer is too long: ask for less", UNREACHABLE)
    return data


def _lines(response: HTTPResponse) -> Iterator[bytes]:
    """Lines as they come. ``read1`` notices a stream that was cut off; ``readline`` does not."""
    rest = b""
    read: Callable[[int], bytes] = response.read1
    while part := read(65_536):
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
        if len(rest) > LONGEST_LINE:
            raise CliError("the server sent a line without an end", UNREACHABLE)
    yield rest


def _problem(data: bytes) -> str | None:
    """The words of an error body; None when it is not one of ours."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict) or not isinstance(body.get("message"), str):
        return None
    where = [str(body[name]) for name in ("code", "field") if body.get(name)]
    return f"{body['message']} ({', '.join(where)})" if where else str(body["message"])


def _seconds(header: str | None) -> float:
    text = (header or "").strip()
    return min(float(text), LONGEST_WAIT_S) if text.isascii() and text.isdigit() else 1.0
