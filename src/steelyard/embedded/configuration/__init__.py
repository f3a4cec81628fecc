"""The configuration generator: a typed description of a home in, the text of every service's files out.

Pure: it reads no file, no environment and no clock, so the same description gives the same bytes. One generator serves
SQLite and PostgreSQL, in-memory RPC and RabbitMQ; the description says which.
"""

from __future__ import annotations

from collections.abc import Mapping

from steelyard.embedded.configuration.clouds import clouds_yaml
from steelyard.embedded.configuration.description import DATABASES, PHYSICAL_NETWORK, REGION, Description
from steelyard.embedded.configuration.glance import glance_conf
from steelyard.embedded.configuration.ini import render
from steelyard.embedded.configuration.ironic import ironic_conf, networks_conf
from steelyard.embedded.configuration.keystone import identity_seed, keystone_conf
from steelyard.embedded.configuration.neutron import ml2_conf, neutron_conf
from steelyard.embedded.configuration.neutron import policy as neutron_policy
from steelyard.embedded.configuration.nova import nova_conf
from steelyard.embedded.configuration.placement import placement_conf

__all__ = ["DATABASES", "PHYSICAL_NETWORK", "REGION", "Description", "generate", "networks_file"]


def generate(cloud: Description) -> dict[str, str]:
    """Every configuration file, by its path inside of the home. All of them hold passwords."""
    return {
        "etc/keystone/keystone.conf": render(keystone_conf(cloud)),
        "etc/keystone/identity_seed.json": identity_seed(cloud),
        "etc/placement/placement.conf": render(placement_conf(cloud)),
        "etc/glance/glance-api.conf": render(glance_conf(cloud)),
        "etc/neutron/neutron.conf": render(neutron_conf(cloud)),
        "etc/neutron/ml2_conf.ini": render(ml2_conf(cloud)),
        "etc/neutron/policy.yaml": neutron_policy(),
        "etc/nova/nova.conf": render(nova_conf(cloud)),
        "etc/ironic/ironic.conf": render(ironic_conf(cloud)),
        "clouds.yaml": clouds_yaml(cloud),
    }


def networks_file(ids: Mapping[str, str]) -> str:
    """The text of db/networks.conf, once the networks exist."""
    return render(networks_conf(ids))
