"""Fetching against a real server on the loopback: redirects, rebinding, limits, breaks."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from steelyard.errors import DeadlineExceeded, Forbidden, Invalid, SteelyardError, TooLarge, Unavailable, UpstreamError
from steelyard.images.fetch import Limits, fetch, resolve, without_query
from steelyard.images.model import parse_networks

LOOPBACK = parse_networks(["127.0.0.0/8"])
DATA = bytes(range(256)) * 10_000
LIMITS = Limits(max_bytes=10 << 20, connect_seconds=2, read_seconds=2, total_seconds=5)


class Source(http.server.ThreadingHTTPServer):
    """Answers by path; remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Source

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        answer: Callable[[], None] = getattr(self, "answer_" + self.path.split("?")[0].split("/")[1].replace("-", "_"))
        self.close_connection = True
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            answer()

    def head(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def answer_data(self) -> None:
        self.head(200, Content_Length=str(len(DATA)))
        self.wfile.write(DATA)

    def answer_chunked(self) -> None:
        self.head(200, Transfer_Encoding="chunked")
        for start in range(0, len(DATA), 100_000):
            part = DATA[start : start + 100_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def answer_until_close(self) -> None:
        self.head(200, Connection="close")
        self.wfile.write(DATA)

    def answer_cut(self) -> None:
        self.head(200, Content_Length=str(len(DATA)))
        self.wfile.write(DATA[:1000])

    def answer_cut_chunked(self) -> None:
        self.head(200, Transfer_Encoding="chunked")
        self.wfile.write(b"ffff\r\nabc")

    def answer_huge(self) -> None:
        self.head(200, Content_Length=str(1 << 50))

    def answer_endless(self) -> None:
        self.head(200, Connection="close")
        while True:
            self.wfile.write(bytes(1 << 20))

    def answer_drip(self) -> None:
        self.head(200, Connection="close")
        for _ in range(100):
            self.wfile.write(b".")
            self.wfile.flush()
            time.sleep(0.1)

    def answer_silence(self) -> None:
        time.sleep(5)

    def answer_missing(self) -> None:
        self.head(404, Content_Length="0")

    def answer_secret(self) -> None:
        self.head(403, Content_Length="0")

    def answer_broken(self) -> None:
        self.head(503, Content_Length="0")

    def answer_gzip(self) -> None:
        self.head(200, Content_Encoding="gzip", Content_Length="3")
        self.wfile.write(b"abc")

    def answer_nowhere(self) -> None:
        self.head(302, Content_Length="0")

    def answer_around(self) -> None:
        self.head(302, Location="/around", Content_Length="0")

    def answer_hops(self) -> None:
        left = int(self.path.split("/")[2])
        self.head(307, Location=f"/hops/{left - 1}" if left > 1 else "/data", Content_Length="0")

    def answer_to(self) -> None:
        self.head(301, Location=self.path.split("?", 1)[1], Content_Length="0")

    def answer_no_url(self) -> None:
        self.head(302, Location="http://[::1", Content_Length="0")

    def answer_garbage(self) -> None:
        self.wfile.write(b"\x00\xff\xfe not http at all\r\n\r\n")


@pytest.fixture
def source() -> Iterator[Source]:
    server = Source()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def got(url: str, **changes: object) -> bytes:
    parts: list[bytes] = []
    options: dict[str, object] = {"allowed": LOOPBACK, "limits": LIMITS, "announce": lambda size: None} | changes
    fetch(url, parts.append, **options)  # type: ignore[arg-type]
    return b"".join(parts)


@pytest.mark.parametrize("how", ["data", "chunked", "until-close", "hops/3"])
def test_the_data_arrives(source: Source, how: str) -> None:
    assert got(f"{source.url}/{how}") == DATA


def test_the_length_is_announced_before_the_data(source: Source) -> None:
    announced: list[int] = []
    got(f"{source.url}/data", announce=announced.append)
    assert announced == [len(DATA)]


def test_the_query_is_sent_and_nothing_of_ours(source: Source) -> None:
    got(f"{source.url}/data?signature=1")
    path, headers = source.asked[0]
    assert path == "/data?signature=1"
    assert set(headers) == {"Host", "Accept", "Accept-Encoding"}
    assert headers["Host"] == source.url.removeprefix("http://")


@pytest.mark.parametrize(
    ("how", "error", "code"),
    [
        ("cut", Unavailable, "source_unreachable"),
        ("cut-chunked", Unavailable, "source_unreachable"),
        ("garbage", Unavailable, "source_unreachable"),
        ("broken", Unavailable, "source_unreachable"),
        ("missing", UpstreamError, "source_refused"),
        ("secret", UpstreamError, "source_refused"),
        ("gzip", UpstreamError, "source_refused"),
        ("nowhere", UpstreamError, "source_refused"),
        ("around", UpstreamError, "source_refused"),
        ("no-url", UpstreamError, "source_refused"),
        ("hops/4", UpstreamError, "source_refused"),
        ("huge", TooLarge, "image_too_large"),
        ("endless", TooLarge, "image_too_large"),
    ],
)
def test_what_is_not_the_image_is_an_error(source: Source, how: str, error: type[SteelyardError], code: str) -> None:
    with pytest.raises(error) as refusal:
        got(f"{source.url}/{how}")
    assert refusal.value.code == code


def test_silence_ends_the_fetch(source: Source) -> None:
    with pytest.raises(Unavailable):
        got(f"{source.url}/silence", limits=Limits(1 << 20, read_seconds=0.3, total_seconds=5))


def test_a_drip_ends_the_fetch(source: Source) -> None:
    begin = time.monotonic()
    with pytest.raises(DeadlineExceeded) as refusal:
        got(f"{source.url}/drip", limits=Limits(1 << 20, read_seconds=5, total_seconds=0.5))
    assert refusal.value.code == "source_too_slow"
    assert time.monotonic() - begin < 5


def test_without_leave_the_loopback_is_never_connected_to(source: Source) -> None:
    for host in ("127.0.0.1", "localhost", "0x7f.1", "2130706433", "127.1", "[::ffff:127.0.0.1]"):
        with pytest.raises(Forbidden):
            got(f"http://{host}:{source.server_port}/data", allowed=())
    assert source.asked == []


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("http://169.254.169.254/latest/meta-data/", Forbidden),
        ("http://10.0.0.1/", Forbidden),
        ("//192.168.1.1/x", Forbidden),
        ("http://[::1]/", Forbidden),
        ("file:///etc/shadow", Invalid),
        ("ftp://example.org/x", Invalid),
        ("http://user:password@127.0.0.1/", Invalid),
    ],
)
def test_a_redirect_is_checked_like_the_first_address(source: Source, target: str, error: type[SteelyardError]) -> None:
    with pytest.raises(error):
        got(f"{source.url}/to?{target}")


