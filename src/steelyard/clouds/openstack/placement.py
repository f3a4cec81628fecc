"""Placement: which nodes could be allocated now, who holds them, and holding one back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

from steelyard.clouds.names import PREFIX, placement_class
from steelyard.clouds.openstack.reading import Document
from steelyard.clouds.openstack.session import PLACEMENT, Access, Rest, part
from steelyard.errors import Conflict, Invalid, NotFound
from steelyard.nouns import AllocationRecord

MICROVERSION = "1.28"
"""Inventories that are reserved to the last one came with 1.26 and consumers' generations with 1.28, both in Rocky."""
DISABLED = "COMPUTE_STATUS_DISABLED"
"""Trait that Nova sets on the nodes of a compute service that is switched off."""
NOVAS = ("COMPUTE_", "OWNER_")
"""How the traits begin that Nova sets on every provider of its own accord (os_traits.compute, os_traits.owner)."""
CUSTOM = "CUSTOM_"
TRIES = 5
"""How often an inventory that somebody else changes at the same time is read and written anew."""
AT_ONCE = 8
"""Requests under way at the same time, where there is no list to ask for."""


class OpenstackPlacement:
    """Asks GET /resource_providers with a resources filter.

    It weighs capacity exactly as GET /allocation_candidates does, without that call's limit on the number of
    candidates and without the list of all traits of all of them; an Ironic node is one provider by itself, so there
    is no combination to be worked out.
    """

    def __init__(self, access: Access):
        self._rest = Rest(access, PLACEMENT, microversion=MICROVERSION)

    def free(self, resource_class: str, traits: frozenset[str] = frozenset()) -> frozenset[str]:
        params = {
            "resources": f"{placement_class(resource_class)}:1",
            "required": ",".join([*sorted(traits), f"!{DISABLED}"]),
        }
        try:
            return self._providers(params)
        except Invalid as error:
            # A class or trait that no node has ever had is unknown to Placement: nothing of it is free.
            if "Invalid resource class" in error.detail or "No such trait" in error.detail:
                return frozenset()
            raise

    def hold_back(self, node_id: str) -> None:
        """Nova believes what it wrote last for up to `[compute]resource_provider_association_refresh` (five minutes):
        a node that leaves maintenance before Nova has seen it there stays held back for so long."""
        path = f"resource_providers/{part(node_id)}/inventories"
        for left in reversed(range(TRIES)):
            try:
                found = self._rest.get(path, what="inventories")
            except NotFound:
                return
            inventories = {
                name: {**data, "reserved": data["total"]}
                for name, data in found.mapping("inventories").items()
                if isinstance(data, dict) and isinstance(data.get("total"), int)
            }
            if inventories == found.mapping("inventories"):
                return
            generation = found.integer("resource_provider_generation")
            try:
                # The generation that was read: if anything has changed since, Placement refuses and we look again.
                self._rest.call(
                    "PUT", path, body={"resource_provider_generation": generation, "inventories": inventories}
                )
                return
            except NotFound:
                return
            except Conflict:
                if not left:
                    raise

    def allocations(self, node_ids: Collection[str] | None = None) -> list[AllocationRecord]:
        """GET /resource_providers/{id}/allocations of each, a few at the same time.

        There is nothing better: GET /usages sums up a project and names no consumer, GET /allocations/{consumer}
        answers for one consumer that must be known already, and GET /allocation_candidates knows only what is left.
        So those that can still be allocated, told by one list for each resource class, are not asked about.
        """
        asked = self._taken() if node_ids is None else sorted(set(node_ids))
        with ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="allocations") as pool:
            return [record for records in pool.map(self._of_provider, asked) for record in records]

    def delete_allocation(self, consumer_id: str) -> None:
        self._rest.delete(f"allocations/{part(consumer_id)}")

    def traits(self) -> Mapping[str, frozenset[str]]:
        """GET /traits?associated=true, then GET /resource_providers?required=<trait> of each, a few at the same time:
        Placement lists the traits of one provider at a time, or the providers of one trait."""
        answer = self._rest.get("traits", params={"associated": "true"}, what="a list of traits")
        names = [name for name in answer.texts("traits") if not name.startswith(NOVAS)]
        found: dict[str, set[str]] = {node_id: set() for node_id in self._providers({})}
        with ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="traits") as pool:
            for name, having in zip(names, pool.map(self._having, names), strict=True):
                for node_id in having:
                    found.setdefault(node_id, set()).add(name)
        return {node_id: frozenset(traits) for node_id, traits in found.items()}

    def set_traits(self, node_id: str, traits: frozenset[str]) -> None:
        path = f"resource_providers/{part(node_id)}/traits"
        for name in sorted(traits):
            if name.startswith(CUSTOM):
                self._rest.call("PUT", f"traits/{part(name)}")  # it may be that no provider has had it yet
        for left in reversed(range(TRIES)):
            there = self._rest.get(path, what="traits")
            wanted = {name for name in there.texts("traits") if name.startswith(NOVAS)} | traits
            if wanted == set(there.texts("traits")):
                return
            body = {
                "resource_provider_generation": there.integer("resource_provider_generation"),
                "traits": sorted(wanted),
            }
            try:
                self._rest.call("PUT", path, body=body)
                return
            except Conflict:
                if not left:
                    raise

    def classes(self, node_ids: Collection[str]) -> Mapping[str, frozenset[str]]:
        asked = sorted(set(node_ids))
        with ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="inventories") as pool:
            return dict(zip(asked, pool.map(self._classes_of, asked), strict=True))

    def _classes_of(self, node_id: str) -> frozenset[str]:
        try:
            found = self._rest.get(f"resource_providers/{part(node_id)}/inventories", what="inventories")
        except NotFound:
            return frozenset()
        return frozenset(found.mapping("inventories"))

    def _having(self, trait: str) -> frozenset[str]:
        try:
            return self._providers({"required": trait})
        except Invalid as error:
            if "No such trait" in error.detail:  # it went away meanwhile
                return frozenset()
            raise

    def _taken(self) -> list[str]:
        """Providers of bare metal of which nothing is left."""
        classes = self._rest.get("resource_classes", what="a list of resource classes")
        names = (entry.text("name") for entry in classes.required_documents("resource_classes", "a resource class"))
        free: set[str] = set()
        for name in names:
            if name.startswith(PREFIX):
                free |= self._providers({"resources": f"{name}:1"})
        return sorted(self._providers({}) - free)

    def _providers(self, params: dict[str, str]) -> frozenset[str]:
        answer = self._rest.get("resource_providers", params=params, what="a list of resource providers")
        found = answer.required_documents("resource_providers", "a resource provider")
        return frozenset(provider.text("uuid") for provider in found)

    def _of_provider(self, node_id: str) -> list[AllocationRecord]:
        try:
            found = self._rest.get(f"resource_providers/{part(node_id)}/allocations", what="allocations")
        except NotFound:
            return []  # Placement does not know it, or it went away while we looked
        return [
            AllocationRecord(node_id, consumer, _amounts(found.document("allocations", "allocations"), consumer))
            for consumer in sorted(found.mapping("allocations"))
        ]


def _amounts(allocations: Document, consumer: str) -> dict[str, int]:
    resources = allocations.document(consumer, "an allocation").document("resources", "resources")
    return {name: resources.integer(name) for name in sorted(resources.data)}
