"""Neutron (Networking API v2.0): networks, subnets and ports."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from steelyard.clouds.openstack.reading import Document
from steelyard.clouds.openstack.session import NETWORK, Access, Rest, part
from steelyard.errors import Forbidden, Invalid
from steelyard.nouns import FixedAddress, Network, NetworkPort, Subnet, SubnetSpec, SwitchLink

IDS_PER_CALL = 40
"""Network ids in one query: a URL must stay below 4 KiB for the strictest servers."""
PORT_FIELDS = (
    "id", "name", "network_id", "project_id", "mac_address", "fixed_ips", "device_id", "device_owner",
    "binding:host_id", "binding:vnic_type", "binding:profile", "status", "created_at",
)  # fmt: skip


class OpenstackNetworks:
    """Networks and subnets as the credentials see them."""

    def __init__(self, access: Access):
        self._rest = Rest(access, NETWORK)

    def all(self) -> list[Network]:
        return [network_of(found) for found in self._rest.pages("networks", "networks", what="a network")]

    def create(self, name: str, *, project_id: str | None = None) -> Network:
        body = {"name": name, **({"project_id": project_id} if project_id else {})}
        answer = self._rest.post("networks", {"network": body}, what="a network")
        return network_of(answer.document("network", "a network"))

    def delete(self, network_id: str) -> None:
        self._rest.delete(f"networks/{part(network_id)}")

    def subnets(self) -> list[Subnet]:
        return [subnet_of(found) for found in self._rest.pages("subnets", "subnets", what="a subnet")]

    def create_subnet(self, spec: SubnetSpec) -> Subnet:
        try:
            version = ipaddress.ip_network(spec.cidr).version
        except ValueError as error:
            raise Invalid(f"{spec.cidr[:64]!r} is not a subnet: {error}", code="invalid_cidr") from None
        body: dict[str, Any] = {
            "name": spec.name, "network_id": spec.network_id, "cidr": spec.cidr, "ip_version": version,
            "enable_dhcp": spec.dhcp,
        }  # fmt: skip
        if spec.project_id:
            body["project_id"] = spec.project_id
        if spec.gateway:
            body["gateway_ip"] = spec.gateway
        if spec.pools:
            body["allocation_pools"] = [{"start": first, "end": last} for first, last in spec.pools]
        if spec.dns_servers:
            body["dns_nameservers"] = list(spec.dns_servers)
        try:
            answer = self._rest.post("subnets", {"subnet": body}, what="a subnet")
        except Forbidden:
            # Neutron lets a stranger tell a network that he may not see from one that is not there.
            self._rest.get(f"networks/{part(spec.network_id)}", params={"fields": "id"}, what="a network")
            raise
        return subnet_of(answer.document("subnet", "a subnet"))

    def delete_subnet(self, subnet_id: str) -> None:
        self._rest.delete(f"subnets/{part(subnet_id)}")


class OpenstackAttachments:
    """Ports as the credentials see them; only administrators see where one is bound."""

    def __init__(self, access: Access):
        self._rest = Rest(access, NETWORK)

    def all(self, *, network_ids: Sequence[str] | None = None) -> list[NetworkPort]:
        if network_ids is None:
            return self._list({})
        ids = list(dict.fromkeys(network_ids))
        groups = [ids[start : start + IDS_PER_CALL] for start in range(0, len(ids), IDS_PER_CALL)]
        return [port for group in groups for port in self._list({"network_id": group})]

    def _list(self, query: Mapping[str, Any]) -> list[NetworkPort]:
        params = {**query, "fields": PORT_FIELDS}
        return [port_of(found) for found in self._rest.pages("ports", "ports", what="a port", params=params)]

    def get(self, port_id: str) -> NetworkPort:
        answer = self._rest.get(f"ports/{part(port_id)}", params={"fields": PORT_FIELDS}, what="a port")
        return port_of(answer.document("port", "a port"))

    def delete(self, port_id: str) -> None:
        self._rest.delete(f"ports/{part(port_id)}")


def network_of(found: Document) -> Network:
    """A network as the API has it; its segment only for administrators."""
    return Network(
        id=found.text("id"),
        name=found.maybe_text("name") or "",
        project_id=found.maybe_text("project_id"),
        shared=found.flag("shared"),
        status=found.maybe_text("status"),
        segmentation_id=found.maybe_integer("provider:segmentation_id"),
        network_type=found.maybe_text("provider:network_type"),
        physical_network=found.maybe_text("provider:physical_network"),
        subnet_ids=found.texts("subnets"),
    )


def subnet_of(found: Document) -> Subnet:
    return Subnet(
        id=found.text("id"),
        name=found.maybe_text("name") or "",
        network_id=found.text("network_id"),
        project_id=found.maybe_text("project_id"),
        cidr=found.text("cidr"),
        gateway=found.maybe_text("gateway_ip"),
        pools=tuple((p.text("start"), p.text("end")) for p in found.documents("allocation_pools", "a pool")),
        dhcp=found.flag("enable_dhcp"),
        dns_servers=found.texts("dns_nameservers"),
    )


def port_of(found: Document) -> NetworkPort:
    """A port as the API has it; the binding only for administrators."""
    return NetworkPort(
        id=found.text("id"),
        name=found.maybe_text("name") or "",
        network_id=found.text("network_id"),
        project_id=found.maybe_text("project_id"),
        mac=found.text("mac_address").lower(),
        addresses=tuple(
            FixedAddress(fixed.text("subnet_id"), fixed.text("ip_address"))
            for fixed in found.documents("fixed_ips", "an address")
        ),
        device_id=found.maybe_text("device_id"),
        device_owner=found.maybe_text("device_owner"),
        host_id=found.maybe_text("binding:host_id"),
        vnic_type=found.maybe_text("binding:vnic_type"),
        status=found.maybe_text("status"),
        link=_link_of(found),
        created_at=found.moment("created_at"),
    )


def _link_of(port: Document) -> SwitchLink | None:
    """The switch port in a baremetal binding's profile (Ironic writes it; the first of a bond's)."""
    profile = Document(port.mapping("binding:profile"), service=port.service, what="a binding profile")
    for entry in profile.documents("local_link_information", "a link"):
        link = link_of(entry)
        if link is not None:
            return link
    return None


def link_of(found: Document) -> SwitchLink | None:
    """A cable's other end (Ironic's local_link_connection); None where its switch or port is not known."""
    switch, port = found.maybe_text("switch_id"), found.maybe_text("port_id")
    if switch is None or port is None:
        return None
    return SwitchLink(switch_id=switch.lower(), port_id=port, switch_name=found.maybe_text("switch_info"))
