"""From the controller's objects to Steelyard's nouns. Pure.

A virtual network (VN) is a network, the subnets hang on its reference to a network-ipam, a virtual machine interface
(VMI) is a port, and its addresses are instance-ips that refer to it.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from steelyard.clouds.contrail.rest import CONTROLLER, hex_of
from steelyard.clouds.openstack.reading import Document
from steelyard.errors import SteelyardError, UpstreamError
from steelyard.nouns import FixedAddress, HostRoute, Network, NetworkPort, Subnet, Subport, SwitchLink

NETWORK_FIELDS: Final = (
    "display_name", "parent_uuid", "perms2", "is_shared", "router_external", "id_perms", "provider_properties",
    "network_ipam_refs",
)  # fmt: skip
PORT_FIELDS: Final = (
    "display_name", "parent_uuid", "id_perms", "virtual_network_refs", "virtual_machine_refs", "security_group_refs",
    "virtual_machine_interface_mac_addresses", "virtual_machine_interface_bindings",
    "virtual_machine_interface_device_owner", "virtual_machine_interface_properties",
    "virtual_machine_interface_refs", "virtual_port_group_back_refs",
)  # fmt: skip
ADDRESS_FIELDS: Final = (
    "instance_ip_address", "instance_ip_family", "subnet_uuid", "virtual_network_refs",
    "virtual_machine_interface_refs",
)  # fmt: skip
GROUP_FIELDS: Final = ("physical_interface_refs", "virtual_machine_interface_refs")

DEVICE: Final = "steelyard_device_id"
"""Key among a VMI's bindings: the owner of a port of Steelyard's own, which has no virtual machine object."""
PORT_NAME: Final = "steelyard_port_id"
"""Key in a link of a binding profile: the switch port as the switch calls it, where the controller's name differs."""
DNS_OPTIONS: Final = frozenset({"6", "23", "domain-name-servers", "dns-servers"})
NO_GATEWAY: Final = "0.0.0.0"  # noqa: S104 - the controller's word for none
_READS: Final = 4
"""The bit of an access mode that lets one read."""


# References


def ref_ids(found: Document, name: str) -> tuple[str, ...]:
    """The uuids of what an object refers to, or (`..._back_refs`) what refers to it."""
    refs = found.data.get(name) or []
    if not isinstance(refs, list) or not all(
        isinstance(ref, dict) and isinstance(ref.get("uuid"), str) for ref in refs
    ):
        raise UpstreamError(f"{found.service} answered {found.what} whose {name!r} is no list of references")
    return tuple(ref["uuid"] for ref in refs)


def ref_name(found: Document, name: str) -> str | None:
    """The last part of the name of the first reference."""
    refs = found.documents(name, "a reference")
    names = refs[0].texts("to") if refs else ()
    return names[-1] if names else None


def pairs_of(found: Document, name: str = "virtual_machine_interface_bindings") -> dict[str, str]:
    """A map property as a mapping; a value that is no text is left out."""
    pairs = found.mapping(name).get("key_value_pair") or []
    if not isinstance(pairs, list) or not all(isinstance(pair, dict) for pair in pairs):
        raise UpstreamError(f"{found.service} answered {found.what} whose {name!r} is no list of pairs")
    return {
        key: value
        for pair in pairs
        if isinstance(key := pair.get("key"), str) and isinstance(value := pair.get("value"), str)
    }


def as_pairs(pairs: Mapping[str, str]) -> dict[str, Any]:
    """A mapping as the controller takes it."""
    return {"key_value_pair": [{"key": key, "value": value} for key, value in pairs.items()]}


# Networks and subnets


def readable_by(found: Document, project_id: str | None) -> bool:
    """Whether a project may know of a network: its own, shared with it, or with all.

    The controller hides the others itself where its access rules are on (`aaa_mode=rbac`); where they are not, tenants
    still see nothing here.
    """
    if owner_of(found) == project_id or is_shared(found):
        return project_id is not None
    permissions = Document(dict(found.mapping("perms2")), service=found.service, what="permissions")
    if hex_of(permissions.maybe_text("owner") or "") == project_id:
        return True
    for share in permissions.documents("share", "a share"):
        tenant = share.maybe_text("tenant") or ""
        if (
            hex_of(tenant.removeprefix("tenant:")) == project_id
            and (share.maybe_integer("tenant_access") or 0) & _READS
        ):
            return True
    return False


def owner_of(found: Document) -> str | None:
    """Keystone's id of the project that an object belongs to."""
    parent = found.maybe_text("parent_uuid")
    return hex_of(parent) if parent else None


