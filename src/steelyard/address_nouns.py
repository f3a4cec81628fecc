"""The values of addresses that are kept by hand; as `nouns`, in a module of their own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HoldSpec:
    """An address to keep for somebody who is no server (yet): a port that is bound to nothing."""

    network_id: str
    subnet_id: str
    device_owner: str
    """`steelyard:…`; says what it is kept for, and keeps it apart from ports that wait for a server."""
    name: str
    """What people say it is for; the port's name."""
    mac: str
    """What makes asking twice one port: a network takes a MAC once."""
    address: str | None = None
    """None: the controller picks the next free one of the subnet's pools."""
    project_id: str | None = None
    """The owner, where it is not the one who asks; takes an administrator's rights."""
