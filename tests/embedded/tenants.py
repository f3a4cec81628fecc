"""A second tenant and a reader, made in Keystone as an administrator does, and removed again."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .cloud_at_hand import EmbeddedCloud
from .things import unique

OTHER, READER = "e2e-other", "e2e-reader"
"""Their entries in the clouds.yaml that `TwoTenants` writes."""


@dataclass(frozen=True)
class TwoTenants(EmbeddedCloud):
    """The same cloud, whose clouds.yaml has two entries more: a member of another project, and a reader of `demo`."""

    more_clouds: Path

    @property
    def clouds_file(self) -> Path:
        return self.more_clouds


@contextmanager
def two_tenants(cloud: EmbeddedCloud, directory: Path) -> Iterator[TwoTenants]:
    keystone = cloud.connect("admin").identity
    roles = {role.name: role for role in keystone.roles()}
    demo = next(keystone.projects(name="demo"))
    project = keystone.create_project(name=unique("project"), domain_id=demo.domain_id)
    passwords = {entry: secrets.token_urlsafe(16) for entry in (OTHER, READER)}
    users = {
        entry: keystone.create_user(name=unique("user"), password=password, domain_id=demo.domain_id)
        for entry, password in passwords.items()
    }
    try:
        keystone.assign_project_role_to_user(project, users[OTHER], roles["member"])
        keystone.assign_project_role_to_user(demo, users[READER], roles["reader"])
        document = json.loads((cloud.home / "clouds.yaml").read_text())
        for entry, project_name in ((OTHER, project.name), (READER, "demo")):
            known = document["clouds"]["demo"]
            auth = {
                **known["auth"],
                "username": users[entry].name,
                "password": passwords[entry],
                "project_name": project_name,
            }
            document["clouds"][entry] = {**known, "auth": auth}
        path = directory / "clouds.yaml"
        path.touch(mode=0o600)
        path.write_text(json.dumps(document))
        yield TwoTenants(cloud.home, path)
    finally:
        for user in users.values():
            keystone.delete_user(user)
        keystone.delete_project(project)
