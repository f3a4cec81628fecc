"""The same cloud with a broker: Nova and Neutron speak through a real RabbitMQ."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from . import servers
from .local_cloud import LocalCloud

pytestmark = pytest.mark.embedded


def test_nova_speaks_through_rabbitmq(new_cloud: Callable[[], LocalCloud]) -> None:
    try:
        with servers.rabbitmq() as url:
            cloud = new_cloud()
            cloud.up("--nodes", "2", "--rpc", url)
            compute = cloud.listed("admin", "compute", "service", "list")
            assert {service["Binary"] for service in compute} == {"nova-conductor", "nova-scheduler", "nova-compute"}
            assert {service["State"] for service in compute} == {"up"}
            for arguments in (("image", "list"), ("network", "list"), ("server", "list"), ("hypervisor", "list")):
                cloud.listed("admin", *arguments)
            assert cloud.listed("system", "baremetal", "node", "list") == []

            # The cell finds the broker by a template, so no password of it is in Nova's API database.
            password = url.split(":")[2].split("@")[0]
            connection = sqlite3.connect(cloud.home / "db" / "nova_api.sqlite")
            cells = connection.execute("SELECT name, transport_url FROM cell_mappings ORDER BY name").fetchall()
            connection.close()
            assert cells == [
                ("cell0", "none:///"),
                ("cell1", "{scheme}://{username}:{password}@{hostname}:{port}/{path}"),
            ]
            assert not any(
                password in path.read_text(errors="replace") for path in (cloud.home / "db").glob("*.sqlite")
            )
            cloud.down()
    except servers.Missing as missing:
        pytest.skip(str(missing))
