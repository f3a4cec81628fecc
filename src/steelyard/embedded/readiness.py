"""When a service is ready: it answers, and has answered one authenticated request.

The authenticated request matters: Neutron publishes its policy enforcer before the rules are loaded, so that of several
simultaneous first requests some are told "not found"; others load their plug-ins at the first request. One request, by
one client, before anybody else comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from steelyard.embedded.requests import Session, call
from steelyard.embedded.units import Check
from steelyard.errors import SteelyardError

Judge = Callable[[Any], str | None]
"""Looks at the JSON of the warm-up answer; None when content."""


def anything(_content: Any) -> str | None:
    """Content with any answer."""
    return None


def login_works(session: Session) -> Check:
    """Keystone: a password is exchanged for a token."""

    def check() -> str | None:
        try:
            session.token()
        except SteelyardError as error:
            return error.detail
        return None

    return check


def authenticated(
    session: Session, port: int, path: str, *, headers: dict[str, str] | None = None, judge: Judge = anything
) -> Check:
    """An API: it answers, and an authenticated GET of `path` satisfies the judge."""

    def check() -> str | None:
        try:
            call(port, "GET", "/", timeout_seconds=60.0)  # first whether it listens, without bothering Keystone
            return judge(session.request(port, "GET", path, headers=headers))
        except SteelyardError as error:
            return error.detail

    return check


def answers(port: int, path: str, *, bearer: Callable[[], str] | None = None, expected: int = 200) -> Check:
    """A plain HTTP server of ours: GET of `path` gives the expected status."""

    def check() -> str | None:
        try:
            headers = {"Authorization": f"Bearer {bearer()}"} if bearer is not None else None
            status, _, _ = call(port, "GET", path, headers=headers, timeout_seconds=10.0)
        except SteelyardError as error:
            return error.detail
        return None if status == expected else f"GET {path} answered {status}"

    return check


def nova_services_up(content: Any) -> str | None:
    """Nova: scheduler, conductor and compute have reported."""
    up = {one["binary"] for one in content["services"] if one["state"] == "up"}
    missing = {"nova-scheduler", "nova-conductor", "nova-compute"} - up
    return f"waiting for {', '.join(sorted(missing))}" if missing else None
