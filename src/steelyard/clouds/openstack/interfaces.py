"""Nova's attachments of an instance (Compute API v2.1, microversion 2.61)."""

from __future__ import annotations

from typing import Any

from steelyard.clouds.openstack.compute import MICROVERSION
from steelyard.clouds.openstack.session import COMPUTE, Access, Rest, part
from steelyard.errors import Conflict, UpstreamError

FAILED = "Failed to attach network adapter"
"""What Nova says (with status 500) when the hypervisor, here Ironic, could not attach."""


class OpenstackInterfaces:
    """What `openstack server add network` does."""

    def __init__(self, access: Access):
        self._rest = Rest(access, COMPUTE, microversion=MICROVERSION)

    def attach(self, instance_id: str, *, network_id: str, address: str | None = None) -> str:
        wanted: dict[str, Any] = {"net_id": network_id}
        if address is not None:
            wanted["fixed_ips"] = [{"ip_address": address}]
        return self._attach(instance_id, wanted)

    def attach_port(self, instance_id: str, port_id: str) -> None:
        self._attach(instance_id, {"port_id": port_id})

    def _attach(self, instance_id: str, wanted: dict[str, Any]) -> str:
        path = f"servers/{part(instance_id)}/os-interface"
        try:
            answer = self._rest.post(path, {"interfaceAttachment": wanted}, what="an attachment")
        except UpstreamError as error:
            if FAILED not in error.detail:
                raise
            raise Conflict(error.detail, code="attach_failed", internal=error.internal) from None
        return answer.document("interfaceAttachment", "an attachment").text("port_id")

    def detach(self, instance_id: str, port_id: str) -> None:
        self._rest.delete(f"servers/{part(instance_id)}/os-interface/{part(port_id)}")
