"""The same for many things: one bulk operation, its progress, and what became of each thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steelyard.client.output import OPERATION_COLUMNS, Column, finish, hint, show
from steelyard.client.progress import raise_if_failed, wait_for
from steelyard.client.rest import Client, fresh_key


def for_each(
    client: Client,
    action: str,
    items: Sequence[Mapping[str, Any]],
    *,
    limits: Mapping[str, Any],
    reason: str | None,
    wait: bool,
    timeout: float | None,
    format: str,
    columns: Sequence[Column] | None = None,
) -> None:
    """Start a bulk operation (`POST /v1/bulk`) and show it; with `wait`, the operations that it started, at their end.

    What could not be started, and why, goes to standard error. Raises `OperationFailed` if one did not succeed.
    """
    body = {"action": action, "items": [dict(item) for item in items], **limits}
    if reason is not None:
        body["reason"] = reason
    answer = client.post("/v1/bulk", body, key=fresh_key())
    if not wait:
        finish(client, answer, wait=False, format=format)
        return
    ended = wait_for(client, [answer["operation"]], timeout=timeout)
    parent = ended[0]["id"]
    children = client.list_all("/v1/operations", {"parent": parent})[::-1]
    if columns is None:
        columns = [column for column in OPERATION_COLUMNS if column[1] in ("id", "kind", "subject", "phase", "seconds")]
    show(children, columns, format)
    for item in client.list_all(client.path("/v1/operations", parent, "items"), {"phase": "failed"}):
        error = item.get("error") or {}
        if item.get("operation_id") is None:
            hint(f"{item['name']} was not begun: {error.get('detail')}")
            if error.get("next"):
                hint(f"  next: {error['next']}")
    raise_if_failed(ended)
