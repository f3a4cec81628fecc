"""Asking Steelyard: a token of the conductor's own, one request, and every doubt is a refusal.

Section `[steelyard]` of ironic.conf, all options have defaults:

* `endpoint_override`    Steelyard's address; else the catalogue's service type `baremetal-management`
* `power_gate_timeout`   seconds that Steelyard may take to move a server's NICs (default 120)
* `flip_gate_timeout`    seconds that Steelyard may take to verify a change of networks (default 120)
* `flip_gate_patience`   seconds for which a Steelyard that does not answer is asked again then (default 60)
* `segment_patience`     seconds for which a node waits for a segment of its own (default 900)
* `auth_type` and so on, as in every section of Ironic's; without them the conductor logs in as `[service_catalog]` says
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ironic.common import exception, keystone
from ironic.common.i18n import _
from ironic.conf import CONF
from ironic.conf import auth as auth_options
from keystoneauth1 import exceptions as ksa_exceptions
from oslo_config import cfg
from oslo_log import log

LOG = log.getLogger(__name__)

SECTION = "steelyard"
LONGEST_REASON = 1000
"""Characters of Steelyard's own words that go into the node's last error."""
ASK_AGAIN = 1.0
"""Seconds between two attempts to reach it."""
ASK_AGAIN_WAITING = 2.0
"""Seconds between two questions whether what a node waits for is there."""

CONF.register_opts(
    [
        cfg.IntOpt(
            "power_gate_timeout",
            default=120,
            min=1,
            help="Seconds that Steelyard may take to bring a server's NICs back to its tenant's networks.",
        ),
        cfg.IntOpt(
            "flip_gate_timeout",
            default=120,
            min=1,
            help="Seconds that Steelyard may take to verify a change of a node's networks.",
        ),
        cfg.IntOpt(
            "flip_gate_patience",
            default=60,
            min=0,
            help="Seconds for which Steelyard is asked again when it does not answer, as while it is restarted, before "
            "the change of networks counts as not verified.",
        ),
        cfg.IntOpt(
            "segment_patience",
            default=900,
            min=0,
            help="Seconds for which a node waits while Steelyard has no segment free for it to have to itself; after "
            "that its step fails.",
        ),
    ],
    group=SECTION,
)
auth_options.register_auth_opts(CONF, SECTION, service_type="baremetal-management")


class SteelyardRefused(exception.IronicException):  # type: ignore[misc]
    """Steelyard does not let it happen, or nobody could ask it."""

    _msg_fmt = _("Steelyard does not let node %(node)s %(what)s: %(reason)s")


class _NoAnswer(Exception):
    """Nobody said yes or no; the text says what happened."""


@dataclass(frozen=True)
class _Answer:
    """What Steelyard said."""

    document: Mapping[str, Any]
    refusal: str | None = None
    """Why it refuses; None: leave is given."""
    code: str | None = None


def ask(
    node_uuid: str, gate: str, what: str, *, body: Mapping[str, Any] | None = None, timeout: int | None = None,
    patience: int = 0, waits: tuple[str, int] | None = None,
) -> Mapping[str, Any]:  # fmt: skip
    """Ask for leave; returns the answer when it is given. Raises SteelyardRefused in every other case.

    `gate` is the last part of the path; `what` is what the conductor wants to do, in words: "get power". `timeout` is
    `power_gate_timeout` unless given; for `patience` seconds it is asked again when nobody answers. `waits`: the code
    of a refusal that means "not yet", and for how many seconds it is asked again then.
    """
    begin = time.monotonic()
    deadline = begin + patience
    while True:
        try:
            answer = _once(node_uuid, gate, body or {}, timeout or CONF.steelyard.power_gate_timeout)
        except _NoAnswer as error:
            answer = _Answer({}, str(error))
            if time.monotonic() + ASK_AGAIN < deadline:
                LOG.warning("Asking Steelyard about node %s again: %s", node_uuid, error)
                time.sleep(ASK_AGAIN)
                continue
        if answer.refusal is None:
            return answer.document
        if waits and answer.code == waits[0] and time.monotonic() + ASK_AGAIN_WAITING < begin + waits[1]:
            LOG.info("Node %s waits: %s", node_uuid, answer.refusal)
            time.sleep(ASK_AGAIN_WAITING)
            deadline = time.monotonic() + patience
            continue
        raise SteelyardRefused(node=node_uuid, what=what, reason=answer.refusal)


def _once(node_uuid: str, gate: str, body: Mapping[str, Any], timeout: int) -> _Answer:
    """What it says. Raises _NoAnswer."""
    try:
        adapter = _adapter()
        base = (adapter.get_endpoint() or "").rstrip("/").removesuffix("/v1")
        if not base:
            return _Answer({}, str(_("the catalogue has no address of Steelyard")))
        answer = adapter.post(
            f"{base}/v1/nodes/{quote(node_uuid, safe='')}/{gate}",
            json=dict(body),
            raise_exc=False,
            redirect=False,
            timeout=timeout,
            connect_retries=1,
        )
    except (ksa_exceptions.ClientException, exception.IronicException) as error:
        # Of its text only the type is passed on: nobody knows what a client library puts into it.
        LOG.error("Steelyard cannot be asked about node %s: %s", node_uuid, error)
        _adapter.cache_clear()
        raise _NoAnswer(_("Steelyard cannot be reached (%s)") % type(error).__name__) from None
    document = _document(answer)
    if 200 <= answer.status_code < 300:
        return _Answer(document)
    refusal = _reason(answer.status_code, document)
    if answer.status_code >= 500:
        raise _NoAnswer(refusal)
    return _Answer(document, refusal, str(document.get("code")))


@functools.cache
def _adapter() -> Any:
    """Made once: each new one would ask for a token of its own, which Steelyard would have to have validated."""
    section = SECTION if CONF.steelyard.auth_type else "service_catalog"
    session = keystone.get_session(section)
    return keystone.get_adapter(SECTION, session=session, auth=keystone.get_auth(section))


def _document(answer: Any) -> Mapping[str, Any]:
    """The answer's JSON object; an empty one where it is none."""
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _reason(status: int, document: Mapping[str, Any]) -> str:
    """Why Steelyard refuses (RFC 9457), with the next command it advises."""
    if "detail" not in document:
        return f"HTTP {status}"
    advice = document.get("next")
    said = f"{document['detail']} Next: {advice}" if advice else str(document["detail"])
    return said[:LONGEST_REASON]
