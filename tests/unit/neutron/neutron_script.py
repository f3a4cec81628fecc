"""Run by the tests under the OpenStack environment's Python: a Neutron with ML2 and our two drivers, without its API.

    neutron_script.py DIRECTORY CONTROLLER_URL

Its database is an SQLite file in DIRECTORY; a second process finds what the first one left. Reads lines of JSON,
`[method, arguments]`, and answers each with a line: `{"value": ...}` or `{"error": CLASS, "text": ...}`. The token for
the controller is in the environment. Methods are those of the core plugin, and of `Extra`.
"""

import json
import os
import pathlib
import sys
import time

DIRECTORY, URL = pathlib.Path(sys.argv[1]), sys.argv[2]
CONF = f"""
[DEFAULT]
core_plugin = ml2
service_plugins = trunk
ipam_driver = steelyard_contrail
state_path = {DIRECTORY}
transport_url = fake://
dhcp_agent_notification = false
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
rpc_workers = 0
use_stderr = true
[oslo_concurrency]
lock_path = {DIRECTORY}
[database]
connection = sqlite:///{DIRECTORY}/neutron.sqlite
[ml2]
type_drivers = vlan
tenant_network_types = vlan
mechanism_drivers = steelyard_contrail
extension_drivers = port_security
[ml2_type_vlan]
network_vlan_ranges = physnet1:100:999
[contrail]
auth_type = admin_token
endpoint = {URL}
token = {os.environ.pop("CONTRAIL_TOKEN")}
endpoint_override = {URL}
timeout = 2
sync_interval = 0
"""

(DIRECTORY / "neutron.conf").write_text(CONF)

from boot_script import boot  # noqa: E402

boot(DIRECTORY)

from neutron_lib import constants  # noqa: E402
from neutron_lib import context as neutron_context  # noqa: E402
from neutron_lib.db import api as db_api  # noqa: E402
from neutron_lib.plugins import directory  # noqa: E402

from neutron import manager  # noqa: E402
from neutron.objects import ports as ports_objects  # noqa: E402

manager.init()
plugin = directory.get_plugin()

from neutron.objects import securitygroup_default_rules as default_rules  # noqa: E402

# As Neutron's migrations make them: everything may go out, and members of the default group may come in.
admin = neutron_context.get_admin_context()
with db_api.CONTEXT_WRITER.using(admin):
    if not default_rules.SecurityGroupDefaultRule.count(admin):
        for ethertype in ("IPv4", "IPv6"):
            for direction, remote, elsewhere in (("ingress", "PARENT", False), ("egress", None, True)):
                default_rules.SecurityGroupDefaultRule(
                    admin, direction=direction, ethertype=ethertype, remote_group_id=remote, used_in_default_sg=True,
                    used_in_non_default_sg=elsewhere,
                ).create()  # fmt: skip
trunks = directory.get_plugin("trunk")
PROJECT = "7c9e667074254de1b8d1f0a9c0b1c2d3"

from steelyard_neutron.contrail import parts as contrail_parts  # noqa: E402
from steelyard_neutron.contrail.comparing import Comparison  # noqa: E402

UNSET = constants.ATTR_NOT_SPECIFIED
NETWORK = {
    "admin_state_up": True,
    "shared": False,
    "router:external": False,
    "name": "",
    "project_id": PROJECT,
    "tenant_id": PROJECT,
}
NETWORK |= {f"provider:{key}": UNSET for key in ("network_type", "physical_network", "segmentation_id")}
SUBNET = {
    "name": "", "ip_version": 4, "gateway_ip": UNSET, "allocation_pools": UNSET, "enable_dhcp": True,
    "dns_nameservers": UNSET, "host_routes": UNSET, "ipv6_ra_mode": UNSET, "ipv6_address_mode": UNSET,
    "subnetpool_id": None, "prefixlen": UNSET, "project_id": PROJECT, "tenant_id": PROJECT, "segment_id": UNSET,
    "service_types": [], "dns_publish_fixed_ip": False,
}  # fmt: skip
PORT = {
    "name": "", "admin_state_up": True, "mac_address": UNSET, "fixed_ips": UNSET, "device_id": "", "device_owner": "",
    "project_id": PROJECT, "tenant_id": PROJECT, "security_groups": [], "port_security_enabled": False,
    "binding:vnic_type": "baremetal", "binding:host_id": UNSET, "binding:profile": UNSET, "description": "",
}  # fmt: skip