def is_shared(found: Document) -> bool:
    """Whether every project may use a network."""
    permissions = found.mapping("perms2")
    everybody = permissions.get("global_access")
    return found.flag("is_shared") or found.flag("router_external") or (isinstance(everybody, int) and everybody != 0)


def shares_of(found: Document) -> tuple[str, ...]:
    """Who else may use a network: "everybody", or ids of projects and domains."""
    permissions = Document(dict(found.mapping("perms2")), service=found.service, what="permissions")
    named = [share.maybe_text("tenant") or "" for share in permissions.documents("share", "a share")]
    return (*(("everybody",) if is_shared(found) else ()), *(name for name in named if name))


def vlan_of(found: Document) -> int | None:
    """The VLAN that carries a network to servers behind switches."""
    return Document(
        dict(found.mapping("provider_properties")), service=found.service, what="provider properties"
    ).maybe_integer("segmentation_id")


def network_of(found: Document, *, whole: bool) -> Network:
    """A network; its segment only for administrators (`whole`)."""
    provider = found.mapping("provider_properties")
    vlan, physical = vlan_of(found), provider.get("physical_network")
    return Network(
        id=found.text("uuid"),
        name=name_of(found),
        project_id=owner_of(found),
        shared=is_shared(found),
        status="ACTIVE" if found.mapping("id_perms").get("enable", True) else "DOWN",
        segmentation_id=vlan if whole else None,
        network_type=("vlan" if vlan is not None else "vxlan") if whole else None,
        physical_network=physical if whole and isinstance(physical, str) else None,
        subnet_ids=tuple(subnet.id for subnet in subnets_of(found)),
    )


def name_of(found: Document) -> str:
    """What people call an object: a display name where it has one, the last part of its name else."""
    names = found.texts("fq_name")
    return found.maybe_text("display_name") or (names[-1] if names else "")


def subnets_of(found: Document) -> list[Subnet]:
    """The subnets of a network, of all its address managements (network-ipam) together."""
    return [subnet_of(entry, found) for ref in ipam_refs(found) for entry in ipam_subnets(ref)]


def ipam_refs(found: Document) -> list[Document]:
    return found.documents("network_ipam_refs", "a reference to a network-ipam")


def ipam_subnets(ref: Document) -> list[Document]:
    """The subnets on one reference to a network-ipam."""
    attr = Document(dict(ref.mapping("attr")), service=ref.service, what="subnets")
    # An entry without a prefix stands for an ipam whose own subnets are used ("flat"), and is no subnet.
    return [entry for entry in attr.documents("ipam_subnets", "a subnet") if entry.mapping("subnet")]


def subnet_of(entry: Document, network: Document) -> Subnet:
    where = entry.document("subnet", "a subnet's prefix")
    cidr = f"{where.text('ip_prefix')}/{where.integer('ip_prefix_len')}"
    gateway = entry.maybe_text("default_gateway")
    identifier = entry.maybe_text("subnet_uuid") or f"{network.text('uuid')} {cidr}"
    pools = entry.documents("allocation_pools", "a pool")
    return Subnet(
        id=identifier,
        name=entry.maybe_text("subnet_name") or "",
        network_id=network.text("uuid"),
        project_id=owner_of(network),
        cidr=cidr,
        gateway=None if gateway in (None, NO_GATEWAY, "::") else gateway,
        pools=tuple((pool.text("start"), pool.text("end")) for pool in pools) or default_pools(cidr, gateway),
        dhcp=entry.flag("enable_dhcp", default=True),
        dns_servers=_dns(entry),
        host_routes=tuple(
            HostRoute(route.text("prefix"), route.text("next_hop"))
            for route in _inside(entry, "host_routes").documents("route", "a route")
        ),
    )


def _dns(entry: Document) -> tuple[str, ...]:
    options = _inside(entry, "dhcp_option_list").documents("dhcp_option", "a DHCP option")
    found = [
        server
        for option in options
        if option.maybe_text("dhcp_option_name") in DNS_OPTIONS
        for server in (option.maybe_text("dhcp_option_value") or "").split()
    ]
    return tuple(dict.fromkeys([*entry.texts("dns_nameservers"), *found]))


def _inside(entry: Document, name: str) -> Document:
    return Document(dict(entry.mapping(name)), service=entry.service, what=name)


def default_pools(cidr: str, gateway: str | None) -> tuple[tuple[str, str], ...]:
    """All of a subnet but for its ends and its gateway, as Neutron has it."""
    try:
        network = ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return ()
    first = int(network.network_address) + 1
    last = int(network.broadcast_address) - (1 if network.version == 4 else 0)
    make = type(network.network_address)
    try:
        middle = int(ipaddress.ip_address(gateway)) if gateway else 0
    except ValueError:
        middle = 0
    if not first <= middle <= last:
        return ((str(make(first)), str(make(last))),) if first <= last else ()
    ranges = [(first, middle - 1), (middle + 1, last)]
    return tuple((str(make(start)), str(make(end))) for start, end in ranges if start <= end)


