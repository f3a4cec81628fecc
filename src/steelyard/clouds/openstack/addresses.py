"""Neutron (Networking API v2.0): addresses that are kept by hand, as ports that are bound to nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from steelyard.address_nouns import HoldSpec
from steelyard.clouds.openstack.network import PORT_FIELDS, port_of
from steelyard.clouds.openstack.session import NETWORK, Access, Rest, part
from steelyard.errors import Conflict, Duplicate, NotFound, SteelyardError
from steelyard.nouns import NetworkPort

AT_A_TIME: Final = 100
"""Ports in one request, which Neutron makes in one transaction."""
MACS_PER_CALL: Final = 50
"""MACs in one query; see `network.IDS_PER_CALL`."""


class OpenstackAddresses:
    """Ports without a device. The network's owner may choose their MACs and addresses (Neutron's default policy)."""

    def __init__(self, access: Access):
        self._rest = Rest(access, NETWORK)

    def hold(self, specs: Sequence[HoldSpec]) -> list[NetworkPort]:
        """All or none: what was made before a refusal is taken back."""
        made: list[str] = []
        try:
            return self._hold(specs, made)
        except BaseException:
            self._take_back(made)
            raise

    def _hold(self, specs: Sequence[HoldSpec], made: list[str]) -> list[NetworkPort]:
        there = self._there(specs) if len(specs) > 1 else {}
        missing = [spec for spec in specs if spec.mac not in there]
        for start in range(0, len(missing), AT_A_TIME):
            wanted = missing[start : start + AT_A_TIME]
            try:
                ports = self._create(wanted)
            except Duplicate:
                # The same was asked for at the same time, or its answer was lost.
                found = self._there(wanted)
                if len(found) < len(wanted):
                    raise
                there |= found
                continue
            made += [port.id for port in ports]
            there |= {port.mac: port for port in ports}
        return [there[spec.mac] for spec in specs]

    def _create(self, specs: Sequence[HoldSpec]) -> list[NetworkPort]:
        if len(specs) == 1:
            # A bulk request does not look whether a MAC is in use: it runs into the database's constraint and is tried
            # again ten times, over a minute, where this one is refused at once.
            answer = self._rest.post("ports", {"port": _body(specs[0])}, what="a port")
            return [port_of(answer.document("port", "a port"))]
        answer = self._rest.post("ports", {"ports": [_body(spec) for spec in specs]}, what="ports")
        return [port_of(found) for found in answer.required_documents("ports", "a port")]

    def _there(self, specs: Sequence[HoldSpec]) -> dict[str, NetworkPort]:
        """Ports that were made for these very wishes before, by MAC."""
        wanted = {spec.mac: spec for spec in specs}
        found = {}
        for network_id in {spec.network_id for spec in specs}:
            macs = [spec.mac for spec in specs if spec.network_id == network_id]
            for start in range(0, len(macs), MACS_PER_CALL):
                query = {
                    "network_id": network_id, "mac_address": macs[start : start + MACS_PER_CALL], "fields": PORT_FIELDS,
                }  # fmt: skip
                for document in self._rest.pages("ports", "ports", what="a port", params=query):
                    port = port_of(document)
                    if port.mac in wanted and _is_for(port, wanted[port.mac]):
                        found[port.mac] = port
        return found

    def _take_back(self, port_ids: Iterable[str]) -> None:
        for port_id in port_ids:
            try:
                self._rest.delete(f"ports/{part(port_id)}")
            except SteelyardError:
                continue  # it stays as what it is, a port that is kept by hand: seen in the list, released by hand

    def release(self, port_id: str) -> None:
        path = f"ports/{part(port_id)}"
        try:
            answer = self._rest.get(path, params={"fields": ("device_id", "revision_number")}, what="a port")
        except NotFound:
            return
        found = answer.document("port", "a port")
        if device := found.maybe_text("device_id"):
            raise Conflict(f"the address is in use by {device}", code="address_in_use")
        revision = found.maybe_integer("revision_number")
        # Neutron compares and deletes at one go: a server that gets the port at this moment keeps it.
        headers = {} if revision is None else {"If-Match": f"revision_number={revision}"}
        try:
            self._rest.call("DELETE", path, headers=headers)
        except NotFound:
            return


def _body(spec: HoldSpec) -> dict[str, Any]:
    fixed = {"subnet_id": spec.subnet_id, **({"ip_address": spec.address} if spec.address else {})}
    return {
        "network_id": spec.network_id, "name": spec.name, "device_owner": spec.device_owner, "mac_address": spec.mac,
        "fixed_ips": [fixed], **({"project_id": spec.project_id} if spec.project_id else {}),
    }  # fmt: skip


def _is_for(port: NetworkPort, spec: HoldSpec) -> bool:
    return (port.network_id, port.device_owner) == (spec.network_id, spec.device_owner) and any(
        fixed.subnet_id == spec.subnet_id and spec.address in (None, fixed.address) for fixed in port.addresses
    )