class Extra:
    """Methods that the core plugin has not."""

    def __init__(self):
        self.comparison = Comparison(contrail_parts.parts(), removed_after=0.0)

    def network(self, context, **given):
        return plugin.create_network(context, {"network": {**NETWORK, **given}})

    def subnet(self, context, **given):
        return plugin.create_subnet(context, {"subnet": {**SUBNET, **given}})

    def port(self, context, **given):
        return plugin.create_port(context, {"port": {**PORT, **given}})

    def server_port(self, context, **given):
        """A server's, as Nova makes it: with port security, and the project's default group unless others are named."""
        secured = {"port_security_enabled": True, "security_groups": UNSET, "device_owner": "compute:nova"}
        return self.port(context, **{**secured, **given})

    def group(self, context, name):
        """A security group, with the two rules that Neutron gives it."""
        body = {"name": name, "description": "", "project_id": PROJECT, "tenant_id": PROJECT, "stateful": True}
        return plugin.create_security_group(context, {"security_group": body})

    def rule(self, context, **given):
        unset = dict.fromkeys(("protocol", "port_range_min", "port_range_max", "remote_ip_prefix", "remote_group_id"))
        body = {**unset, "remote_address_group_id": None, "description": "", "direction": "ingress",
                "ethertype": "IPv4", "project_id": PROJECT, "tenant_id": PROJECT, **given}  # fmt: skip
        return plugin.create_security_group_rule(context, {"security_group_rule": body})

    def address_group(self, context, *, addresses):
        body = {"name": "those", "description": "", "project_id": PROJECT, "addresses": addresses}
        return plugin.create_address_group(context, {"address_group": body})

    def ports(self, context, amount, **given):
        return plugin.create_port_bulk(context, {"ports": [{"port": {**PORT, **given}} for _ in range(amount)]})

    def trunk(self, context, port_id, subports=()):
        """A trunk on a port, with `[port, tag]` pairs."""
        subs = [{"port_id": port, "segmentation_type": "vlan", "segmentation_id": tag} for port, tag in subports]
        body = {"port_id": port_id, "sub_ports": subs, "name": "", "description": "", "admin_state_up": True}
        return trunks.create_trunk(context, {"trunk": {**body, "project_id": PROJECT, "tenant_id": PROJECT}})

    def add_subport(self, context, trunk_id, port_id, tag):
        sub = {"port_id": port_id, "segmentation_type": "vlan", "segmentation_id": tag}
        return trunks.add_subports(context, trunk_id, {"sub_ports": [sub]})

    def remove_subport(self, context, trunk_id, port_id):
        return trunks.remove_subports(context, trunk_id, {"sub_ports": [{"port_id": port_id}]})

    def delete_trunk(self, context, trunk_id):
        trunks.delete_trunk(context, trunk_id)

    def trunks(self, context):
        return trunks.get_trunks(context)

    def port_that_fails(self, context, **given):
        """A port that is rolled back after its address was allocated."""
        before = plugin.mechanism_manager.create_port_precommit

        def fail(_):
            raise RuntimeError("the transaction fails")

        plugin.mechanism_manager.create_port_precommit = fail
        try:
            return self.port(context, **given)
        finally:
            plugin.mechanism_manager.create_port_precommit = before

    def subnet_that_fails(self, context, **given):
        """A subnet that is rolled back after the controller has it."""
        before = plugin.mechanism_manager.create_subnet_precommit

        def fail(_):
            raise RuntimeError("the transaction fails")

        plugin.mechanism_manager.create_subnet_precommit = fail
        try:
            return self.subnet(context, **given)
        finally:
            plugin.mechanism_manager.create_subnet_precommit = before

    def delete_that_fails(self, context, id):
        """A removal that is rolled back after its address was given back."""
        with db_api.CONTEXT_WRITER.using(context):
            for subnet in plugin.get_port(context, id)["fixed_ips"]:
                plugin.ipam.deallocate_ips_from_port(context, {"port": plugin.get_port(context, id)}, [subnet])
            raise RuntimeError("the transaction fails")

    def die_in_allocation(self, context, **given):
        """SIGKILL between the allocation at the controller and the commit."""

        def die(_):
            os.kill(os.getpid(), 9)

        plugin.mechanism_manager.create_port_precommit = die
        return self.port(context, **given)

    def forget_binding(self, context, id):
        """The binding goes from Neutron's database alone, as after a crash in the middle of an unbind."""
        with db_api.CONTEXT_WRITER.using(context):
            [binding] = ports_objects.PortBinding.get_objects(context, port_id=id)
            port_id, host = binding.port_id, binding.host
            ports_objects.PortBinding.update_objects(
                context, {"vif_type": "unbound", "profile": {}}, port_id=port_id, host=host
            )

    def bind_without_segment(self, context, id, link):
        """Whether the driver binds a port of a network of another kind than VLAN."""
        port = plugin.get_port(context, id)
        told = [{"switch_info": link[0], "port_id": link[1]}]
        port |= {"binding:profile": {"local_link_information": told}, "binding:host_id": "node-1"}

        class Flat:
            current = port
            plugin_context = context
            segments_to_bind = ({"id": "x", "network_type": "flat", "segmentation_id": None},)
            bound = False

            def set_binding(self, *_, **__):
                self.bound = True

        flat = Flat()
        plugin.mechanism_manager.mech_drivers["steelyard_contrail"].obj.bind_port(flat)
        return flat.bound

    def compare(self, context):
        outcome = self.comparison.round(context)
        return vars(outcome)

    def many(self, context, amount, threads, **given):
        """Ports made by several threads at once; gives their addresses."""
        from concurrent.futures import ThreadPoolExecutor

        def one(_):
            made = self.port(neutron_context.get_admin_context(), **given)
            return [fixed["ip_address"] for fixed in made["fixed_ips"]]

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(one, range(amount)))

    def wait(self, context, seconds):
        time.sleep(seconds)


extra = Extra()


def answer(method, arguments):
    context = neutron_context.get_admin_context()
    try:
        value = getattr(extra, method, None) or getattr(plugin, method)
        return {"value": json.loads(json.dumps(value(context, **arguments), default=str))}
    except Exception as error:
        return {"error": type(error).__name__, "text": str(error)}


print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps(answer(*json.loads(line))), flush=True)
