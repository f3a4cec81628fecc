"""What tests make through Steelyard's command line, and how it is removed again."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cloud_at_hand import EmbeddedCloud, Ran, until

Json = dict[str, Any]
IMAGE_BYTES = 4 << 20


def unique(what: str) -> str:
    """A name that nobody else uses."""
    return f"e2e-{what}-{secrets.token_hex(3)}"


@dataclass(frozen=True)
class Things:
    cloud: EmbeddedCloud
    directory: Path
    after: ExitStack
    who: str = "demo"
    """The entry of clouds.yaml whose things they are."""

    def file(self, content: bytes, name: str = "image.raw") -> tuple[Path, str]:
        """A file with that content, and its checksum."""
        path = self.directory / name
        path.write_bytes(content)
        return path, "sha256:" + hashlib.sha256(content).hexdigest()

    def image(self) -> Json:
        name = unique("image")
        path, checksum = self.file(os.urandom(IMAGE_BYTES), f"{name}.raw")
        made = self.cloud.steelyard(self.who, "image", "add", name, path, "--checksum", checksum, "-f", "json").json
        path.unlink()
        self.after.callback(self.cloud.steelyard, self.who, "image", "delete", made["id"])
        return dict(made)

    def flavor(self, *, free: int = 1) -> Json:
        """A flavor whose pool has so many free nodes."""
        pool = self.cloud.pool_with(free)
        made = self.cloud.steelyard("admin", "flavor", "create", unique("flavor"), "--pool", pool, "-f", "json").json
        self.after.callback(self.cloud.steelyard, "admin", "flavor", "delete", made["id"])
        return dict(made)

    def network(self, cidr: str = "10.91.0.0/24") -> Json:
        made = self.cloud.steelyard(
            self.who, "network", "create", unique("net"), "--subnet", cidr, "-f", "json"
        ).json  # fmt: skip
        self.after.callback(self.cloud.steelyard, self.who, "network", "delete", made["id"])
        return dict(made)

    def server(self, flavor: Json, image: Json, network: Json, *, wait: bool = True) -> Json:
        """A server on its way, or with `wait` an active one; released and cleaned up when the test is over."""
        asked = self.start(unique("server"), flavor, image, network, wait=wait)
        return dict(asked.json)

    def start(self, name: str, flavor: Json, image: Json, network: Json, *more: str, wait: bool) -> Ran:
        self.after.callback(self.release, name)
        return self.cloud.steelyard(
            self.who, "server", "create", name, "--flavor", flavor["id"], "--image", image["id"],
            "--network", network["id"], *more, *(["--wait"] if wait else []), "-f", "json",
        )  # fmt: skip

    def release(self, name: str) -> None:
        """Release a server if it is there, and wait until it is gone."""
        if self.cloud.steelyard(self.who, "server", "show", name).code == 4:
            return
        self.cloud.steelyard(self.who, "server", "delete", name, "--wait", within=300.0)
        until(f"{name} is gone", lambda: self.cloud.steelyard(self.who, "server", "show", name).code == 4)

    def node_of(self, server: Json) -> str:
        """The name of the node that a server is on, as the administrator sees it."""
        return str(self.cloud.get("admin", f"/v1/servers/{server['id']}")["server"]["node"])