def test_the_name_is_resolved_once_and_the_checked_address_is_used(source: Source) -> None:
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    assert got(f"http://images.example:{source.server_port}/data", resolve=rebinding) == DATA
    assert asked == ["images.example"]
    with pytest.raises(Forbidden):
        got(f"http://images.example:{source.server_port}/data", resolve=rebinding)


def test_the_next_address_is_tried_when_one_does_not_answer(source: Source) -> None:
    assert got(f"http://two.example:{source.server_port}/data", resolve=lambda h, p: ["127.9.9.9", "127.0.0.1"]) == DATA


def test_nobody_there_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(Unavailable):
            got(f"http://127.0.0.1:{port}/")
    with pytest.raises(Unavailable):
        resolve("no-such-host.invalid", 80)


def certificate(directory: Path, host: str) -> Path:
    """A certificate that signs itself, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = directory / "tls.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM)
    )
    return pem


def test_tls_goes_by_the_name_and_the_trusted_authorities(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = certificate(tmp_path, "images.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    source.socket = context.wrap_socket(source.socket, server_side=True, do_handshake_on_connect=False)
    here = {"resolve": lambda host, port: ["127.0.0.1"]}
    url = f"https://images.example:{source.server_port}/data"
    with pytest.raises(UpstreamError, match="cannot be trusted") as refusal:
        got(url, **here)
    assert refusal.value.code == "source_refused"
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    assert got(url, **here) == DATA
    with pytest.raises(UpstreamError, match="cannot be trusted"):
        got(url.replace("images.example", "other.example"), **here)


def test_a_source_that_speaks_no_tls_is_unreachable(source: Source) -> None:
    with pytest.raises(Unavailable):
        got(f"https://127.0.0.1:{source.server_port}/data")


def test_a_query_is_not_shown() -> None:
    assert without_query("https://e.org/a?X-Amz-Signature=abc#f") == "https://e.org/a?…"
    assert without_query("https://e.org/a") == "https://e.org/a"
