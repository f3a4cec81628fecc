"""The prober against the simulated rack: every server is found as it was planned, every fault has its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, ip_address
from pathlib import Path

import pytest
import yaml

from steelyard.discovery.targets import parse_credentials
from steelyard.embedded.rack.standalone import StandaloneRack
from steelyard.hardware.redfish.aio import AioBmcProber
from steelyard.hardware.redfish.port import BmcCredential, ProbeResult, Verdict

NODES = 8


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneRack]:
    with StandaloneRack.make(tmp_path_factory.mktemp("rack"), nodes=NODES).running("bmc") as rack:
        yield rack


def credentials(rack: StandaloneRack) -> tuple[BmcCredential, ...]:
    """From the file that people would give to `discover`."""
    return parse_credentials(yaml.safe_load((rack.home / "rack" / "credentials.yaml").read_text())["credentials"])


def sweep(rack: StandaloneRack, *, timeout: float = 5.0, ca: Path | None = None) -> list[ProbeResult]:
    targets = list(IPv4Network(f"{rack.rack.network}.1.0/28").hosts())
    return AioBmcProber(verify_ca=ca).sweep(
        targets, port=rack.rack.bmc_port, credentials=credentials(rack), timeout=timeout
    )


@pytest.mark.parametrize("verified", [False, True])
def test_every_server_is_found_as_planned(rack: StandaloneRack, verified: bool) -> None:
    results = sweep(rack, ca=rack.home / "rack" / "ca.pem" if verified else None)
    found = {str(result.address): result for result in results if result.verdict is Verdict.FOUND}
    assert len(found) == NODES
    assert {result.verdict for result in results} == {Verdict.FOUND, Verdict.NOBODY}
    for server in rack.rack.servers:
        (system,) = found[server.bmc_address].systems
        assert (system.uuid, system.serial, system.vendor, system.model) == (
            server.uuid, server.serial, server.vendor, server.model,
        )  # fmt: skip
        assert (system.cpus, system.memory_mib) == (server.cpus, server.memory_mib)
        assert set(system.macs) == {nic.mac for nic in server.nics}
        assert system.asset_tag == server.name
        assert system.power_state in ("on", "off")
        assert system.bmc_firmware


def test_the_password_of_one_opens_no_other(rack: StandaloneRack) -> None:
    first, second = rack.rack.servers[:2]
    theirs = BmcCredential(first.bmc_username, first.bmc_password)
    (result,) = AioBmcProber().sweep(
        [ip_address(second.bmc_address)], port=rack.rack.bmc_port, credentials=[theirs], timeout=5
    )
    assert result.verdict is Verdict.WRONG_CREDENTIALS


@pytest.mark.parametrize(
    ("kind", "verdicts"),
    [
        ("hang", {Verdict.TIMED_OUT}),
        ("drop", {Verdict.GARBAGE, Verdict.NOT_A_BMC}),
        ("refuse", {Verdict.GARBAGE, Verdict.NOT_A_BMC}),
        ("garbage", {Verdict.GARBAGE, Verdict.NOT_A_BMC}),
    ],
)
def test_a_faulty_bmc_has_its_verdict_and_delays_no_other(
    rack: StandaloneRack, kind: str, verdicts: set[Verdict]
) -> None:
    bad = rack.rack.servers[0]
    rack.call("bmc", "POST", "/faults", {"target": bad.name, "kind": kind})
    try:
        results = sweep(rack, timeout=1.0)
    finally:
        rack.call("bmc", "DELETE", "/faults")
    by_address = {str(result.address): result for result in results}
    faulty = by_address.pop(bad.bmc_address)
    assert faulty.verdict in verdicts
    assert faulty.reason
    assert sum(result.verdict is Verdict.FOUND for result in by_address.values()) == NODES - 1


def test_a_slow_bmc_is_waited_for(rack: StandaloneRack) -> None:
    slow = rack.rack.servers[0]
    rack.call("bmc", "POST", "/faults", {"target": slow.name, "kind": "slow", "seconds": 0.2})
    try:
        results = sweep(rack)
    finally:
        rack.call("bmc", "DELETE", "/faults")
    assert sum(result.verdict is Verdict.FOUND for result in results) == NODES


def test_a_thousand_addresses(rack: StandaloneRack) -> None:
    targets = list(IPv4Network(f"{rack.rack.network}.0.0/22").hosts())
    results = AioBmcProber().sweep(targets, port=rack.rack.bmc_port, credentials=credentials(rack), timeout=5)
    assert len(results) == 1022
    assert sum(result.verdict is Verdict.FOUND for result in results) == NODES
