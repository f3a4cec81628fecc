"""Use cases of the image catalogue.

An upload is done while the caller waits, with the caller's own token. A fetch from a URL may take an hour, longer than
a token lives, so it is an operation (`work.py`) that stores the image with Steelyard's rights *for* the project that
asked; that the caller may write there is checked when it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import Forbidden
from steelyard.images import fetch as source
from steelyard.images.model import NewImage, check_source, new_image, parse_networks, parse_url, require_free_name
from steelyard.images.spool import Spool, SpoolFile
from steelyard.naming import pick, require_meant
from steelyard.nouns import Actor, Image, ImageSpec
from steelyard.operations.keys import REQUEST, Turns, digest, repeated, turn
from steelyard.operations.model import Operation, Operations
from steelyard.settings import Settings
from steelyard.store import Store

FETCH = "images.fetch"

OPERATION_PROPERTY = "steelyard_operation"
"""Property of a fetched image: the operation that made it, by which a repeated step finds its own work."""


@dataclass(frozen=True, slots=True)
class Fetching:
    """What a fetch operation needs to know, read back from its parameters."""

    operation_id: str
    image: NewImage
    project_id: str
    secret_id: str


class ImageService:
    """Images as tenants and administrators handle them."""

    def __init__(
        self,
        *,
        clouds: Clouds,
        operations: Operations,
        store: Store,
        settings: Settings,
        resolve: source.Resolve = source.resolve,
    ):
        self._clouds = clouds
        self._operations = operations
        self._store = store
        self._spool = Spool(settings.home / "steelyard" / "spool", max_bytes=settings.max_image_bytes)
        self._allowed = parse_networks(settings.image_sources)
        self._resolve = resolve
        self._turns = Turns(store.locks, scope="images")

    def all(self, actor: Actor, token: str) -> list[Image]:
        """What the caller may use: their own, shared with them, public."""
        return self._seen_by(actor, token).images.all()

    def get(self, actor: Actor, token: str, reference: str) -> Image:
        """By id or name."""
        return pick(
            "image",
            reference,
            self.all(actor, token),
            id=lambda image: image.id,
            name=lambda image: image.name,
            next="steelyard image list",
        )

    def delete(self, actor: Actor, token: str, reference: str) -> None:
        image = self.get(actor, token, reference)
        if image.project_id != actor.project_id and not actor.is_admin:
            raise Forbidden(
                f"The image {image.name} belongs to another project.", code="not_owner", next="steelyard image list"
            )
        theirs = actor.project_id is not None and image.project_id != actor.project_id
        require_meant("image", reference, image.id, theirs=theirs, next=f"steelyard image delete {image.id}")
        self._seen_by(actor, token).images.delete(image.id)

    def receive(self, actor: Actor, token: str, image: NewImage, size: int | None) -> SpoolFile:
        """Ready for the data of an upload, of `size` bytes if the caller tells: all that can be refused early is.

        Raises `Duplicate`, `TooLarge`, `Unavailable` (`no_space`).
        """
        cloud = self._seen_by(actor, token)
        require_free_name(image.name, self._owner(actor), cloud.images.all())
        return self._spool.open(image.checksum, size=size)

    def store(self, actor: Actor, token: str, image: NewImage, spooled: SpoolFile) -> Image:
        """Check what was received and hand it to the image service. Raises `Invalid` for data that is not as said."""
        data = spooled.verified(image.disk_format)
        cloud = self._seen_by(actor, token)
        require_free_name(image.name, self._owner(actor), cloud.images.all())
        return cloud.images.create(
            ImageSpec(
                name=image.name,
                disk_format=image.disk_format,
                checksum=str(image.checksum),
                size_bytes=spooled.size,
                visibility=image.visibility,
            ),
            data,
        )

    def start_fetch(
        self,
        actor: Actor,
        token: str,
        image: NewImage,
        url: str,
        *,
        key: str | None = None,
        request_id: str | None = None,
    ) -> Operation:
        """Begin to fetch an image. The URL's query may be a signature that gives access, so it is kept as a secret."""
        request = digest(actor, {"image": repr(image), "url": url})
        with self._turns.at(turn(actor, key)):
            if known := repeated(self._operations, actor, FETCH, key, request):
                return known[0]
            return self._start_fetch(actor, token, image, url, request, key, request_id)

    def _start_fetch(
        self,
        actor: Actor,
        token: str,
        image: NewImage,
        url: str,
        request: str,
        key: str | None,
        request_id: str | None,
    ) -> Operation:
        parsed = parse_url(url)
        check_source(parsed.hostname or "", self._resolve(parsed.hostname or "", parsed.port or 0), self._allowed)
        owner = self._owner(actor)
        require_free_name(image.name, owner, self._seen_by(actor, token).images.all())
        secret_id = self._store.secrets.put({"url": url})
        try:
            return self._operations.start(
                FETCH,
                {
                    "name": image.name,
                    "url": source.without_query(url),
                    "checksum": str(image.checksum),
                    "disk_format": image.disk_format.value,
                    "visibility": image.visibility,
                    "project_id": owner,
                    "secret_id": secret_id,
                    REQUEST: request,
                },
                actor,
                key=key,
                subject=f"image:{owner}:{image.name}",
                request_id=request_id,
            )
        except BaseException:
            self._store.secrets.delete(secret_id)
            raise

    # The steps of a fetch (see work.py)

    def fetching(self, operation_id: str, actor: Actor, params: dict[str, str]) -> Fetching:
        """The parameters of a fetch, read back and checked again."""
        return Fetching(
            operation_id=operation_id,
            image=new_image(actor, params["name"], params["checksum"], params["disk_format"], params["visibility"]),
            project_id=params["project_id"],
            secret_id=params["secret_id"],
        )

    def fetch_and_store(self, fetching: Fetching) -> Image:
        """Fetch, check and store. Done again, it finds what it did before, and clears away what it left half done."""
        existing = self._made_by(fetching.operation_id)
        for image in existing:
            if image.status == "active":
                return image
        self.discard(fetching.operation_id)
        images = self._clouds.own.images
        wanted = fetching.image
        require_free_name(wanted.name, fetching.project_id, images.all())
        url = self._store.secrets.get(fetching.secret_id)["url"]
        with self._spool.open(wanted.checksum, size=None) as spooled:
            source.fetch(
                url,
                spooled.write,
                announce=self._spool.require_space,
                allowed=self._allowed,
                limits=source.Limits(max_bytes=self._spool.max_bytes),
                resolve=self._resolve,
            )
            data = spooled.verified(wanted.disk_format)
            return images.create(
                ImageSpec(
                    name=wanted.name,
                    disk_format=wanted.disk_format,
                    checksum=str(wanted.checksum),
                    size_bytes=spooled.size,
                    visibility=wanted.visibility,
                    properties={OPERATION_PROPERTY: fetching.operation_id},
                    project_id=fetching.project_id,
                ),
                data,
            )

    def forget_source(self, secret_id: str) -> None:
        self._store.secrets.delete(secret_id)

    def discard(self, operation_id: str) -> None:
        """Remove what an interrupted fetch left in the image service."""
        for image in self._made_by(operation_id):
            self._clouds.own.images.delete(image.id)

    def _made_by(self, operation_id: str) -> Sequence[Image]:
        return [
            image for image in self._clouds.own.images.all() if image.properties.get(OPERATION_PROPERTY) == operation_id
        ]

    def _seen_by(self, actor: Actor, token: str) -> Cloud:
        """The caller's own view; a system-scoped administrator has no project, so Steelyard's serves."""
        if actor.project_id is None and actor.is_admin:
            return self._clouds.own
        return self._clouds.on_behalf_of(token)

    def _owner(self, actor: Actor) -> str:
        if actor.project_id is None:
            raise Forbidden(
                "A system-scoped token has no project that an image could belong to.",
                code="no_project",
                next="use a project-scoped entry of clouds.yaml (--os-cloud)",
            )
        return actor.project_id
