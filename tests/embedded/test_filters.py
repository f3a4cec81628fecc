"""Security groups at servers' NICs: switches that filter by them, and switches that do not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from .cloud_at_hand import EmbeddedCloud, until
from .local_cloud import LocalCloud
from .things import Things, unique
from .wiring import agrees, group

pytestmark = pytest.mark.embedded

Json = dict[str, Any]


def filters_at(cloud: EmbeddedCloud, node: str) -> list[str]:
    cable = cloud.rack.servers[node]["nics"][0]
    return list(cloud.rack.switch_ports()[f"{cable['switch']}/{cable['port']}"]["filters"])


def port_of(cloud: EmbeddedCloud, server: Json) -> str:
    [nic] = cloud.get("demo", f"/v1/servers/{server['id']}/nics")["nics"]
    return str(nic["port_id"])


def test_the_switch_follows_a_servers_groups_from_deployment_to_release(cloud: EmbeddedCloud, things: Things) -> None:
    demo = cloud.connect("demo").network
    web, private = (group(cloud, things) for _ in range(2))
    server = things.server(things.flavor(), things.image(), things.network())
    node, name = things.node_of(server), server["name"]
    [default] = demo.get_port(port_of(cloud, server)).security_group_ids
    assert filters_at(cloud, node) == [default]
    demo.update_port(port_of(cloud, server), security_groups=[web])
    until("the switch has the other group", lambda: filters_at(cloud, node) == [web], seconds=30.0)
    cable = cloud.rack.servers[node]["nics"][0]
    rule = demo.create_security_group_rule(security_group_id=web, direction="ingress", protocol="icmp")

    def has_icmp() -> bool:
        return any(each.get("protocol") == "icmp" for each in cloud.rack.filters(cable["switch"])[web])

    until("the new rule is on the switch", has_icmp, seconds=30.0)
    demo.delete_security_group_rule(rule.id)
    until("it is off again", lambda: not has_icmp(), seconds=30.0)
    agrees(cloud, node)
    cloud.rack.set_port(cable["switch"], cable["port"], filters=[])
    found = cloud.get("admin", f"/v1/nodes/{node}/isolation")["isolation"]
    assert not found["agrees"]
    assert f"without the filter of security group {web}" in str(found["nics"])
    cloud.rack.set_port(cable["switch"], cable["port"], filters=[web])
    agrees(cloud, node)
    cloud.steelyard("demo", "server", "power", name, "off", "--wait").ok()
    until("it is in quarantine", partial(_quarantined, cloud, node), seconds=60.0)
    assert filters_at(cloud, node) == []
    demo.update_port(port_of(cloud, server), security_groups=[private])
    cloud.steelyard("demo", "server", "power", name, "on", "--wait").ok()
    assert filters_at(cloud, node) == [private], "as it is when it gets power"
    agrees(cloud, node)
    things.release(name)
    assert filters_at(cloud, node) == []


def _quarantined(cloud: EmbeddedCloud, node: str) -> bool:
    found = cloud.get("admin", f"/v1/nodes/{node}/isolation")["isolation"]
    return bool(found["agrees"] and found["nics"][0]["role"] == "quarantine")


def test_a_group_that_no_switch_enforces_is_refused_and_one_of_a_stock_client_is_found(
    new_cloud: Callable[[], LocalCloud], after: ExitStack, tmp_path: Path
) -> None:
    cloud = new_cloud()
    cloud.up("--nodes", "1", "--no-filters")
    cloud.onboard_everything()
    with after:
        things = Things(cloud, tmp_path, after)
        web = group(cloud, things)
        flavor, image, blue = things.flavor(), things.image(), things.network()
        refused = cloud.steelyard(
            "demo", "server", "create", unique("server"), "--flavor", flavor["id"], "--image", image["id"],
            "--network", blue["id"], "--security-group", web,
        )  # fmt: skip
        assert refused.code == 5, str(refused)
        assert "would not be enforced" in str(refused)
        server = things.server(flavor, image, blue)
        assert filters_at(cloud, things.node_of(server)) == []
        agrees(cloud, things.node_of(server))
        cloud.connect("demo").network.update_port(port_of(cloud, server), security_groups=[web])
        cloud.steelyard("admin", "reconciler", "run", "networks.security_groups").ok()

        def told() -> bool:
            found = cloud.steelyard("admin", "attention", "-f", "json").json
            return any(each["kind"] == "network.security_group_not_enforced" for each in found)

        until("the finding is there", told, seconds=90.0)
