"""`device_type = steelyard_simulated`: a networking-generic-switch device that speaks to the simulated rack's switches.

Options in `[genericswitch:NAME]` beside those of networking-generic-switch itself:

* `steelyard_url`         base URL of the switches' management API
* `steelyard_token_file`  file with its bearer token; read at each use, so a renewed token needs no restart
* `steelyard_timeout`     seconds for one request (default 10)

Raises SimulatedSwitchError (a GenericSwitchException) when the switch refuses, answers nonsense or does not answer:
Neutron then marks the binding failed, and the bare metal service's flip fails loudly.
"""

# The base class fixes the signatures; a simulated switch needs a part of them.
# ruff: noqa: ARG002

from __future__ import annotations

import http.client
import json
import pathlib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any

from networking_generic_switch import devices
from networking_generic_switch import exceptions as ngs_exceptions
from oslo_log import log as logging

LOG = logging.getLogger(__name__)

_DEFAULT_TIMEOUT = 10.0
_MAX_ANSWER = 4 << 20
_RULE = (
    "direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix", "remote_group_id",
    "remote_address_group_id",
)  # fmt: skip
"""What of a rule of Neutron's matters to a switch."""
LACP = "lacp"
"""How a simulated switch calls the group of a port that speaks LACP."""


class SimulatedSwitchError(ngs_exceptions.GenericSwitchException):  # type: ignore[misc]
    message = "Switch %(switch)s did not do what it was told (%(what)s): %(reason)s"


class SimulatedSwitchConfigError(ngs_exceptions.GenericSwitchException):  # type: ignore[misc]
    message = "[genericswitch:%(switch)s] %(reason)s"


