"""Who sees and changes what: `perms2` of every object (owner, shares, everybody), and the cloud's administrators.

As with the real controller's `aaa_mode = rbac`: an administrator may do everything; others what perms2 says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from steelyard.embedded.contrail.answers import ApiError
from steelyard.embedded.contrail.database import Thing

LINK, WRITE, READ = 1, 2, 4
ALL = READ | WRITE | LINK


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks."""

    user: str
    project_id: str
    """As Keystone writes it, without hyphens."""
    project_name: str
    roles: frozenset[str]

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles


INTERNAL = Identity("contrail-api", "", "", frozenset({"admin"}))
"""The controller itself."""


def default_perms2(owner: str) -> dict[str, Any]:
    """Of an object made by somebody of that project."""
    return {"owner": owner or "cloud-admin", "owner_access": ALL, "global_access": 0, "share": []}


def allowed(who: Identity, thing: Thing, access: int) -> bool:
    """Whether all of the bits of `access` are granted."""
    if who.is_admin:
        return True
    perms = thing.properties.get("perms2") or {}
    granted = int(perms.get("global_access") or 0)
    mine = who.project_id.replace("-", "")
    if str(perms.get("owner", "")).replace("-", "") == mine:
        granted |= int(perms.get("owner_access") or 0)
    for share in perms.get("share") or []:
        tenant = str(share.get("tenant", "")).rpartition(":")[2].replace("-", "")
        if tenant == mine:
            granted |= int(share.get("tenant_access") or 0)
    return granted & access == access


def demand(who: Identity, thing: Thing, access: int) -> None:
    """Raises ApiError 403."""
    if not allowed(who, thing, access):
        raise ApiError(403, f"Permission Denied: {thing.type} {thing.uuid}")
