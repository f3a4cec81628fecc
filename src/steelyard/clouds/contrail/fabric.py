"""What the controller knows of its fabric, by bulk lists: switches, their ports, service nodes; what nobody owns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from steelyard.clouds.contrail.groups import Groups
from steelyard.clouds.contrail.networks import IPAM_PREFIX
from steelyard.clouds.contrail.reading import (
    ADDRESS_FIELDS,
    NETWORK_FIELDS,
    ipam_refs,
    ipam_subnets,
    name_of,
    ref_ids,
    shares_of,
)
from steelyard.clouds.contrail.rest import ContrailRest
from steelyard.clouds.openstack.reading import Document
from steelyard.errors import Conflict, Invalid, NotFound
from steelyard.nouns import FabricFacts, FabricPort, FabricSwitch, Leftover, NetworkFacts

SERVICE_NODE: Final = "tor-service-node"
"""Type of the virtual-router that answers DHCP for servers behind switches."""
BOOT_SERVER: Final = frozenset({"66", "tftp-server-name", "150"})
"""DHCP options that name the server from which a boot file comes; the service node itself never serves TFTP."""
MTU: Final = frozenset({"26", "interface-mtu"})


class ContrailFabric:
    def __init__(self, rest: ContrailRest, groups: Groups):
        self._rest = rest
        self._groups = groups

    def facts(self, network_ids: Collection[str] = ()) -> FabricFacts:
        self._rest.require_admin("reading the fabric")
        routers = self._rest.objects(
            "physical-router", fields=("physical_router_management_mac", "virtual_router_refs", "fabric_refs")
        )
        service = {
            each.text("uuid"): name_of(each)
            for each in self._rest.objects("virtual-router", fields=("virtual_router_type", "display_name"))
            if each.maybe_text("virtual_router_type") == SERVICE_NODE
        }
        interfaces = self._rest.objects("physical-interface", fields=("physical_interface_mtu",))
        return FabricFacts(
            controller="contrail",
            switches=tuple(_switch(each, service) for each in routers),
            ports=tuple(port for each in interfaces if (port := _port(each)) is not None),
            networks=self._networks(network_ids),
        )

    def _networks(self, ids: Collection[str]) -> Mapping[str, NetworkFacts]:
        networks = self._rest.objects("virtual-network", ids=ids, fields=NETWORK_FIELDS) if ids else []
        wanted = {ref.text("uuid") for each in networks for ref in ipam_refs(each)}
        ipams = self._rest.objects("network-ipam", ids=wanted, fields=("network_ipam_mgmt",)) if wanted else []
        of_ipam = {each.text("uuid"): _options(_in(each, "network_ipam_mgmt")) for each in ipams}
        return {each.text("uuid"): _network(each, of_ipam) for each in networks}

    def leftovers(self) -> list[Leftover]:
        """Objects that nothing uses any more: addresses without a port, port groups without one, ipams of subnets
        that are gone. Ports themselves are found where servers and nodes are compared."""
        self._rest.require_admin("reading the fabric")
        return [*self._addresses(), *self._port_groups(), *self._ipams()]

    def _addresses(self) -> Iterator[Leftover]:
        for each in self._rest.objects("instance-ip", fields=(*ADDRESS_FIELDS, *_USED_BY)):
            if (why := _unused_address(each)) is not None:
                address = each.maybe_text("instance_ip_address") or "no address"
                yield Leftover("instance-ip", each.text("uuid"), address, why)

    def _port_groups(self) -> Iterator[Leftover]:
        for group in self._groups.all():
            if group.internal and not group.port_ids:
                count = len(group.interface_ids)
                holds = f"; it holds {count} switch port{'s' if count > 1 else ''}" if count else ""
                yield Leftover("virtual-port-group", group.id, group.name, f"no port is in the group{holds}")

    def _ipams(self) -> Iterator[Leftover]:
        for each in self._rest.objects("network-ipam", fields=("virtual_network_back_refs",)):
            if _is_lone_ipam(each):
                yield Leftover("network-ipam", each.text("uuid"), name_of(each), "its subnet is on no network")

    def remove(self, kind: str, identifier: str) -> None:
        """Remove a leftover, after another look. Raises `Conflict` (`in_use`) when it is used by now."""
        self._rest.require_admin("removing objects of the controller")
        try:
            if kind == "instance-ip":
                found = self._rest.read(kind, identifier)
                _require(_unused_address(found) is not None)
            elif kind == "network-ipam":
                _require(_is_lone_ipam(self._rest.read(kind, identifier)))
            elif kind == "virtual-port-group":
                group = self._groups.read(identifier)
                if group is None:
                    return
                _require(group.internal and not group.port_ids)
                self._groups.remove_if_empty(identifier)
                return
            else:
                raise Invalid(f"{kind[:40]!r} is nothing that is removed here", code="unknown_kind")
        except NotFound:
            return
        self._rest.remove(kind, identifier)


_USED_BY: Final = ("floating_ips", "virtual_router_refs", "logical_interface_back_refs", "physical_router_refs",
                   "service_instance_ip", "service_health_check_ip", "fq_name")  # fmt: skip


def _unused_address(found: Document) -> str | None:
    """Why nobody uses an instance-ip; None where somebody may. One reserved on purpose has a name that says so."""
    used = any(found.data.get(name) for name in _USED_BY if name != "fq_name")
    if used or ref_ids(found, "virtual_machine_interface_refs"):
        return None
    names = found.texts("fq_name")
    if names and "reserved" in names[-1]:
        return None
    return "no port has the address"


def _is_lone_ipam(found: Document) -> bool:
    names = found.texts("fq_name")
    return bool(names) and names[-1].startswith(IPAM_PREFIX) and not ref_ids(found, "virtual_network_back_refs")


def _require(free: bool) -> None:
    if not free:
        raise Conflict("it is in use by now", code="in_use")


def _switch(found: Document, service: Mapping[str, str]) -> FabricSwitch:
    names = found.texts("fq_name")
    mac = found.maybe_text("physical_router_management_mac")
    return FabricSwitch(
        name=names[-1] if names else "",
        chassis_id=mac.lower() if mac else None,
        service_nodes=tuple(service[each] for each in ref_ids(found, "virtual_router_refs") if each in service),
    )


def _port(found: Document) -> FabricPort | None:
    names = found.texts("fq_name")
    if len(names) < 3:
        return None
    return FabricPort(names[-2], names[-1], found.maybe_integer("physical_interface_mtu"))


def _network(found: Document, of_ipam: Mapping[str, Mapping[str, str]]) -> NetworkFacts:
    options: dict[str, str] = {}
    dhcp = False
    for ref in ipam_refs(found):
        options |= of_ipam.get(ref.text("uuid"), {})
        for entry in ipam_subnets(ref):
            options |= _options(entry)
            dhcp = dhcp or entry.flag("enable_dhcp", default=True)
    return NetworkFacts(
        network_id=found.text("uuid"),
        users=shares_of(found),
        dhcp=dhcp,
        mtu=next((int(value) for name, value in options.items() if name in MTU and value.isdecimal()), None),
        boot_servers=tuple(value for name, value in options.items() if name in BOOT_SERVER and value),
    )


def _options(found: Document) -> dict[str, str]:
    entries: Sequence[Document] = _in(found, "dhcp_option_list").documents("dhcp_option", "a DHCP option")
    return {
        name: entry.maybe_text("dhcp_option_value") or ""
        for entry in entries
        if (name := entry.maybe_text("dhcp_option_name")) is not None
    }


def _in(found: Document, name: str) -> Document:
    return Document(dict(found.mapping(name)), service=found.service, what=name)
