"""A cloud with a Contrail controller: a service beside the others, with Keystone's tokens and the rack's leaves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from .cloud_at_hand import until
from .local_cloud import LocalCloud, wait_until

pytestmark = pytest.mark.embedded

ROOT = "default-global-system-config"
VMI = "virtual-machine-interface"
BINDINGS = "virtual_machine_interface_bindings"
CONTRACT = Path(__file__).parents[1] / "contract"


def test_a_cloud_with_a_controller(new_cloud: Callable[[], LocalCloud]) -> None:
    cloud = new_cloud()
    assert "The Contrail controller's config API" in cloud.up("--nodes", "2", "--network", "contrail").out
    assert cloud.services()["contrail"]["state"] == "up"
    assert cloud.command("up", "--network", "neutron").code != 0  # fixed when the home was made

    endpoint = cloud.connect("admin").session.get_endpoint(service_type="sdn-l-config", interface="public")
    assert endpoint == f"http://127.0.0.1:{cloud.record['ports']['contrail']}"
    assert cloud.listening()["contrail"] == {"127.0.0.1"}

    check_who_sees_what(cloud, endpoint)
    check_that_the_switch_follows_also_after_a_kill(cloud, endpoint)
    check_the_contract(cloud, endpoint)
    check_that_no_secret_is_told(cloud)

    # What was there right after the first start is there again after a reset, and no more.
    cloud.down()
    cloud.command("reset", "--yes").ok()
    assert "from the template" in cloud.up().out
    with controller(cloud, "admin", endpoint) as api:
        names = [each["fq_name"][-1] for each in api.get("/virtual-networks").json()["virtual-networks"]]
        assert "test-of-the-switch" not in names
        assert api.get("/physical-interfaces?count=true").json() == {"physical-interfaces": {"count": 4}}
    cloud.down()
    assert cloud.processes() == []


@contextlib.contextmanager
def controller(cloud: LocalCloud, who: str, endpoint: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=endpoint, headers={"X-Auth-Token": cloud.token(who)}, timeout=60.0) as client:
        yield client


def create(api: httpx.Client, type: str, fq_name: list[str], **properties: object) -> str:
    answer = api.post(f"/{type}s", json={type: {"fq_name": fq_name, **properties}})
    assert answer.status_code == 200, answer.text
    return str(answer.json()[type]["uuid"])


def check_who_sees_what(cloud: LocalCloud, endpoint: str) -> None:
    """Keystone's projects are there with Keystone's ids; a tenant does not see the administrator's network."""
    assert httpx.get(f"{endpoint}/virtual-networks").status_code == 401
    assert httpx.get(f"{endpoint}/virtual-networks", headers={"X-Auth-Token": "nonsense"}).status_code == 401
    with controller(cloud, "admin", endpoint) as admin, controller(cloud, "demo", endpoint) as tenant:
        network = create(admin, "virtual-network", ["default-domain", "admin", "private"], parent_type="project")
        assert tenant.get(f"/virtual-network/{network}").status_code == 403
        demo = tenant.post("/fqname-to-id", json={"type": "project", "fq_name": ["default-domain", "demo"]}).json()
        assert demo["uuid"].replace("-", "") == cloud.connect("demo").current_project_id
        create(tenant, "virtual-network", ["default-domain", "demo", "mine"], parent_type="project")
        leaves = admin.get("/physical-routers").json()["physical-routers"]
        assert {leaf["fq_name"][-1] for leaf in leaves} == {"leaf1", "leaf2"}


def check_that_the_switch_follows_also_after_a_kill(cloud: LocalCloud, endpoint: str) -> None:
    with controller(cloud, "admin", endpoint) as api:
        name = ["default-domain", "admin", "test-of-the-switch"]
        provider = {"segmentation_id": 3999, "physical_network": "physnet1"}
        create(api, "virtual-network", name, parent_type="project", provider_properties=provider)
        link = {"switch_info": "leaf1", "port_id": "Ethernet2"}
        pairs = [
            {"key": "vnic_type", "value": "baremetal"},
            {"key": "profile", "value": json.dumps({"local_link_information": [link]})},
        ]
        interface = create(
            api, VMI, ["default-domain", "admin", "bm-002"], parent_type="project",
            virtual_network_refs=[{"to": name}], **{BINDINGS: {"key_value_pair": pairs}},
        )  # fmt: skip
        until("the network on the port", lambda: cloud.rack.vlan_of("bm-002") == 3999)

        os.kill(cloud.services()["contrail"]["pid"], signal.SIGKILL)
        wait_until(lambda: cloud.services()["contrail"]["restarts"] == 1)
        wait_until(lambda: cloud.services()["contrail"]["state"] == "up")
        assert api.get(f"/{VMI}/{interface}").json()[VMI]["virtual_port_group_back_refs"]
        assert api.delete(f"/{VMI}/{interface}").status_code == 200
        until("nothing on the port", lambda: cloud.rack.vlan_of("bm-002") is None)


def check_the_contract(cloud: LocalCloud, endpoint: str) -> None:
    """The suite as an operator runs it on a real controller, with Keystone's tokens; it leaves nothing behind."""

    def everything() -> set[str]:
        with controller(cloud, "admin", endpoint) as api:
            types = ("project", "virtual-network", "physical-router", VMI, "instance-ip", "virtual-port-group")
            return {each["uuid"] for type in types for each in api.get(f"/{type}s").json()[f"{type}s"]}

    before = everything()
    suites = [CONTRACT / "test_contrail_contract.py", CONTRACT / "test_contrail_traps.py"]
    options = ["--contrail-url", endpoint, "--contrail-cloud", "admin", "--contrail-tenant-cloud", "demo"]
    ran = cloud.run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *suites, *options, within=300.0)
    passed = re.search(r"(\d+) passed, 1 skipped", ran.ok().out)  # a job is not started on what may be a real fabric
    assert passed is not None, ran
    assert int(passed.group(1)) >= 90
    assert everything() == before


def check_that_no_secret_is_told(cloud: LocalCloud) -> None:
    text = (cloud.home / "log" / "contrail.log").read_text()
    arguments = Path(f"/proc/{cloud.services()['contrail']['pid']}/cmdline").read_text()
    environment = Path(f"/proc/{cloud.services()['contrail']['pid']}/environ").read_text()
    secrets = {name: value for name, value in cloud.secrets().items() if len(value) >= 8}
    for name, secret in secrets.items():
        assert secret not in text + arguments + environment, name
