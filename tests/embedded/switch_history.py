"""The history of an embedded cloud's switches, and which VLANs of it are what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..switch_history import TENANT_VLANS, SwitchHistory, Tenancy
from .rack_at_hand import Rack

QUARANTINE_VLAN = 2004


def history(rack: Rack, since: int, tenancies: Iterable[Tenancy] = ()) -> SwitchHistory:
    """All changes after this one."""
    return SwitchHistory.of_rack(rack.switch_log(after=since), rack.servers, tenancies=tenancies)


def segments(record: dict[str, Any]) -> range:
    """The VLANs of which each node in transition has one to itself, by the home's record."""
    first = int(record["first_segment_vlan"])
    return range(first, first + int(record["segments"]))


def shared(record: dict[str, Any]) -> set[int]:
    """VLANs that several ramdisks, or servers in quarantine, would share; but for the one on which every switch port is
    that was never configured."""
    return {vlan for role, vlan in record["ramdisk_vlans"].items() if role != "inspection"} | {QUARANTINE_VLAN}


def met(history: SwitchHistory, record: dict[str, Any]) -> list[str]:
    """Moments at which two servers were in one segment, other than a tenant's network and that first VLAN."""
    return history.meetings(owner_of={}, shared={*TENANT_VLANS, record["ramdisk_vlans"]["inspection"]})
