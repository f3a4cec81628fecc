"""Neutron's trunks (tagged sub-interfaces) and security groups (Networking API v2.0)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from steelyard.clouds.openstack.network import OpenstackAttachments
from steelyard.clouds.openstack.reading import Document
from steelyard.clouds.openstack.session import NETWORK, Access, Rest, part
from steelyard.errors import Conflict, Invalid, NotFound, SteelyardError
from steelyard.nouns import NetworkPort, SecurityGroup, Subport

TRUNK_NAME = "steelyard"
"""Of the trunks made here; one that somebody else made is used as it is."""


class OpenstackSubInterfaces:
    """Subports of trunks. Needs the service plugin `trunk`, and rights to see VLANs."""

    def __init__(self, access: Access):
        self._rest = Rest(access, NETWORK)
        self._ports = OpenstackAttachments(access)

    def add(self, parent_id: str, *, network_id: str, name: str, project_id: str | None = None) -> Subport:
        parent = self._ports.get(parent_id)
        if parent.network_id == network_id:
            raise Invalid("the NIC is on this network already, untagged", code="same_network")
        vlan = self._vlan(network_id)
        if (known := self._there(parent, network_id, vlan)) is not None:
            return known
        owner = project_id or parent.project_id
        trunk_id = self._trunk(parent_id) or self._make_trunk(parent, owner)
        body = {"name": name, "network_id": network_id, **({"project_id": owner} if owner else {})}
        port_id = self._rest.post("ports", {"port": body}, what="a port").document("port", "a port").text("id")
        subport = {"port_id": port_id, "segmentation_type": "vlan", "segmentation_id": vlan}
        try:
            self._rest.call("PUT", f"trunks/{part(trunk_id)}/add_subports", body={"sub_ports": [subport]})
        except BaseException:
            with contextlib.suppress(SteelyardError):
                self._ports.delete(port_id)
            raise
        return Subport(port_id, vlan)

    def remove(self, parent_id: str, port_id: str) -> None:
        if (trunk_id := self._trunk(parent_id)) is not None:
            with contextlib.suppress(NotFound):
                self._rest.call(
                    "PUT", f"trunks/{part(trunk_id)}/remove_subports", body={"sub_ports": [{"port_id": port_id}]}
                )
        self._ports.delete(port_id)
        if trunk_id is not None and not self._subports(trunk_id):
            # Neutron deletes no port that is a trunk's parent: an empty trunk would keep the server from going.
            self._rest.delete(f"trunks/{part(trunk_id)}")

    def _vlan(self, network_id: str) -> int:
        params = {"fields": ["provider:segmentation_id", "provider:network_type"]}
        answer = self._rest.get(f"networks/{part(network_id)}", params=params, what="a network")
        found = answer.document("network", "a network")
        vlan = found.maybe_integer("provider:segmentation_id")
        if found.maybe_text("provider:network_type") != "vlan" or vlan is None:
            raise Invalid("the network has no VLAN that a switch port could carry tagged", code="network_without_vlan")
        return vlan

    def _there(self, parent: NetworkPort, network_id: str, vlan: int) -> Subport | None:
        for subport in parent.subports:
            if self._ports.get(subport.port_id).network_id == network_id:
                return subport
            if subport.vlan == vlan:
                raise Conflict(f"the NIC has a sub-interface with the tag {vlan}, of another network")
        return None

    def _trunk(self, parent_id: str) -> str | None:
        found = list(self._rest.pages("trunks", "trunks", what="a trunk", params={"port_id": parent_id}))
        return found[0].text("id") if found else None

    def _subports(self, trunk_id: str) -> list[Document]:
        answer = self._rest.get(f"trunks/{part(trunk_id)}", what="a trunk").document("trunk", "a trunk")
        return answer.documents("sub_ports", "a subport")

    def _make_trunk(self, parent: NetworkPort, project_id: str | None) -> str:
        body = {"name": TRUNK_NAME, "port_id": parent.id, **({"project_id": project_id} if project_id else {})}
        return self._rest.post("trunks", {"trunk": body}, what="a trunk").document("trunk", "a trunk").text("id")


class OpenstackSecurityGroups:
    """Security groups. Neutron keeps them on every port; whether switches filter by them at servers' NICs is up to its
    plugins, and its API does not tell: `enforced` says it."""

    def __init__(self, access: Access, *, enforced: bool = False):
        self._rest = Rest(access, NETWORK)
        self._enforced = enforced

    def all(self) -> list[SecurityGroup]:
        params = {"fields": ["id", "name", "project_id"]}
        found = self._rest.pages("security-groups", "security_groups", what="a security group", params=params)
        return [
            SecurityGroup(group.text("id"), group.maybe_text("name") or "", group.maybe_text("project_id"))
            for group in found
        ]

    def put(self, port_id: str, group_ids: Sequence[str]) -> None:
        body = {"port": {"security_groups": list(group_ids)}}
        self._rest.call("PUT", f"ports/{part(port_id)}", body=body)

    def enforced_on_nics(self) -> bool:
        return self._enforced

    def on_switch(self, port: NetworkPort | None) -> frozenset[str] | None:
        if not self._enforced:
            return None
        # Ironic's and our own ports have their project's default group too, and must be reached by the conductor.
        return frozenset(port.security_groups) if port is not None and port.is_novas else frozenset()
