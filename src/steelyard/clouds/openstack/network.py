"""Neutron (Networking API v2.0): networks, subnets and ports."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from steelyard.clouds.openstack.reading import Document
from steelyard.clouds.openstack.session import NETWORK, Access, Rest, part
from steelyard.errors import Conflict, Forbidden, Invalid
from steelyard.nouns import (
    AttachmentSpec,
    FixedAddress,
    HostRoute,
    Lag,
    Network,
    NetworkPort,
    Subnet,
    SubnetSpec,
    Subport,
    SwitchLink,
)

IDS_PER_CALL = 40
"""Network ids in one query: a URL must stay below 4 KiB for the strictest servers."""
PORT_FIELDS = (
    "id", "name", "network_id", "project_id", "mac_address", "fixed_ips", "device_id", "device_owner",
    "binding:host_id", "binding:vnic_type", "binding:profile", "status", "created_at",
    "security_groups", "trunk_details",
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
        if spec.host_routes:
            body["host_routes"] = [
                {"destination": route.destination, "nexthop": route.next_hop} for route in spec.host_routes
            ]
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

    def all(
        self, *, network_ids: Sequence[str] | None = None, device_ids: Sequence[str] | None = None
    ) -> list[NetworkPort]:
        if network_ids is None and device_ids is None:
            return self._list({})
        if network_ids is not None and device_ids is not None:
            return [port for port in self.all(device_ids=device_ids) if port.network_id in set(network_ids)]
        field, wanted = ("network_id", network_ids) if network_ids is not None else ("device_id", device_ids)
        ids = list(dict.fromkeys(wanted or ()))
        groups = [ids[start : start + IDS_PER_CALL] for start in range(0, len(ids), IDS_PER_CALL)]
        return [port for group in groups for port in self._list({field: group})]

    def _list(self, query: Mapping[str, Any]) -> list[NetworkPort]:
        params = {**query, "fields": PORT_FIELDS}
        return [port_of(found) for found in self._rest.pages("ports", "ports", what="a port", params=params)]

    def get(self, port_id: str) -> NetworkPort:
        answer = self._rest.get(f"ports/{part(port_id)}", params={"fields": PORT_FIELDS}, what="a port")
        return port_of(answer.document("port", "a port"))

    def bound(self, node_id: str) -> list[NetworkPort]:
        return self._list({"binding:host_id": node_id})

    def create(self, spec: AttachmentSpec) -> NetworkPort:
        query = {"network_id": spec.network_id, "device_id": spec.node_id, "mac_address": spec.mac, "name": spec.name}
        if there := self._list(query):
            if is_at(there[0], spec.link, spec.lag):
                return there[0]
            return self.bind(there[0].id, node_id=spec.node_id, mac=spec.mac, link=spec.link, lag=spec.lag)
        body: dict[str, Any] = {
            "name": spec.name, "network_id": spec.network_id, "device_id": spec.node_id,
            "device_owner": spec.device_owner, **_binding(spec.node_id, spec.mac, spec.link, spec.lag),
        }  # fmt: skip
        if not spec.with_address:
            body["fixed_ips"] = []
        answer = self._rest.post("ports", {"port": body}, what="a port")
        return port_of(answer.document("port", "a port"))

    def bind(self, port_id: str, *, node_id: str, mac: str, link: SwitchLink, lag: Lag | None = None) -> NetworkPort:
        return self._update(port_id, _binding(node_id, mac, link, lag))

    def unbind(self, port_id: str) -> None:
        # Not the MAC, which Ironic resets at this place: the tenant's port keeps all that it has.
        self._update(port_id, {"binding:host_id": "", "binding:profile": {}})

    def _update(self, port_id: str, changes: Mapping[str, Any]) -> NetworkPort:
        answer = self._rest.call("PUT", f"ports/{part(port_id)}", body={"port": dict(changes)})
        return port_of(self._rest.document(answer, "a port").document("port", "a port"))

    def delete(self, port_id: str) -> None:
        path = f"ports/{part(port_id)}"
        try:
            self._rest.delete(path)
        except Conflict:
            # Neutron deletes no port that is a trunk's parent: its sub-interfaces go with it.
            trunks = list(self._rest.pages("trunks", "trunks", what="a trunk", params={"port_id": port_id}))
            if not trunks:
                raise
            for trunk in trunks:
                self._rest.delete(f"trunks/{part(trunk.text('id'))}")
                for subport in trunk.documents("sub_ports", "a subport"):
                    self._rest.delete(f"ports/{part(subport.text('port_id'))}")
            self._rest.delete(path)


def is_at(port: NetworkPort, link: SwitchLink, lag: Lag | None = None) -> bool:
    """Whether a port is bound to this switch port, or to all of the bond's, and the controller has plugged it."""
    wanted = {(each.switch_id.lower(), each.port_id) for each in (lag.links if lag else (link,))}
    return {(each.switch_id, each.port_id) for each in port.links} == wanted and port.status == "ACTIVE"


def _binding(node_id: str, mac: str, link: SwitchLink, lag: Lag | None) -> dict[str, Any]:
    """What puts a port on a NIC, as Ironic writes it (ironic/drivers/modules/network/common.py)."""
    profile: dict[str, Any] = {
        "local_link_information": [_connection(each) for each in (lag.links if lag else (link,))]
    }
    if lag is not None:
        profile["local_group_information"] = {
            "id": lag.id, "name": lag.name, "bond_mode": lag.mode, "bond_properties": {}
        }  # fmt: skip
    return {
        "mac_address": mac,
        "binding:vnic_type": "baremetal",
        "binding:host_id": node_id,
        "binding:profile": profile,
    }


def _connection(link: SwitchLink) -> dict[str, str]:
    there = {"switch_id": link.switch_id, "port_id": link.port_id}
    return {**there, "switch_info": link.switch_name} if link.switch_name else there


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
        host_routes=tuple(
            HostRoute(route.text("destination"), route.text("nexthop"))
            for route in found.documents("host_routes", "a host route")
        ),
    )


def port_of(found: Document) -> NetworkPort:
    """A port as the API has it; the binding only for administrators."""
    links = _links_of(found)
    trunk = Document(found.mapping("trunk_details"), service=found.service, what="a trunk")
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
        link=links[0] if links else None,
        created_at=found.moment("created_at"),
        more_links=links[1:],
        security_groups=found.texts("security_groups"),
        subports=tuple(
            Subport(each.text("port_id"), each.integer("segmentation_id"))
            for each in trunk.documents("sub_ports", "a subport")
        ),
    )


def _links_of(port: Document) -> tuple[SwitchLink, ...]:
    """The switch ports in a baremetal binding's profile (Ironic writes it; several for a bond)."""
    profile = Document(port.mapping("binding:profile"), service=port.service, what="a binding profile")
    found = (link_of(entry) for entry in profile.documents("local_link_information", "a link"))
    return tuple(link for link in found if link is not None)


def link_of(found: Document) -> SwitchLink | None:
    """A cable's other end (Ironic's local_link_connection); None where its switch or port is not known."""
    switch, port = found.maybe_text("switch_id"), found.maybe_text("port_id")
    if switch is None or port is None:
        return None
    return SwitchLink(switch_id=switch.lower(), port_id=port, switch_name=found.maybe_text("switch_info"))
