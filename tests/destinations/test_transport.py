"""The outbound client against a real server on loopback."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import socket
import ssl
import traceback
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consentry.destinations.message import LastLookRefused, Request
from consentry.destinations.transport import Kind, OutboundClient, TransportError
from consentry.destinations.wire import BODY_MAX

from .wire_server import OK, Answer, answer, reset, serving, silence


class ScriptedResolver:
    """Gives the next list of addresses each time it is asked; an empty script is no name."""

    def __init__(self, *script: Sequence[str]) -> None:
        self.script = list(script)
        self.asked: list[str] = []

    async def resolve(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if not self.script:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return self.script.pop(0)


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    made = OutboundClient(allow_private=True, timeout_s=5)
    yield made
    await made.close()


def post(url: str, body: bytes = b'{"a":1}', **headers: str) -> Request:
    return Request("POST", url, tuple(headers.items()), body)


async def failure(client: OutboundClient, request: Request, **how: float) -> TransportError:
    with pytest.raises(TransportError) as failed:
        await client.send(request, timeout_s=how.get("timeout_s"))
    return failed.value


async def test_a_request_arrives_as_it_was_written(client: OutboundClient) -> None:
    async with serving(answer(200, b"yes", ["X-Seen: 1", "Retry-After: 3"])) as server:
        response = await client.send(post(f"{server.url}/a%20b?c=d:e", Authorization="Basic eA=="))

        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        assert lines[0] == "POST /a%20b?c=d:e HTTP/1.1"
        assert f"Host: 127.0.0.1:{server.port}" in lines
        assert "Authorization: Basic eA==" in lines
        assert "Accept-Encoding: identity" in lines
        assert body == b'{"a":1}'
        assert (response.status, response.body) == (200, b"yes")
        assert (response.headers["x-seen"], response.headers["retry-after"]) == ("1", "3")


async def test_a_connection_is_used_again(client: OutboundClient) -> None:
    async with serving(OK) as server:
        for _ in range(3):
            await client.send(post(server.url))
        assert (server.connections, len(server.requests)) == (1, 3)


async def test_a_request_without_a_body_is_sent(client: OutboundClient) -> None:
    async with serving(OK) as server:
        response = await client.send(Request("GET", f"{server.url}/x", (), b""))
        assert response.status == 200
        assert server.requests[0].startswith(b"GET /x HTTP/1.1\r\n")


async def test_cookies_are_not_kept(client: OutboundClient) -> None:
    async with serving(answer(200, b"", ["Set-Cookie: a=b"])) as server:
        await client.send(post(server.url))
        await client.send(post(server.url))
        assert b"cookie" not in bytes(server.received).lower()


async def test_the_environment_names_no_proxy(
    client: OutboundClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(OK) as proxy, serving(OK) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        await client.send(post(server.url))
        assert (proxy.connections, server.connections) == (0, 1)


# The last look


async def test_the_last_look_comes_after_connecting_and_before_the_first_byte(
    client: OutboundClient,
) -> None:
    async with serving(OK) as server:
        connected = asyncio.Event()
        server.on_connect = connected.set
        seen: list[bytes] = []
        await client.send(post(server.url), lambda: seen.append(bytes(server.received)))
        assert connected.is_set()
        assert seen == [b""]
        assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"", b"{}", b"x" * 1_000_000], ids=["none", "small", "large"])
async def test_a_refused_last_look_sends_not_one_byte(client: OutboundClient, body: bytes) -> None:
    def refuse() -> None:
        raise LastLookRefused("withdrawn")

    async with serving(OK) as server:
        with pytest.raises(LastLookRefused, match="withdrawn"):
            await client.send(post(server.url, body), refuse)
        await server.all_ended()
        assert server.connections == 1
        assert server.received == b""


async def test_a_withdrawal_while_connecting_stops_the_send(client: OutboundClient) -> None:
    withdrawn = False

    def withdraw() -> None:
        nonlocal withdrawn
        withdrawn = True

    def look() -> None:
        if withdrawn:
            raise LastLookRefused

    async with serving(OK) as server:
        resolver = WithdrawingResolver(withdraw)
        slow = OutboundClient(allow_private=True, resolver=resolver)
        with pytest.raises(LastLookRefused):
            await slow.send(post(f"http://shop.test:{server.port}/"), look)
        await slow.close()
        await server.all_ended()
        assert server.received == b""


class WithdrawingResolver:
    """Consent goes while the name is being resolved."""

    def __init__(self, withdraw: object) -> None:
        self.withdraw = withdraw

    async def resolve(self, host: str) -> Sequence[str]:
        assert callable(self.withdraw)
        self.withdraw()
        return ["127.0.0.1"]


async def test_a_refusal_on_a_kept_connection_sends_not_one_byte_more(
    client: OutboundClient,
) -> None:
    def refuse() -> None:
        raise LastLookRefused

    async with serving(OK) as server:
        await client.send(post(server.url))
        before = len(server.received)
        with pytest.raises(LastLookRefused):
            await client.send(post(server.url), refuse)
        await server.all_ended()
        assert len(server.received) == before
        assert (await client.send(post(server.url))).status == 200  # the pool is sound


async def test_a_last_look_that_breaks_sends_nothing(client: OutboundClient) -> None:
    def broken() -> None:
        raise RuntimeError("the store is gone")

    async with serving(OK) as server:
        with pytest.raises(RuntimeError, match="the store is gone"):
            await client.send(post(server.url), broken)
        await server.all_ended()
        assert server.received == b""


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the kernel's queue")
async def test_nothing_is_awaited_between_the_look_and_the_write(client: OutboundClient) -> None:
    """What the loop had ready when the look was taken runs only after the bytes have left."""
    async with serving(OK) as server:
        sent_when_next_callback_ran: list[int] = []

        def look() -> None:
            asyncio.get_running_loop().call_soon(note)

        def note() -> None:
            # The kernel has them: what the server's socket can read is not yet read.
            sent_when_next_callback_ran.append(unread(server.port))

        await client.send(post(server.url), look)
        assert sent_when_next_callback_ran == [len(server.received)]


def unread(port: int) -> int:
    """Bytes waiting in the kernel's receive queue of the accepted connection on ``port``."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        parts = line.split()
        if parts[1] == f"0100007F:{port:04X}" and parts[3] == "01":
            return int(parts[4].split(":")[1], 16)
    raise AssertionError("no such connection")


