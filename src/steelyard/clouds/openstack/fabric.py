"""What Neutron is set up with, as far as it tells (Networking API v2.0): who may use a network, its MTU, its DHCP."""

from __future__ import annotations

from collections.abc import Collection

from steelyard.clouds.openstack.session import NETWORK, Access, Rest
from steelyard.errors import NotFound
from steelyard.nouns import FabricFacts, Leftover, NetworkFacts


class OpenstackFabric:
    """Neutron knows no switches: its mechanism drivers do, from files of their own."""

    def __init__(self, access: Access):
        self._rest = Rest(access, NETWORK)

    def facts(self, network_ids: Collection[str] = ()) -> FabricFacts:
        fields = {"fields": ["id", "project_id", "shared", "router:external", "mtu"]}
        networks = list(self._rest.pages("networks", "networks", what="a network", params=fields))
        with_dhcp = {
            subnet.text("network_id")
            for subnet in self._rest.pages("subnets", "subnets", what="a subnet")
            if subnet.flag("enable_dhcp")
        }
        shares = self._shares()
        facts = {}
        for found in networks:
            if (identifier := found.text("id")) not in network_ids:
                continue
            everybody = found.flag("shared") or found.flag("router:external")
            owner = found.maybe_text("project_id")
            others = [each for each in shares.get(identifier, ()) if each not in {"*", owner}]
            users = tuple(dict.fromkeys([*(["everybody"] if everybody else []), *others]))
            facts[identifier] = NetworkFacts(identifier, users, identifier in with_dhcp, found.maybe_integer("mtu"))
        return FabricFacts(controller="neutron", networks=facts)

    def _shares(self) -> dict[str, list[str]]:
        """Target projects of each network's RBAC policies; none where Neutron has no such extension."""
        params = {"object_type": "network"}
        found: dict[str, list[str]] = {}
        try:
            for policy in self._rest.pages("rbac-policies", "rbac_policies", what="a policy", params=params):
                found.setdefault(policy.text("object_id"), []).append(policy.text("target_tenant"))
        except NotFound:
            return {}
        return found

    def leftovers(self) -> list[Leftover]:
        return []  # its ports are all that Neutron leaves behind, and those are compared with servers

    def remove(self, kind: str, identifier: str) -> None:
        """There is none, so it is gone."""
