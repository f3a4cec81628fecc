"""The way into an OpenStack cloud: its own rights from a clouds.yaml, anybody else's from their token."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from keystoneauth1 import exceptions as ksa
from keystoneauth1.identity import access as ksa_identity

from steelyard.clouds.openstack.addresses import OpenstackAddresses
from steelyard.clouds.openstack.baremetal import (
    Agreement,
    IronicRest,
    OpenstackNodePorts,
    OpenstackNodes,
    OpenstackProvisioning,
)
from steelyard.clouds.openstack.bonds import OpenstackBonds
from steelyard.clouds.openstack.compute import OpenstackCompute, OpenstackFlavors
from steelyard.clouds.openstack.fabric import OpenstackFabric
from steelyard.clouds.openstack.identity import OpenstackIdentity
from steelyard.clouds.openstack.images import OpenstackImages
from steelyard.clouds.openstack.interfaces import OpenstackInterfaces
from steelyard.clouds.openstack.network import OpenstackAttachments, OpenstackNetworks
from steelyard.clouds.openstack.placement import OpenstackPlacement
from steelyard.clouds.openstack.session import Access, new_session
from steelyard.clouds.openstack.trunks import OpenstackSecurityGroups, OpenstackSubInterfaces
from steelyard.errors import Invalid

TIMEOUT = 60.0
"""Seconds that a service may stay silent; Nova and Neutron take their time under load."""


class OpenstackCloud:
    """All ports of the cloud with one set of credentials; `baremetal` may have another (system scope)."""

    def __init__(
        self, access: Access, agreement: Agreement, *, baremetal: Access | None = None, enforces_groups: bool = False
    ):
        self.access = access
        ironic = IronicRest(baremetal or access, agreement)
        self.images = OpenstackImages(access)
        self.flavors = OpenstackFlavors(access)
        self.compute = OpenstackCompute(access)
        self.interfaces = OpenstackInterfaces(access)
        self.nodes = OpenstackNodes(ironic)
        self.provisioning = OpenstackProvisioning(ironic)
        self.node_ports = OpenstackNodePorts(ironic)
        self.bonds = OpenstackBonds(ironic)
        self.placement = OpenstackPlacement(access)
        self.networks = OpenstackNetworks(access)
        self.attachments = OpenstackAttachments(access)
        self.sub_interfaces = OpenstackSubInterfaces(access)
        self.security_groups = OpenstackSecurityGroups(access, enforced=enforces_groups)
        self.fabric = OpenstackFabric(access)
        self.addresses = OpenstackAddresses(access)


class OpenstackClouds:
    """One OpenStack cloud. Connects at the first call, not before."""

    def __init__(self, access: Access, *, baremetal: Access | None = None, enforces_groups: bool = False):
        """`enforces_groups`: whether Neutron has switches filter servers' NICs by their security groups."""
        self._access = access
        self._enforces_groups = enforces_groups
        self._agreement = Agreement()
        self.identity = OpenstackIdentity(access)
        self.own = OpenstackCloud(access, self._agreement, baremetal=baremetal, enforces_groups=enforces_groups)

    def on_behalf_of(self, token: str) -> OpenstackCloud:
        """The cloud with the very token that was given: it is passed on, never exchanged for another.

        The addresses come from the catalogue that Keystone returned when it validated the token. Raises
        `Unauthenticated` at once if the token is not valid.
        """
        holder = self.identity.holder(token)
        own = self._access
        plugin = ksa_identity.AccessInfoPlugin(holder.reference)
        access = Access(own.session, plugin, False, own.region, own.interface, own.timeout)
        return OpenstackCloud(access, self._agreement, enforces_groups=self._enforces_groups)


def connect(
    cloud: str, *, cloud_system: str | None = None, clouds_file: Path | None = None, timeout: float = TIMEOUT,
    enforces_groups: bool = False,
) -> OpenstackClouds:  # fmt: skip
    """The cloud that an entry of a clouds.yaml describes. Raises `Invalid` if there is no such entry.

    `cloud_system`: another entry for the bare metal service, where its policies want a system-scoped token.
    `clouds_file`: None to look where every OpenStack tool looks. No environment variable is read. `enforces_groups` as
    for `OpenstackClouds`.
    """
    access = _access(cloud, clouds_file, timeout)
    baremetal = _access(cloud_system, clouds_file, timeout) if cloud_system else None
    return OpenstackClouds(access, baremetal=baremetal, enforces_groups=enforces_groups)


def _access(cloud: str, clouds_file: Path | None, timeout: float) -> Access:
    # Takes half a second to import: only the server needs it.
    from openstack import exceptions as sdk
    from openstack.config.loader import OpenStackConfig

    where = str(clouds_file) if clouds_file else "the usual places"
    if clouds_file is not None and not clouds_file.is_file():
        raise Invalid(f"there is no file {clouds_file}", code="no_clouds_file", next="set STEELYARD_CLOUDS_FILE")
    options: dict[str, Any] = {"load_envvars": False}
    if clouds_file is not None:
        options["config_files"] = [str(clouds_file)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of optional parts that nobody asked for
            region = OpenStackConfig(**options).get_one(cloud=cloud)
        auth = region.get_auth()
        verify, cert = region.get_requests_verify_args()
    except (sdk.SDKException, ksa.ClientException) as error:
        raise Invalid(
            f"the entry {cloud!r} of clouds.yaml ({where}) cannot be used: {type(error).__name__}",
            code="cloud_entry_unusable",
            next="openstack --os-cloud " + cloud + " token issue",
        ) from None
    session = new_session(auth, verify=verify, cert=cert, timeout=timeout)
    interface = region.get_interface() or "public"
    return Access(session, auth, True, region.get_region_name() or None, interface, timeout)