# Failing


async def no_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    await writer.drain()
    writer.close()


async def half_a_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()
    writer.close()


async def half_a_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    await writer.drain()
    writer.close()


async def another_protocol(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello")
    await writer.drain()


FAILING: list[tuple[Answer, Kind]] = [
    (reset, Kind.RESET),
    (half_a_body, Kind.RESET),
    (half_a_head, Kind.RESET),
    (no_http, Kind.PROTOCOL),
    (another_protocol, Kind.PROTOCOL),
]


@pytest.mark.parametrize(("how", "kind"), FAILING, ids=lambda value: getattr(value, "__name__", ""))
async def test_an_answer_that_fails(client: OutboundClient, how: Answer, kind: Kind) -> None:
    async with serving(how) as server:
        error = await failure(client, post(f"{server.url}/secret-path?key=hidden", X="hidden"))

    assert error.kind is kind
    assert error.wrote
    shown = "".join(traceback.format_exception(error))
    assert "secret-path" not in shown
    assert "hidden" not in shown


async def test_silence_ends_at_the_time_limit(client: OutboundClient) -> None:
    async with serving(silence) as server:
        error = await failure(client, post(server.url), timeout_s=0.1)
        await server.all_ended()
    assert (error.kind, error.wrote) == (Kind.TIMEOUT, True)


async def test_a_body_that_never_ends_ends_at_the_time_limit(client: OutboundClient) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await reader.read()

    async with serving(drip) as server:
        error = await failure(client, post(server.url), timeout_s=0.1)
        await server.all_ended()
    assert error.kind is Kind.TIMEOUT


async def test_what_was_not_sent_in_time_is_not_sent_later(client: OutboundClient) -> None:
    """Most of it lies in the kernel's buffer; the peer reads only after the time limit."""
    size = 1_000_000
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        request = Request(
            "POST", f"http://127.0.0.1:{listening.getsockname()[1]}/", (), b"x" * size
        )
        with pytest.raises(TransportError, match="timeout"):
            await client.send(request, timeout_s=0.2)
        peer, _ = listening.accept()
        with peer:
            assert await asyncio.to_thread(_all_that_comes, peer) < size


def _all_that_comes(peer: socket.socket) -> int:
    """How many bytes, until the connection ends."""
    count = 0
    try:
        while piece := peer.recv(1 << 20):
            count += len(piece)
    except ConnectionResetError:
        pass
    return count


async def test_nobody_listens(client: OutboundClient) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refused
        error = await failure(client, post(f"http://127.0.0.1:{taken.getsockname()[1]}/"))
    assert (error.kind, error.wrote) == (Kind.REFUSED, False)


async def test_a_name_without_an_address() -> None:
    nobody, nothing = ScriptedResolver(), ScriptedResolver([])
    for resolver in (nobody, nothing):
        client = OutboundClient(resolver=resolver)
        error = await failure(client, post("https://nowhere.test/"))
        await client.close()
        assert (error.kind, error.wrote) == (Kind.UNRESOLVED, False)
        assert str(error) == "unresolved (nowhere.test)"


async def test_a_certificate_nobody_signed(client: OutboundClient, tmp_path: Path) -> None:
    async with serving(OK, tls=self_signed(tmp_path)) as server:
        error = await failure(client, post(f"https://127.0.0.1:{server.port}/"))
        assert server.received == b""
    assert (error.kind, error.wrote) == (Kind.TLS, False)


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.mark.parametrize("loop", LOOPS)
def test_over_tls_the_name_is_checked_and_the_connection_kept(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate is of the name, although an address is connected to."""
    tls = self_signed(tmp_path, "shop.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))

    async def send() -> None:
        resolver = ScriptedResolver(["127.0.0.1"], ["127.0.0.1"])
        client = OutboundClient(allow_private=True, resolver=resolver)
        async with serving(OK, tls=tls) as server:
            for body in (b"{}", b"x" * 1_000_000):
                answer = await client.send(post(f"https://shop.test:{server.port}/", body))
                assert (answer.status, answer.body) == (200, b'{"success":true}')
            assert (server.connections, len(server.requests)) == (1, 2)
            error = await failure(client, post(f"https://other.test:{server.port}/"))
            assert (error.kind, error.wrote) == (Kind.TLS, False)
            assert len(server.requests) == 2
            await client.close()
            await server.all_ended()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(send())


@pytest.mark.parametrize("loop", LOOPS)
def test_over_tls_the_last_look_comes_after_the_handshake(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = self_signed(tmp_path, "shop.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))

    def refuse() -> None:
        raise LastLookRefused("withdrawn")

    async def send() -> None:
        resolver = ScriptedResolver(["127.0.0.1"], ["127.0.0.1"])
        client = OutboundClient(allow_private=True, resolver=resolver)
        async with serving(OK, tls=tls) as server:
            with pytest.raises(LastLookRefused, match="withdrawn"):
                await client.send(post(f"https://shop.test:{server.port}/refused"), refuse)
            await client.send(post(f"https://shop.test:{server.port}/sent"))
            assert len(server.requests) == 1
            assert server.requests[0].startswith(b"POST /sent ")
            assert b"refused" not in server.received
            await client.close()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(send())


def self_signed(folder: Path, host: str = "127.0.0.1") -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    start = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start - datetime.timedelta(days=1))
        .not_valid_after(start + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


# Answers that are too much


async def test_a_large_answer_is_cut_and_the_pool_stays_sound(client: OutboundClient) -> None:
    async with serving(answer(200, b"x" * (BODY_MAX * 4)), OK) as server:
        response = await client.send(post(server.url))
        assert (response.status, len(response.body)) == (200, BODY_MAX)
        again = await client.send(post(server.url))
        assert again.body == b'{"success":true}'
        assert server.connections == 2


async def test_an_answer_of_just_64_kib_is_whole(client: OutboundClient) -> None:
    async with serving(answer(200, b"x" * BODY_MAX), OK) as server:
        assert len((await client.send(post(server.url))).body) == BODY_MAX
        await client.send(post(server.url))
        assert server.connections == 1


async def test_a_compressed_answer_is_not_unpacked(client: OutboundClient) -> None:
    bomb = gzip.compress(b"\0" * 1_000_000)
    async with serving(answer(200, bomb, ["Content-Encoding: gzip"])) as server:
        assert (await client.send(post(server.url))).body == bomb


async def test_endless_headers_are_no_answer(client: OutboundClient) -> None:
    async with serving(answer(200, b"", [f"X-Long: {'x' * 100_000}"])) as server:
        assert (await failure(client, post(server.url))).kind is Kind.PROTOCOL


# The guard


async def test_a_redirect_to_the_metadata_service_is_only_an_answer(client: OutboundClient) -> None:
    location = "Location: http://169.254.169.254/latest/meta-data/"
    async with serving(answer(302, b"", [location])) as server:
        response = await client.send(post(server.url))
        assert response.status == 302
        assert len(server.requests) == 1


async def test_a_redirect_to_ourselves_is_not_followed(client: OutboundClient) -> None:
    async with serving(answer(307, b"", ["Location: /again"]), OK) as server:
        assert (await client.send(post(server.url))).status == 307
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["1.1.1.1", "10.0.0.1"],
        ["2606:4700::1111", "::1"],
        ["::ffff:169.254.169.254"],
        ["64:ff9b::7f00:1"],
        ["fe80::1%1"],
        ["100.64.0.1"],
        ["0.0.0.0"],
        ["fd00:ec2::254"],
        ["2002:7f00:1::"],
        ["2001:0:7f00:1::"],
        ["1.1.1.1", "::ffff:100.100.100.200"],
        ["2130706433"],
        ["127.1"],
        [""],
        ["not an address"],
    ],
    ids=str,
)
async def test_one_refused_address_refuses_the_name(addresses: list[str]) -> None:
    client = OutboundClient(resolver=ScriptedResolver(addresses))
    error = await failure(client, post("https://shop.test/"))
    await client.close()
    assert (error.kind, error.wrote) == (Kind.BLOCKED, False)


async def test_exactly_the_checked_address_is_connected_to() -> None:
    """The name rebinds after the first look-up; the second answer is never asked for."""
    async with serving(OK) as server:
        resolver = ScriptedResolver(["127.0.0.1"], ["169.254.169.254"])
        client = OutboundClient(allow_private=True, resolver=resolver)
        request = post(f"http://rebind.test:{server.port}/")
        assert (await client.send(request)).status == 200
        await client.send(request)
        assert resolver.asked == ["rebind.test"]
        assert f"Host: rebind.test:{server.port}".encode() in bytes(server.received)
        await client.close()


async def test_a_name_that_rebinds_is_checked_again_for_each_connection() -> None:
    async with serving(answer(200, b"", ["Connection: close"])) as server:
        resolver = ScriptedResolver(["127.0.0.1"], ["127.0.0.1", "169.254.169.254"])
        client = OutboundClient(allow_private=True, resolver=resolver)
        request = post(f"http://rebind.test:{server.port}/")
        assert (await client.send(request)).status == 200
        error = await failure(client, request)
        await client.close()
        assert error.kind is Kind.BLOCKED
        assert (server.connections, len(resolver.asked)) == (1, 2)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "0177.0.0.1",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "0.0.0.0",
        "localhost.",
        "127.0.0.1.",
    ],
)
async def test_a_literal_address_never_reaches_the_network(host: str) -> None:
    async with serving(OK) as server:
        resolver = ScriptedResolver(["127.0.0.1"])
        ports = frozenset({server.port})
        client = OutboundClient(resolver=resolver, ports=ports)
        error = await failure(client, post(f"https://{host}:{server.port}/"))
        await client.close()
        assert error.kind is Kind.BLOCKED
        assert (server.connections, resolver.asked) == (0, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", "a\r\nX-Evil: 1"),
        ("webhook-id", "a\nb"),
        ("webhook-id", "a\0"),
        ("webhook-id", "caf\u00e9"),
        ("X\r\nY", "1"),
        ("", "1"),
        ("Host", "evil.test"),
        ("Expect", "100-continue"),
        ("Transfer-Encoding", "chunked"),
        ("content-length", "0"),
    ],
)
async def test_a_header_that_would_break_out_is_not_sent(
    client: OutboundClient, name: str, value: str
) -> None:
    async with serving(OK) as server:
        error = await failure(client, Request("POST", server.url, ((name, value),), b"{}"))
        assert (error.kind, server.connections) == (Kind.BLOCKED, 0)


async def test_a_method_that_would_break_out_is_not_sent(client: OutboundClient) -> None:
    async with serving(OK) as server:
        error = await failure(client, Request("POST / HTTP/1.1\r\nX: ", server.url, (), b""))
        assert (error.kind, server.connections) == (Kind.BLOCKED, 0)
