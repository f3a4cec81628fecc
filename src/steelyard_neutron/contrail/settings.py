"""Section `[contrail]` of Neutron's configuration, and the session that it describes.

The options of keystoneauth (`auth_type`, `auth_url`, `username`, ..., `cafile`, `timeout`, `endpoint_override`,
`service_type`) are those of every section by which Neutron logs in somewhere; `timeout` is 10 seconds here unless it
is set, since a transaction of Neutron's waits meanwhile. The others have defaults.
"""

from __future__ import annotations

import functools

from keystoneauth1 import loading
from oslo_config import cfg

from steelyard_neutron.contrail.client import Controller

SECTION = "contrail"
DEFAULT_TIMEOUT = 10

_OPTIONS = [
    cfg.StrOpt(
        "owner",
        default="neutron",
        regex=r"^[a-z0-9][a-z0-9.]*$",
        help="First part of the name of every object made at the controller: whatever has it, and is unknown to "
        "this Neutron, is removed. Two Neutrons with one controller need two owners.",
    ),
    cfg.StrOpt("domain", default="default-domain", help="The controller's domain that holds the projects."),
    cfg.StrOpt("fabric", default="default-fabric", help="The controller's fabric that the switches belong to."),
    cfg.StrOpt(
        "global_system_config",
        default="default-global-system-config",
        help="Name of the controller's object under which physical routers stand.",
    ),
    cfg.IntOpt(
        "sync_interval",
        default=60,
        min=0,
        help="Seconds between two comparisons of Neutron and the controller, in which what differs is repaired; "
        "0: only by the command steelyard-contrail-sync.",
    ),
    cfg.BoolOpt(
        "fixed_addresses_in_pool",
        default=False,
        help="Refuse an address that was asked for by number and lies outside of its subnet's allocation pools. "
        "Neutron's API allows it.",
    ),
]


def register(conf: cfg.ConfigOpts) -> None:
    """Make the options known; twice does no harm."""
    conf.register_opts(_OPTIONS, group=SECTION)
    loading.register_auth_conf_options(conf, SECTION)
    loading.register_session_conf_options(conf, SECTION)
    loading.register_adapter_conf_options(conf, SECTION)
    conf.set_default("timeout", DEFAULT_TIMEOUT, group=SECTION)
    conf.set_default("service_type", "sdn-l-config", group=SECTION)


@functools.cache
def controller() -> Controller:
    """The one client of this process: all threads share its token and what it knows of the controller's health.

    Raises keystoneauth1's MissingAuthPlugin when the section does not say how to log in.
    """
    conf = cfg.CONF
    register(conf)
    auth = loading.load_auth_from_conf_options(conf, SECTION)
    session = loading.load_session_from_conf_options(conf, SECTION, auth=auth)
    adapter = loading.load_adapter_from_conf_options(conf, SECTION, session=session, auth=auth)
    return Controller(adapter)


def options() -> cfg.ConfigOpts.GroupAttr:
    """The section's values."""
    register(cfg.CONF)
    return cfg.CONF[SECTION]


def list_options() -> list[tuple[str, list[cfg.Opt]]]:
    """For oslo-config-generator."""
    return [(SECTION, [*_OPTIONS, *loading.get_session_conf_options(), *loading.get_adapter_conf_options()])]
