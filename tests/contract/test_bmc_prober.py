"""One conformance suite for every `BmcProber`, and what only the real one has to withstand."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from steelyard.hardware.redfish.aio import AioBmcProber
from steelyard.hardware.redfish.fake import FakeBmc, FakeBmcProber
from steelyard.hardware.redfish.port import (
    BmcCredential,
    BmcProber,
    ProbeResult,
    SystemIdentity,
    Verdict,
)

from .bmc_server import ROOT, BmcServer, Device, Habit, system_documents

UUID = "7b7fd2c1-6a3c-4f9c-9a3f-1d2a4b5c6d7e"
MACS = ("52:54:00:aa:00:01", "52:54:00:aa:00:02")
GOOD, LOCKED, NOBODY = (ipaddress.ip_address(f"127.81.0.{n}") for n in (1, 2, 9))
RIGHT = BmcCredential("root", "calvin")


@pytest.fixture(params=["fake", "real"])
def rack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[BmcProber, int]]:
    """A prober and the port its BMCs listen on: GOOD takes root/calvin, LOCKED takes another password."""
    if request.param == "fake":
        identity = SystemIdentity(
            path="/redfish/v1/Systems/1", uuid=UUID, serial="SN1", vendor="Acme", model="Anvil 3", power_state="off",
            cpus=64, memory_mib=131072, macs=MACS, bmc_firmware="2.10.3",
        )  # fmt: skip
        bmcs = {
            (GOOD, 8443): FakeBmc("root", "calvin", (identity,)),
            (LOCKED, 8443): FakeBmc("root", "another", (identity,)),
        }
        yield FakeBmcProber(dict(bmcs)), 8443
        return
    documents = system_documents("SN1", UUID, MACS)
    server = BmcServer(
        {str(GOOD): Device(documents), str(LOCKED): Device(documents, password="another")},
        tmp_path,
    )
    yield AioBmcProber(), server.port
    server.close()


class TestEveryProber:
    def test_finds_and_identifies(self, rack: tuple[BmcProber, int]) -> None:
        prober, port = rack
        seen: list[ProbeResult] = []
        results = prober.sweep([GOOD, NOBODY], port=port, credentials=[RIGHT], timeout=5, on_found=seen.append)
        assert [r.verdict for r in results] == [Verdict.FOUND, Verdict.NOBODY]
        assert seen == [results[0]]
        (system,) = results[0].systems
        assert (system.uuid, system.serial, system.vendor, system.model) == (UUID, "SN1", "Acme", "Anvil 3")
        assert (system.power_state, system.cpus, system.memory_mib) == ("off", 64, 131072)
        assert system.macs == MACS
        assert system.bmc_firmware == "2.10.3"
        assert results[0].fingerprint
        assert results[0].fingerprint.startswith("sha256:")
        assert results[0].credential == RIGHT
        assert results[1].reason

    def test_results_keep_the_order_of_the_targets(self, rack: tuple[BmcProber, int]) -> None:
        prober, port = rack
        targets = [NOBODY, GOOD, LOCKED]
        assert [r.address for r in prober.sweep(targets, port=port, credentials=[RIGHT], timeout=5)] == targets

    def test_wrong_credentials_have_their_verdict_and_leak_nothing(self, rack: tuple[BmcProber, int]) -> None:
        prober, port = rack
        (result,) = prober.sweep([LOCKED], port=port, credentials=[RIGHT], timeout=5)
        assert result.verdict is Verdict.WRONG_CREDENTIALS
        assert not result.systems
        assert result.credential is None
        assert "calvin" not in repr(result)

    def test_a_credential_for_other_addresses_is_not_used(self, rack: tuple[BmcProber, int]) -> None:
        prober, port = rack
        elsewhere = BmcCredential("root", "calvin", (ipaddress.ip_network("10.0.0.0/8"),))
        (result,) = prober.sweep([GOOD], port=port, credentials=[elsewhere], timeout=5)
        assert result.verdict is Verdict.WRONG_CREDENTIALS

    def test_the_narrowest_credential_comes_first_and_at_most_two_are_tried(self, rack: tuple[BmcProber, int]) -> None:
        prober, port = rack
        wrong = [BmcCredential("root", f"wrong{n}") for n in range(5)]
        narrow = BmcCredential("root", "calvin", (ipaddress.ip_network("127.81.0.1/32"),))
        (found,) = prober.sweep([GOOD], port=port, credentials=[*wrong, narrow], timeout=5)
        assert found.verdict is Verdict.FOUND
        (refused,) = prober.sweep([GOOD], port=port, credentials=[*wrong, RIGHT], timeout=5)
        assert refused.verdict is Verdict.WRONG_CREDENTIALS

    def test_nothing_to_do(self, rack: tuple[BmcProber, int]) -> None:
        prober, port = rack
        assert prober.sweep([], port=port, credentials=[RIGHT]) == []


# What follows only a device can do to us.

VICTIM = ipaddress.ip_address("127.81.1.1")


def _probe(
    tmp_path: Path, device: Device, *, timeout: float = 5, plain: bool = False, ca: bool = False
) -> tuple[ProbeResult, Device]:
    server = BmcServer({str(VICTIM): device}, tmp_path, plain=frozenset({str(VICTIM)} if plain else ()))
    try:
        prober = AioBmcProber(verify_ca=server.certificate if ca else None)
        (result,) = prober.sweep([VICTIM], port=server.port, credentials=[RIGHT], timeout=timeout)
    finally:
        server.close()
    return result, device


def _answer(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Habit:
    async def habit(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers)

    return habit


async def _slow_loris(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100000"})
    await response.prepare(request)
    for _ in range(200):
        await response.write(b"{")
        await asyncio.sleep(0.05)
    return response


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while request.transport is not None and not request.transport.is_closing():
        await response.write(b" " * 65536)
        await asyncio.sleep(0)
    return response


async def _breaks_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"Members"')
    assert request.transport is not None
    request.transport.abort()
    return response


SYSTEMS, SYSTEM = "/redfish/v1/Systems", "/redfish/v1/Systems/1"

HOSTILE = {
    "not json": ("/redfish/v1/", _answer(b"<html>Welcome to my router</html>"), Verdict.NOT_A_BMC),
    "some other json api": ("/redfish/v1/", _answer(b'{"hello": "world"}'), Verdict.NOT_A_BMC),
    "redirect of the root": ("/redfish/v1/", _answer(b"", 302, {"Location": "http://127.0.0.1:1/"}), Verdict.NOT_A_BMC),
    "redirect after login": (SYSTEMS, _answer(b"", 307, {"Location": "http://127.0.0.1:1/"}), Verdict.GARBAGE),
    "a list": (SYSTEMS, _answer(b"[]"), Verdict.GARBAGE),
    "no members": (SYSTEMS, _answer(b"{}"), Verdict.GARBAGE),
    "members of the wrong type": (SYSTEMS, _answer(b'{"Members": {"a": 1}}'), Verdict.GARBAGE),
    "member elsewhere": (
        SYSTEMS, _answer(json.dumps({"Members": [{"@odata.id": "//evil/redfish/v1/x"}]}).encode()), Verdict.GARBAGE,
    ),
    "member that climbs": (
        SYSTEMS, _answer(json.dumps({"Members": [{"@odata.id": "/redfish/v1/../../x"}]}).encode()), Verdict.GARBAGE,
    ),
    "deep": (SYSTEMS, _answer(b"[" * 200_000), Verdict.GARBAGE),
    "deep but small": (SYSTEMS, _answer(b'{"Members":' + b"[" * 5000 + b"]" * 5000 + b"}"), Verdict.GARBAGE),
    "too large": (SYSTEMS, _answer(b'{"a": "' + b"x" * 400_000 + b'"}'), Verdict.GARBAGE),
    "endless": (SYSTEMS, _endless, Verdict.GARBAGE),
    "compressed": (SYSTEMS, _answer(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}), Verdict.GARBAGE),
    "internal error": (SYSTEMS, _answer(b"{}", 500), Verdict.GARBAGE),
    "system gone": (SYSTEM, _answer(b"{}", 404), Verdict.GARBAGE),
    "broken text": (SYSTEM, _answer(b'{"UUID": "\xff\xfe"}'), Verdict.GARBAGE),
    "breaks off": (SYSTEMS, _breaks_off, Verdict.GARBAGE),
    "slow loris": (SYSTEMS, _slow_loris, Verdict.TIMED_OUT),
    "slow loris at the root": ("/redfish/v1/", _slow_loris, Verdict.TIMED_OUT),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_end_in_a_verdict(name: str, tmp_path: Path) -> None:
    path, habit, verdict = HOSTILE[name]
    device = Device(system_documents("SN1", UUID, MACS), habits={path: habit})
    result, _ = _probe(tmp_path, device, timeout=1)
    assert result.verdict is verdict
    assert result.reason
    assert not result.systems
    assert result.credential is None


def test_wrong_types_within_a_system_count_as_unknown(tmp_path: Path) -> None:
    documents = system_documents("SN1", UUID, MACS)
    documents[SYSTEM] = {
        "UUID": 7, "SerialNumber": ["x"], "Manufacturer": "Ac\x1b[31mme\u202e", "Model": "M" * 5000, "PowerState": [],
        "ProcessorSummary": "many", "MemorySummary": {"TotalSystemMemoryGiB": float("1e300")},
        "EthernetInterfaces": {"@odata.id": "https://elsewhere/"}, "Links": {"ManagedBy": "you"},
    }  # fmt: skip
    result, _ = _probe(tmp_path, Device(documents))
    (system,) = result.systems
    assert (system.uuid, system.serial, system.power_state, system.cpus, system.memory_mib) == (None,) * 5
    assert system.vendor == "Ac [31mme"
    assert system.model == "M" * 128
    assert system.macs == ()


def test_memory_is_summed_from_modules_where_there_is_no_summary(tmp_path: Path) -> None:
    documents = system_documents("SN1", UUID, MACS)
    described = documents[SYSTEM]
    assert isinstance(described, dict)
    memory = SYSTEM + "/Memory"
    documents[SYSTEM] = {**described, "MemorySummary": None, "Memory": {"@odata.id": memory}, "AssetTag": "rack 7/12"}
    documents[memory] = {"Members": [{"@odata.id": f"{memory}/{n}"} for n in range(3)]}
    documents[f"{memory}/0"] = {"CapacityMiB": 16384}
    documents[f"{memory}/1"] = {"CapacityMiB": "a lot"}  # and module 2 does not exist
    result, _ = _probe(tmp_path, Device(documents))
    assert (result.systems[0].memory_mib, result.systems[0].asset_tag) == (16384, "rack 7/12")


def test_plain_http_gets_no_credentials(tmp_path: Path) -> None:
    result, device = _probe(tmp_path, Device(system_documents("SN1", UUID, MACS)), plain=True)
    assert result.verdict is Verdict.NOT_A_BMC
    assert device.logins == []


def test_what_is_not_redfish_gets_no_credentials(tmp_path: Path) -> None:
    device = Device(system_documents("SN1", UUID, MACS), habits={"/redfish/v1/": _answer(b"{}")})
    result, _ = _probe(tmp_path, device)
    assert result.verdict is Verdict.NOT_A_BMC
    assert device.logins == []


def test_an_account_is_not_locked_out(tmp_path: Path) -> None:
    device = Device(system_documents("SN1", UUID, MACS), password="unknown to us")
    server = BmcServer({str(VICTIM): device}, tmp_path)
    try:
        many = [BmcCredential("root", f"guess{n}") for n in range(20)]
        (result,) = AioBmcProber().sweep([VICTIM], port=server.port, credentials=many, timeout=5)
    finally:
        server.close()
    assert result.verdict is Verdict.WRONG_CREDENTIALS
    assert len(device.logins) == 2


def test_with_an_authority_its_certificates_are_accepted(tmp_path: Path) -> None:
    result, _ = _probe(tmp_path, Device(system_documents("SN1", UUID, MACS)), ca=True)
    assert result.verdict is Verdict.FOUND


def test_with_an_authority_a_stranger_gets_no_credentials(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "ours").mkdir()
    stranger = Device({"/redfish/v1/": ROOT})
    other = BmcServer({str(VICTIM): stranger}, tmp_path / "other")
    ours = BmcServer({"127.81.1.2": Device({})}, tmp_path / "ours")
    try:
        prober = AioBmcProber(verify_ca=ours.certificate)
        (result,) = prober.sweep([VICTIM], port=other.port, credentials=[RIGHT], timeout=5)
    finally:
        other.close()
        ours.close()
    assert result.verdict is Verdict.UNTRUSTED
    assert stranger.requests == []


def test_sushy_reads_the_same(tmp_path: Path) -> None:
    """Oracle: the Redfish library that Ironic uses must see the same system."""
    sushy = pytest.importorskip("sushy")
    documents = system_documents("SN1", UUID, MACS)
    documents["/redfish/v1/"] = {
        **ROOT, "@odata.id": "/redfish/v1/", "Name": "Root", "UUID": UUID,
        "Systems": {"@odata.id": SYSTEMS}, "Links": {},
    }  # fmt: skip
    plain_system = documents[SYSTEM]
    assert isinstance(plain_system, dict)
    documents[SYSTEM] = {**plain_system, "Id": "1", "Name": "one", "@odata.id": SYSTEM, "Links": {}}
    server = BmcServer({str(VICTIM): Device(documents)}, tmp_path)
    try:
        (result,) = AioBmcProber().sweep([VICTIM], port=server.port, credentials=[RIGHT], timeout=5)
        auth = sushy.auth.BasicAuth("root", "calvin")
        oracle = sushy.Sushy(f"https://{VICTIM}:{server.port}", auth=auth, verify=False).get_system(SYSTEM)
    finally:
        server.close()
    (system,) = result.systems
    assert system.serial == oracle.serial_number
    assert system.uuid == oracle.uuid.lower()
    assert system.memory_mib == oracle.memory_summary.size_gib * 1024
    assert (system.vendor, system.model) == (oracle.manufacturer, oracle.model)
