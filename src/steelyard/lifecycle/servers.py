"""A tenant's server as it is shown, and what all use cases on servers share."""

from __future__ import annotations

from dataclasses import dataclass, field

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import Refused
from steelyard.lifecycle.model import Phase
from steelyard.naming import pick, shown
from steelyard.nouns import Actor, Image, Instance, Node
from steelyard.store import Store


@dataclass(frozen=True, slots=True)
class Server:
    """A tenant's server as it is shown."""

    instance: Instance
    phase: Phase
    image_name: str | None
    node_name: str | None
    """Administrators only."""
    node: Node | None = field(default=None, repr=False)
    """For the rules; never shown to tenants."""


def cloud_of(clouds: Clouds, actor: Actor, token: str, instance: Instance) -> Cloud:
    """The caller's own view, unless an administrator acts on another project's server."""
    if actor.is_admin and instance.project_id != actor.project_id:
        return clouds.own
    return clouds.on_behalf_of(token)


def asked(
    store: Store, instance: Instance, what: str, actor: Actor, reason: str | None, request_id: str | None
) -> None:
    """Record that somebody asks for what destroys the disk's content (`what`: release, rebuild).

    Before Nova is asked: whatever happens between here and the operation, it is known who asked for it.
    """
    store.events.append(
        f"server:{instance.id}", f"server.{what}_asked", actor=actor.user_name, reason=reason,
        detail=f"the {what} of server {instance.name} was asked for", request_id=request_id,
        project_id=instance.project_id,
    )  # fmt: skip


def find_image(cloud: Cloud, reference: str) -> Image:
    """An active image by id or name. Raises `NotFound`, `Conflict` (ambiguous), `Refused` (`image_not_active`)."""
    image = pick(
        "image", reference, cloud.images.all(), id=lambda i: i.id, name=lambda i: i.name, next="steelyard image list"
    )
    if image.status != "active":
        raise Refused(
            f"Image {shown(image.name)} is {image.status}; only an active one can be deployed.",
            code="image_not_active",
            next=f"steelyard image show {image.id}",
        )
    return image