class SimulatedSwitch(devices.GenericSwitchDevice):  # type: ignore[misc]
    """One simulated switch. Stateless: every call is one request, and repeating one does no harm."""

    # No VXLAN: read by the mechanism driver before it calls plug_switch_to_network.
    PLUG_SWITCH_TO_NETWORK = None

    def __init__(self, device_cfg: dict[str, str], device_name: str = "") -> None:
        super().__init__(device_cfg, device_name)
        self._url = self._option("steelyard_url").rstrip("/")
        if urllib.parse.urlsplit(self._url).scheme not in ("http", "https"):
            raise SimulatedSwitchConfigError(switch=device_name, reason="steelyard_url must be an http(s) URL")
        self._token_file = pathlib.Path(self._option("steelyard_token_file"))
        try:
            self._timeout = float(self.config.get("steelyard_timeout", _DEFAULT_TIMEOUT))
        except ValueError:
            raise SimulatedSwitchConfigError(
                switch=device_name, reason="steelyard_timeout must be a number of seconds"
            ) from None

    @property
    def support_trunk_on_ports(self) -> bool:
        return True

    @property
    def support_trunk_on_bond_ports(self) -> bool:
        return True

    # VLANs

    def add_network(self, segmentation_id: int, network_id: str, physnet_vlans: Any = None) -> None:
        name = self._get_network_name(network_id, segmentation_id)
        self._request("PUT", f"/vlans/{int(segmentation_id)}", {"name": name})

    def del_network(self, segmentation_id: int, network_id: str, physnet_vlans: Any = None) -> None:
        self._request("DELETE", f"/vlans/{int(segmentation_id)}")

    # Ports

    def plug_port_to_network(
        self,
        port_id: str,
        segmentation_id: int,
        trunk_details: Any = None,
        default_vlan: Any = None,
        mtu: Any = None,
    ) -> None:
        self._plug(port_id, segmentation_id, trunk_details, lag=None)

    def plug_bond_to_network(
        self,
        bond_id: str,
        segmentation_id: int,
        trunk_details: Any = None,
        default_vlan: Any = None,
        mtu: Any = None,
    ) -> None:
        # Called for each member, by the name of its port; the members find each other by LACP.
        self._plug(bond_id, segmentation_id, trunk_details, lag=LACP)

    def _plug(self, port_id: str, segmentation_id: int, trunk_details: Any, *, lag: str | None) -> None:
        change: dict[str, Any] = {"untagged_vlan": int(segmentation_id), "enabled": True, "lag": lag}
        if tagged := _subport_vlans((trunk_details or {}).get("sub_ports", [])):
            change["add_tagged"] = tagged
        self._change(port_id, change)

    def delete_port(
        self,
        port_id: str,
        segmentation_id: int,
        trunk_details: Any = None,
        default_vlan: Any = None,
        mtu: Any = None,
    ) -> None:
        # Only from the network that is being left: when the port has been moved on already, it stays where it is.
        fallback = default_vlan or self._get_port_default_vlan()
        change: dict[str, Any] = {
            "untagged_vlan": int(fallback) if fallback else None,
            "only_if_untagged": int(segmentation_id),
            # The mechanism driver does not say which tags the port had; none stays without the untagged network.
            "clear_tagged": True,
            "lag": None,
            "filters": [],
        }
        if self._disable_inactive_ports():
            change["enabled"] = False
        self._change(port_id, change)

    def add_subports_on_trunk(
        self, binding_profile: Any, port_id: str, subports: Any, trunk_details: Any = None
    ) -> None:
        self._change(port_id, {"add_tagged": _subport_vlans(subports)})

    def del_subports_on_trunk(
        self, binding_profile: Any, port_id: str, subports: Any, trunk_details: Any = None
    ) -> None:
        self._change(port_id, {"remove_tagged": _subport_vlans(subports)})

    # Security groups: each is a filter of the switch, by the group's id. The simulated rack has no frames: a switch
    # keeps rules, says which port has which filter, and filters nothing.

    def add_security_group(self, sg: Any) -> None:
        self._request("PUT", _filter(sg.id), {"rules": _rules(sg)})

    def update_security_group(self, sg: Any) -> None:
        self.add_security_group(sg)

    def del_security_group(self, sg_id: str) -> None:
        self._request("DELETE", _filter(sg_id))

    def bind_security_group(self, sg: Any, port_id: str, port_ids: Any) -> None:
        # Its other ports have it already: unlike an access list of a command line, a filter is never taken down to be
        # changed. It may be new to this switch, though.
        self.add_security_group(sg)
        self._change(port_id, {"add_filters": [sg.id]})

    def unbind_security_group(self, sg_id: str, port_id: str, port_ids: Any) -> None:
        self._change(port_id, {"remove_filters": [sg_id]})

    def set_security_groups(self, sgs: Sequence[Any], port_id: str, leaving: Sequence[int] = ()) -> None:
        """Give a port these groups and no other, in one change; none of it while the port is on a VLAN of `leaving`.

        Not of networking-generic-switch: `steelyard_neutron.groups` asks for it in place of binding and unbinding where
        a device has it. `leaving` are VLANs that the port is about to be unplugged from, which takes its groups off in
        the same change: until then it is not without them.
        """
        for sg in sgs:
            self.add_security_group(sg)
        change: dict[str, Any] = {"filters": sorted(sg.id for sg in sgs)}
        if leaving:
            change["unless_untagged"] = sorted(leaving)
        self._change(port_id, change)

    # What a simulated switch cannot do. Refused, so that nobody believes it was done.

    def plug_switch_to_network(self, vni: int, segmentation_id: int, physnet: str | None = None) -> None:
        raise self._not_supported("VXLAN")

    def unplug_switch_from_network(self, vni: int, segmentation_id: int, physnet: str | None = None) -> None:
        raise self._not_supported("VXLAN")

    def vlan_has_ports(self, segmentation_id: int) -> bool:
        """True on error too, as the base class asks."""
        try:
            answer = self._request("GET", "/ports")
            return any(
                segmentation_id == port["untagged_vlan"] or segmentation_id in port["tagged_vlans"]
                for port in answer["ports"]
            )
        except (SimulatedSwitchError, KeyError, TypeError):
            LOG.exception("Cannot read the ports of %s back", self.device_name)
            return True

    def vlan_has_vni(self, segmentation_id: int, vni: int) -> bool:
        return False

    # The wire

    def _change(self, port_id: str, change: dict[str, Any]) -> None:
        self._request("PATCH", f"/ports/{urllib.parse.quote(port_id, safe='')}", change)

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        what = f"{method} {path}"
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked in __init__
            f"{self._url}/switches/{urllib.parse.quote(self.device_name, safe='')}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self._token(what)}",
                "Content-Type": "application/json",
                "User-Agent": "networking-generic-switch",
            },
        )
        try:
            with _DIRECT.open(request, timeout=self._timeout) as answer:
                content = answer.read(_MAX_ANSWER)
        except urllib.error.HTTPError as error:
            raise self._failed(what, _said(error)) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(what, f"no answer: {error}") from None
        try:
            document = json.loads(content)
        except ValueError:
            raise self._failed(what, "the answer is not JSON") from None
        if not isinstance(document, dict):
            raise self._failed(what, "the answer is not a JSON object")
        return document

    def _token(self, what: str) -> str:
        try:
            return self._token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise self._failed(what, f"cannot read the token: {error}") from None

    def _option(self, name: str) -> str:
        value = self.config.get(name)
        if not value:
            raise SimulatedSwitchConfigError(switch=self.device_name, reason=f"needs the option {name}")
        return str(value)

    def _failed(self, what: str, reason: str) -> SimulatedSwitchError:
        LOG.error("Switch %s: %s failed: %s", self.device_name, what, reason)
        return SimulatedSwitchError(switch=self.device_name, what=what, reason=reason)

    def _not_supported(self, feature: str) -> Exception:
        error: Exception = ngs_exceptions.GenericSwitchNotSupported(
            feature=feature, switch=self.device_name, error="The simulated switch has VLANs and filters only."
        )
        return error


# A proxy of the environment must never see a switch's token.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _subport_vlans(subports: Any) -> list[int]:
    return sorted({int(subport["segmentation_id"]) for subport in subports})


def _filter(sg_id: str) -> str:
    return f"/filters/{urllib.parse.quote(sg_id, safe='')}"


def _rules(sg: Any) -> list[dict[str, Any]]:
    """The rules of a SecurityGroup object as a switch keeps them, always in the same order."""
    found = [{name: getattr(rule, name) for name in _RULE if getattr(rule, name) is not None} for rule in sg.rules]
    shown = [{name: value if isinstance(value, int) else str(value) for name, value in one.items()} for one in found]
    return sorted(shown, key=lambda one: json.dumps(one, sort_keys=True))


def _said(error: urllib.error.HTTPError) -> str:
    """The switch's own words, where it has any."""
    try:
        document = json.loads(error.read(4096))
        return f"{error.code}: {document['detail']}"
    except (ValueError, KeyError, TypeError, OSError):
        return f"HTTP {error.code}"
