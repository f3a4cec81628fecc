"""Redfish errors in the extended form (DSP0266 8.6), with message ids of the Base registry (DSP8011)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

REGISTRY = "Base.1.13"


class RedfishError(Exception):
    """An answer other than success; the service turns it into the response."""

    def __init__(
        self, status: int, message_id: str, message: str, *, args: Sequence[str] = (), related: Sequence[str] = ()
    ):
        super().__init__(message)
        self.status = status
        self.message_id = message_id
        self.message = message
        self.arguments = tuple(args)
        self.related = tuple(related)

    def document(self) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "@odata.type": "#Message.v1_1_2.Message",
            "MessageId": f"{REGISTRY}.{self.message_id}",
            "Message": self.message,
            "MessageArgs": list(self.arguments),
            "Severity": "Critical",
        }
        if self.related:
            entry["RelatedProperties"] = list(self.related)
        return {
            "error": {
                "code": f"{REGISTRY}.{self.message_id}",
                "message": self.message,
                "@Message.ExtendedInfo": [entry],
            }
        }


def missing(path: str) -> RedfishError:
    return RedfishError(404, "ResourceMissingAtURI", f"The resource at the URI {path} was not found.", args=[path])


def malformed(why: str) -> RedfishError:
    return RedfishError(400, "MalformedJSON", f"The request body was malformed: {why}.")


def parameter_missing(action: str, name: str) -> RedfishError:
    return RedfishError(
        400,
        "ActionParameterMissing",
        f"The action {action} requires the parameter {name} to be present in the request body.",
        args=[action, name],
        related=[f"#/{name}"],
    )


def value_not_in_list(name: str, value: object) -> RedfishError:
    shown = str(value)[:80]
    return RedfishError(
        400,
        "PropertyValueNotInList",
        f"The value {shown!r} for the property {name} is not in the list of acceptable values.",
        args=[shown, name],
        related=[f"#/{name}"],
    )


def unknown_property(name: str) -> RedfishError:
    return RedfishError(
        400,
        "PropertyUnknown",
        f"The property {name[:80]} is not in the list of valid properties for the resource.",
        args=[name[:80]],
        related=[f"#/{name[:80]}"],
    )
