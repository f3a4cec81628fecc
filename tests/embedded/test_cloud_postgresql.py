"""The same cloud on PostgreSQL: out of the same generator, on a real server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from . import servers
from .local_cloud import LocalCloud

pytestmark = pytest.mark.embedded


def test_all_services_run_on_postgresql(new_cloud: Callable[[], LocalCloud]) -> None:
    try:
        with servers.postgresql() as url:
            cloud = new_cloud()
            cloud.up("--nodes", "2", "--database", url)
            assert cloud.status()["phase"] == "up"
            assert not list((cloud.home / "db").glob("*.sqlite"))
            names = {network["Name"] for network in cloud.listed("admin", "network", "list")}
            assert {"provisioning", "cleaning", "inspection", "rescue", "quarantine"} <= names
            assert cloud.listed("admin", "image", "list") == []
            assert cloud.listed("system", "baremetal", "node", "list") == []
            compute = cloud.listed("admin", "compute", "service", "list")
            assert {service["State"] for service in compute} == {"up"}
            password = url.split(":")[2].split("@")[0]
            assert password not in (cloud.home / "home.json").read_text()
            assert password not in cloud.command("status").out

            # A second start finds everything made; reset drops the databases, and a start makes them again.
            cloud.down()
            again = cloud.up()
            assert "database" not in again.out.split("The cloud is up")[0]
            cloud.down()
            cloud.command("reset", "--yes").ok()
            assert "Nova: databases and cells" in cloud.up().out
            cloud.down()
    except servers.Missing as missing:
        pytest.skip(str(missing))
