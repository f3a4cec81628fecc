"""What a BMC can be told: requests that change something, checked in full before anything happens.

`prepare` gives an Action to apply, or raises RedfishError; so a fault can stand between a request that was accepted
and its effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from steelyard.embedded.rack.bmc import answers
from steelyard.embedded.rack.bmc.answers import RedfishError
from steelyard.embedded.rack.bmc.documents import ROOT, View
from steelyard.embedded.rack.bmc.hardware import AlreadySo, Hardware
from steelyard.embedded.rack.bmc.machine import Boot
from steelyard.embedded.rack.bmc.resources import MIN_PASSWORD, render
from steelyard.embedded.rack.bmc.systems import BOOT_MODES, BOOT_TARGETS
from steelyard.errors import Conflict

Body = Mapping[str, Any]

_BOOT_FIELDS = {
    "BootSourceOverrideTarget": BOOT_TARGETS,
    "BootSourceOverrideEnabled": ("Disabled", "Once", "Continuous"),
    "BootSourceOverrideMode": BOOT_MODES,
}
_INSERT_FIELDS = frozenset(
    {"Image", "Inserted", "WriteProtected", "TransferProtocolType", "TransferMethod", "UserName", "Password"}
)


@dataclass(frozen=True, slots=True)
class Action:
    operation: str
    """The word by which faults match it."""
    apply: Callable[[], None]
    """Does it. Raises RedfishError when the state forbids it."""
    fetches: str | None = None
    """URL that must answer before the action is accepted."""


def prepare(
    view: View, method: str, path: str, body: Body, hardware: Hardware, set_password: Callable[[str], None]
) -> Action:
    """The action that a request asks for. Raises RedfishError: 400, 404, 405."""
    if method == "POST" and path == f"{view.system}/Actions/ComputerSystem.Reset":
        return _reset(view, body, hardware)
    if method == "PATCH" and path == view.system:
        return _boot(view, body, hardware)
    if method == "PATCH" and path == f"{ROOT}/AccountService/Accounts/1":
        return _account(body, set_password)
    if method == "POST" and path.startswith(f"{view.media}/"):
        member, _, action = path.removeprefix(f"{view.media}/").partition("/Actions/VirtualMedia.")
        slot = view.slots.get(member)
        if slot is not None and action == "InsertMedia":
            return _insert(view, slot, body, hardware)
        if slot is not None and action == "EjectMedia":
            return Action("media", lambda: hardware.eject(view.server.name, slot))
    if render(view, path) is None:
        raise answers.missing(path)
    raise RedfishError(405, "OperationNotAllowed", f"{method} is not allowed on {path}.")


def _reset(view: View, body: Body, hardware: Hardware) -> Action:
    _only(body, {"ResetType"})
    how = body.get("ResetType")
    if how is None:
        raise answers.parameter_missing("ComputerSystem.Reset", "ResetType")
    if how not in view.make.reset_types:
        raise RedfishError(
            400,
            "ActionParameterNotSupported",
            f"The parameter ResetType={str(how)[:40]} is not supported by the target resource.",
            args=["ResetType", "ComputerSystem.Reset"],
        )

    def apply() -> None:
        try:
            hardware.reset(view.server.name, str(how))
        except AlreadySo as error:
            if not view.make.tolerates_repeats:
                raise RedfishError(409, "NoOperation", f"{error.detail}: nothing to do.") from None
        except Conflict as error:
            raise RedfishError(409, "OperationNotAllowed", f"{error.detail}.") from None

    return Action("power", apply)


def _boot(view: View, body: Body, hardware: Hardware) -> Action:
    _only(body, {"Boot"})
    wanted = body.get("Boot")
    if not isinstance(wanted, dict) or not wanted:
        raise answers.malformed("Boot must be an object with something in it")
    for name, value in wanted.items():
        if name not in _BOOT_FIELDS:
            raise answers.unknown_property(name)
        if value not in _BOOT_FIELDS[name]:
            raise answers.value_not_in_list(name, value)
    if wanted.get("BootSourceOverrideEnabled") == "Continuous" and not view.make.continuous_boot:
        raise answers.value_not_in_list("BootSourceOverrideEnabled", "Continuous")

    def apply() -> None:
        # Read again: the override may have been used up since.
        now = hardware.machine(view.server.name).boot
        target = wanted.get("BootSourceOverrideTarget", now.target)
        # A target without a word on how long means once (DSP0268, ComputerSystem.Boot).
        enabled = wanted.get("BootSourceOverrideEnabled") or (
            "Once" if "BootSourceOverrideTarget" in wanted and now.enabled == "Disabled" else now.enabled
        )
        boot = Boot(target=target, enabled=enabled, mode=wanted.get("BootSourceOverrideMode", now.mode))
        hardware.set_boot(view.server.name, boot)

    return Action("boot", apply)


def _insert(view: View, slot: str, body: Body, hardware: Hardware) -> Action:
    _only(body, _INSERT_FIELDS)
    image = body.get("Image")
    if image is None:
        raise answers.parameter_missing("VirtualMedia.InsertMedia", "Image")
    if not isinstance(image, str) or urlsplit(image).scheme not in ("http", "https") or not urlsplit(image).netloc:
        raise answers.value_not_in_list("Image", image)
    if view.make.needs_transfer_protocol and "TransferProtocolType" not in body:
        raise answers.parameter_missing("VirtualMedia.InsertMedia", "TransferProtocolType")
    if slot in view.machine.media:
        raise RedfishError(409, "ResourceInUse", "The virtual media slot has an image in it already; eject that first.")
    return Action("media", lambda: hardware.insert(view.server.name, slot, image), fetches=image)


def _account(body: Body, set_password: Callable[[str], None]) -> Action:
    _only(body, {"Password"})
    password = body.get("Password")
    if not isinstance(password, str) or not MIN_PASSWORD <= len(password) <= 128:
        # Never with the value in the message.
        raise RedfishError(
            400,
            "PropertyValueFormatError",
            f"The value for the property Password must be text of {MIN_PASSWORD} to 128 characters.",
            related=["#/Password"],
        )
    return Action("account", lambda: set_password(password))


def _only(body: Body, known: set[str] | frozenset[str]) -> None:
    for name in body:
        if name not in known:
            raise answers.unknown_property(name)
