"""A prober over BMCs that exist only in memory; kept to the port by the same conformance suite as the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from steelyard.hardware.redfish.port import (
    Address,
    BmcCredential,
    ProbeResult,
    SystemIdentity,
    Verdict,
    credentials_for,
)


@dataclass(slots=True)
class FakeBmc:
    """One device. `fault` makes it misbehave: the verdict that a prober must come to."""

    username: str
    password: str = field(repr=False)
    systems: tuple[SystemIdentity, ...] = ()
    fault: Verdict | None = None
    fingerprint: str = "sha256:" + "0" * 64
    failed_logins: int = 0


class FakeBmcProber:
    """Implements `BmcProber`. `bmcs` maps (address, port) to a device and may be changed at any time."""

    def __init__(self, bmcs: dict[tuple[Address, int], FakeBmc] | None = None):
        self.bmcs = bmcs if bmcs is not None else {}

    def sweep(
        self,
        targets: Iterable[Address],
        *,
        port: int,
        credentials: Sequence[BmcCredential],
        concurrency: int = 256,  # noqa: ARG002 - nothing to wait for
        timeout: float = 10.0,  # noqa: ARG002
        on_found: Callable[[ProbeResult], None] | None = None,
    ) -> list[ProbeResult]:
        results = []
        for address in targets:
            result = self._probe(address, port, credentials)
            results.append(result)
            if on_found is not None and result.verdict is Verdict.FOUND:
                on_found(result)
        return results

    def _probe(self, address: Address, port: int, credentials: Sequence[BmcCredential]) -> ProbeResult:
        bmc = self.bmcs.get((address, port))
        if bmc is None:
            return ProbeResult(address, port, Verdict.NOBODY, "no connection: refused")
        if bmc.fault is not None:
            return ProbeResult(address, port, bmc.fault, f"made to be {bmc.fault.value}", fingerprint=bmc.fingerprint)
        for credential in credentials_for(address, credentials):
            if (credential.username, credential.password) == (bmc.username, bmc.password):
                if not bmc.systems:
                    return ProbeResult(
                        address, port, Verdict.GARBAGE, "it manages no system", fingerprint=bmc.fingerprint
                    )
                return ProbeResult(
                    address,
                    port,
                    Verdict.FOUND,
                    systems=bmc.systems,
                    fingerprint=bmc.fingerprint,
                    credential=credential,
                )
            bmc.failed_logins += 1
        return ProbeResult(
            address, port, Verdict.WRONG_CREDENTIALS, "no credential was accepted", fingerprint=bmc.fingerprint
        )
