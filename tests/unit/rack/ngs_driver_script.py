"""Run by test_ngs_driver under the OpenStack environment's Python: the driver as Neutron loads it.

Reads lines of JSON, `[options, [[method, arguments], ...]]`; answers each with a line: a list of values or errors. An
argument `sg` or `sgs` is `{"id", "rules"}`, and a SecurityGroup of Neutron's for the driver.
"""

import json
import sys

import netaddr
from networking_generic_switch import devices
from networking_generic_switch import exceptions as ngs_exceptions
from neutron.objects import securitygroup

RULE = dict.fromkeys((
    "direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix", "remote_group_id",
    "remote_address_group_id",
))  # fmt: skip


def group(given):
    rules = []
    for rule in given["rules"]:
        if prefix := rule.get("remote_ip_prefix"):
            rule["remote_ip_prefix"] = netaddr.IPNetwork(prefix)
        rules.append(securitygroup.SecurityGroupRule(**{**RULE, **rule}))
    return securitygroup.SecurityGroup(id=given["id"], rules=rules)


def understood(arguments):
    given = dict(arguments)
    if "sg" in given:
        given["sg"] = group(given["sg"])
    if "sgs" in given:
        given["sgs"] = [group(one) for one in given["sgs"]]
    return given


def answers_to(options, calls):
    try:
        device = devices.device_manager(dict(options), "leaf1")
    except ngs_exceptions.GenericSwitchException as error:
        return [{"error": type(error).__name__, "text": str(error)}]
    answers = []
    for method, arguments in calls:
        try:
            answers.append({"value": getattr(device, method)(**understood(arguments))})
        except ngs_exceptions.GenericSwitchException as error:
            answers.append({"error": type(error).__name__, "text": str(error)})
    return answers


for line in sys.stdin:
    print(json.dumps(answers_to(*json.loads(line))), flush=True)
