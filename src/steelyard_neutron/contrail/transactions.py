"""What has to happen at the controller when a transaction of Neutron's ends.

The controller takes no part in Neutron's transactions. What was taken there inside of one must be given back when it
is rolled back, whatever the reason; what is to be given back there must wait until it is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from oslo_log import log
from sqlalchemy import event

LOG = log.getLogger(__name__)

_KEY = "steelyard_contrail"

Action = Callable[[], None]


@dataclass
class _Pending:
    committed: bool = False
    on_commit: list[Action] = field(default_factory=list)
    on_rollback: list[Action] = field(default_factory=list)
    with_port: set[tuple[str, str]] = field(default_factory=set)


def on_commit(session: Any, action: Action) -> None:
    """Do it once the outermost transaction is committed. A failure is logged: the next comparison finds it."""
    _pending(session).on_commit.append(action)


def on_rollback(session: Any, action: Action) -> None:
    """Do it if the outermost transaction is rolled back, in the reverse order of these calls."""
    _pending(session).on_rollback.append(action)


def leave_to_port(session: Any, fixed_ips: Iterable[Mapping[str, str]]) -> None:
    """These addresses go with their port, which is told after the commit: nobody needs to look for them before."""
    _pending(session).with_port |= {(fixed["subnet_id"], str(fixed["ip_address"])) for fixed in fixed_ips}


def on_commit_unless_with_port(session: Any, subnet_id: str, address: str, action: Action) -> None:
    """on_commit, for an address that is not left to its port in this transaction."""
    pending = _pending(session)

    def unless() -> None:
        if (subnet_id, address) not in pending.with_port:
            action()

    pending.on_commit.append(unless)


def _pending(session: Any) -> _Pending:
    if not session.in_transaction():
        raise RuntimeError("no transaction is open")
    pending: _Pending | None = session.info.get(_KEY)
    if pending is None:
        pending = session.info[_KEY] = _Pending()
        event.listen(session, "after_commit", _after_commit)
        event.listen(session, "after_transaction_end", _after_end)
    return pending


def _after_commit(session: Any) -> None:
    if not session.in_nested_transaction():
        session.info[_KEY].committed = True


def _after_end(session: Any, transaction: Any) -> None:
    if transaction.parent is not None:  # a savepoint
        return
    pending: _Pending = session.info[_KEY]
    session.info[_KEY] = _Pending()
    for action in pending.on_commit if pending.committed else reversed(pending.on_rollback):
        try:
            action()
        except Exception:
            LOG.exception("The controller was not brought in line after a transaction; the next comparison does it")