def as_subnet(subnet: Subnet) -> dict[str, Any]:
    """A subnet as the controller takes it: addresses from the bottom, every pool said."""
    address, _, length = subnet.cidr.partition("/")
    no_gateway = NO_GATEWAY if ":" not in address else "::"
    entry: dict[str, Any] = {
        "subnet": {"ip_prefix": address, "ip_prefix_len": int(length)},
        "subnet_uuid": subnet.id,
        "subnet_name": subnet.name,
        "default_gateway": subnet.gateway or no_gateway,
        "enable_dhcp": subnet.dhcp,
        "addr_from_start": True,
        "allocation_pools": [{"start": first, "end": last} for first, last in subnet.pools],
    }
    if subnet.dns_servers:
        option = {"dhcp_option_name": "6", "dhcp_option_value": " ".join(subnet.dns_servers)}
        entry["dhcp_option_list"] = {"dhcp_option": [option]}
    if subnet.host_routes:
        routes = [{"prefix": route.destination, "next_hop": route.next_hop} for route in subnet.host_routes]
        entry["host_routes"] = {"route": routes}
    return entry


# Ports


def links_in(bindings: Mapping[str, str]) -> tuple[SwitchLink, ...]:
    """The cables that a VMI's binding profile names. A profile that cannot be read names none."""
    try:
        profile = json.loads(bindings.get("profile") or "{}")
        entries = Document(profile, service=CONTROLLER.title, what="a binding profile").documents(
            "local_link_information", "a link"
        )
        found = []
        for entry in entries:
            name, port = entry.maybe_text("switch_info"), entry.maybe_text("port_id")
            if port is None:
                continue
            port = entry.maybe_text(PORT_NAME) or port
            found.append(SwitchLink((entry.maybe_text("switch_id") or "").lower(), port, name))
        return tuple(found)
    except (ValueError, RecursionError, SteelyardError):
        return ()


def tag_of(found: Document) -> int | None:
    """The VLAN tag of a sub-interface; None for an untagged port."""
    properties = Document(
        dict(found.mapping("virtual_machine_interface_properties")), service=found.service, what="properties"
    )
    return properties.maybe_integer("sub_interface_vlan_tag") or None


def network_id_of(found: Document) -> str:
    ids = ref_ids(found, "virtual_network_refs")
    return ids[0] if ids else ""


def addresses_by_port(instance_ips: Iterable[Document]) -> dict[str, list[FixedAddress]]:
    """Addresses by the uuid of the VMI that has them."""
    found: dict[str, list[FixedAddress]] = {}
    for entry in instance_ips:
        address = entry.maybe_text("instance_ip_address")
        if address is None:
            continue
        for port_id in ref_ids(entry, "virtual_machine_interface_refs"):
            found.setdefault(port_id, []).append(FixedAddress(entry.maybe_text("subnet_uuid") or "", address))
    return found


def port_of(
    found: Document, addresses: Sequence[FixedAddress], *, links: Sequence[SwitchLink], wired: bool, whole: bool,
    subports: Sequence[Subport] = (),
) -> NetworkPort:  # fmt: skip
    """A VMI as a port. `links`: its switch ports; `wired`: its port group has them. `whole`: with its binding, for
    administrators."""
    bindings = pairs_of(found)
    macs = _inside(found, "virtual_machine_interface_mac_addresses").texts("mac_address")
    vnic = bindings.get("vnic_type") or "normal"
    host = bindings.get("host_id") or None
    up = wired if vnic == "baremetal" else host not in (None, "null")
    return NetworkPort(
        id=found.text("uuid"),
        name=name_of(found),
        network_id=network_id_of(found),
        project_id=owner_of(found),
        mac=macs[0].lower() if macs else "00:00:00:00:00:00",
        addresses=tuple(addresses),
        device_id=bindings.get(DEVICE) or ref_name(found, "virtual_machine_refs"),
        device_owner=found.maybe_text("virtual_machine_interface_device_owner"),
        host_id=host if whole and host != "null" else None,
        vnic_type=vnic,
        status="ACTIVE" if up else "DOWN",
        link=links[0] if links and whole else None,
        created_at=_created(found),
        more_links=tuple(links[1:]) if whole else (),
        security_groups=ref_ids(found, "security_group_refs"),
        subports=tuple(subports),
    )


def _created(found: Document) -> Any:
    permissions = found.mapping("id_perms")
    return Document(dict(permissions), service=found.service, what="permissions").moment("created")
