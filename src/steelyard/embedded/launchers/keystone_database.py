"""Keystone's database, keys and identities from nothing: `keystone_database.py keystone.conf identity_seed.json`.

db_sync, fernet_setup, credential_setup, bootstrap and every user, project, role, service and endpoint in one process
(one import of Keystone instead of a dozen; no HTTP). Doing it again changes nothing that is already as wanted;
passwords and endpoint addresses are set again if they differ.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

import serving

serving.quick_imports()


class Seeder:
    """Makes what the seed file names, through Keystone's own managers."""

    def __init__(self, providers: Any, exception: Any, hints: Any, domain: str):
        self.providers = providers
        self.exception = exception
        self.hints = hints
        self.domain = domain
        self.roles = {role["name"]: role["id"] for role in providers.role_api.list_roles()}

    def project(self, name: str) -> str:
        try:
            return str(self.providers.resource_api.get_project_by_name(name, self.domain)["id"])
        except self.exception.ProjectNotFound:
            project = {"id": uuid.uuid4().hex, "name": name, "domain_id": self.domain, "enabled": True}
            return str(self.providers.resource_api.create_project(project["id"], project)["id"])

    def user(self, name: str, password: str) -> str:
        identity = self.providers.identity_api
        try:
            user = identity.get_user_by_name(name, self.domain)
        except self.exception.UserNotFound:
            wanted = {"name": name, "domain_id": self.domain, "enabled": True, "password": password}
            return str(identity.create_user(wanted)["id"])
        try:
            identity.driver.authenticate(user["id"], password)
        except AssertionError:
            identity.update_user(user["id"], {"password": password})
        return str(user["id"])

    def grant(self, user: str, project: str, role: str) -> None:
        with contextlib.suppress(self.exception.Conflict):  # granted already
            self.providers.assignment_api.add_role_to_user_and_project(user, project, self.roles[role])

    def grant_on_system(self, user: str, role: str) -> None:
        assignments = self.providers.assignment_api
        if self.roles[role] not in {one["id"] for one in assignments.list_system_grants_for_user(user)}:
            assignments.create_system_grant_for_user(user, self.roles[role])

    def endpoints(self, type_: str, name: str, url: str, region: str) -> None:
        catalog = self.providers.catalog_api
        matching = self.hints()
        matching.add_filter("type", type_)
        services = catalog.list_services(matching)
        if services:
            service = services[0]["id"]
        else:
            service = uuid.uuid4().hex
            catalog.create_service(service, {"id": service, "name": name, "type": type_, "enabled": True})
        matching = self.hints()
        matching.add_filter("service_id", service)
        present = {one["interface"]: one for one in catalog.list_endpoints(matching)}
        for interface in ("public", "internal", "admin"):
            if interface not in present:
                endpoint = uuid.uuid4().hex
                wanted = {"id": endpoint, "interface": interface, "url": url, "service_id": service,
                          "region_id": region, "enabled": True}  # fmt: skip
                catalog.create_endpoint(endpoint, wanted)
            elif present[interface]["url"] != url:
                catalog.update_endpoint(present[interface]["id"], {"url": url})


def make_keys(conf: Any, fernet_utils: Any) -> None:
    """The keys of tokens, receipts and credentials, unless they exist."""
    for section, active in (
        ("fernet_tokens", conf.fernet_tokens.max_active_keys),
        ("fernet_receipts", conf.fernet_receipts.max_active_keys),
        ("credential", 3),
    ):
        repository = Path(getattr(conf, section).key_repository)
        repository.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (repository / "1").exists():
            keys = fernet_utils.FernetUtils(str(repository), active, section)
            keys.create_key_directory(os.getuid(), os.getgid())
            keys.initialize_key_repository(os.getuid(), os.getgid())


def main() -> None:
    configuration, seed_file = sys.argv[1:3]
    import keystone.conf
    import sqlite_tuning  # noqa: F401
    from keystone import exception
    from keystone.cmd.bootstrap import Bootstrapper
    from keystone.common import driver_hints, fernet_utils, provider_api, sql
    from keystone.common.sql import upgrades

    conf = keystone.conf.CONF
    keystone.conf.configure()
    conf([], project="keystone", default_config_files=[configuration])
    sql.initialize()
    upgrades.offline_sync_database_to_version()
    make_keys(conf, fernet_utils)

    seed = json.loads(Path(seed_file).read_text())
    first = Bootstrapper()
    first.project_name, first.admin_username, first.admin_role_name = "admin", "admin", "admin"
    first.admin_password = seed["admin_password"]
    first.service_name, first.region_id = "keystone", seed["region"]
    first.admin_url = first.internal_url = first.public_url = seed["identity_url"]
    first.immutable_roles = True
    first.bootstrap()

    seeder = Seeder(provider_api.ProviderAPIs, exception, driver_hints.Hints, conf.identity.default_domain_id)
    projects = {name: seeder.project(name) for name in seed["projects"]}
    for user in seed["users"]:
        id_ = seeder.user(user["name"], user["password"])
        for role in user["roles"]:
            seeder.grant(id_, projects[user["project"]], role)
        if user["name"] in seed["system_administrators"]:
            seeder.grant_on_system(id_, "admin")
    for service in seed["services"]:
        seeder.endpoints(service["type"], service["name"], service["url"], seed["region"])
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
