"""Webhooks and their deliveries. The events that wait for a webhook are those after its cursor: the table of events is
the queue, so nothing is lost by a crash, and their order is the events' own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from steelyard.errors import Duplicate, NotFound
from steelyard.events.hooks import Delivery, DeliveryState, Webhook
from steelyard.naming import shown
from steelyard.store.database import Database
from steelyard.store.tables import webhook_deliveries, webhooks

FRESH = 5.0
"""Seconds for which `any()` is believed."""
KEEP = 1000
"""Deliveries that are remembered of each webhook."""


class Webhooks:
    """The repository of webhooks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._any: tuple[float, bool] = (0.0, False)

    def add(self, webhook: Webhook) -> None:
        """Raises `Duplicate` (`duplicate_name`)."""
        try:
            with self._database.write() as connection:
                connection.execute(webhooks.insert().values(**_row(webhook)))
            self._any = (0.0, False)
        except sa.exc.IntegrityError:
            raise Duplicate(
                f"There is a webhook {shown(webhook.name)} already.",
                code="duplicate_name",
                next="steelyard webhook list",
            ) from None

    def all(self) -> list[Webhook]:
        """By name."""
        with self._database.read() as connection:
            return [
                Webhook(**row._mapping) for row in connection.execute(sa.select(webhooks).order_by(webhooks.c.name))
            ]

    def any(self) -> bool:
        """Whether there is one, as of a few seconds ago: cheap enough to be asked at every event."""
        at, known = self._any
        if time.monotonic() - at > FRESH:
            with self._database.read() as connection:
                known = connection.execute(sa.select(webhooks.c.id).limit(1)).scalar() is not None
            self._any = (time.monotonic(), known)
        return known

    def get(self, reference: str) -> Webhook:
        """By id or name. Raises `NotFound`."""
        query = sa.select(webhooks).where(sa.or_(webhooks.c.id == reference, webhooks.c.name == reference))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        found = sorted((Webhook(**row._mapping) for row in rows), key=lambda each: each.id != reference)
        if not found:
            raise NotFound(f"There is no webhook {shown(reference)}.", next="steelyard webhook list")
        return found[0]

    def delete(self, webhook_id: str) -> None:
        """Deleting what is gone succeeds."""
        with self._database.write() as connection:
            connection.execute(webhook_deliveries.delete().where(webhook_deliveries.c.webhook_id == webhook_id))
            connection.execute(webhooks.delete().where(webhooks.c.id == webhook_id))

    def advance(self, webhook_id: str, cursor: int, **changes: Any) -> bool:
        """Note how far it is. The cursor never goes back. False when the webhook is gone."""
        values = {**changes, "cursor": sa.case((webhooks.c.cursor > cursor, webhooks.c.cursor), else_=cursor)}
        with self._database.write() as connection:
            changed = connection.execute(webhooks.update().where(webhooks.c.id == webhook_id).values(**values))
            return bool(changed.rowcount)

    def record(self, deliveries: Sequence[Delivery]) -> None:
        """Write down what became of deliveries; of a webhook that is gone nothing is written."""
        if not deliveries:
            return
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        with self._database.write() as connection:
            ids = {delivery.webhook_id for delivery in deliveries}
            there = set(connection.execute(sa.select(webhooks.c.id).where(webhooks.c.id.in_(ids))).scalars())
            for delivery in deliveries:
                if delivery.webhook_id not in there:
                    continue
                values = {name: getattr(delivery, name) for name in Delivery.__dataclass_fields__}
                values["state"] = delivery.state.value
                statement = insert(webhook_deliveries).values(**values)
                kept = {name: statement.excluded[name] for name in ("state", "attempts", "last_at", "status", "error")}
                connection.execute(
                    statement.on_conflict_do_update(index_elements=["webhook_id", "event_id"], set_=kept)
                )
            for webhook_id in there:
                self._prune(connection, webhook_id)

    def delivery(self, webhook_id: str, event_id: int) -> Delivery | None:
        """What is known of one event for one webhook."""
        table = webhook_deliveries
        query = sa.select(table).where(table.c.webhook_id == webhook_id, table.c.event_id == event_id)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return _delivery(row) if row is not None else None

    def deliveries(
        self, webhook_id: str, *, state: DeliveryState | None = None, limit: int = 100, before: int | None = None
    ) -> list[Delivery]:
        """The newest event first."""
        table = webhook_deliveries
        query = sa.select(table).where(table.c.webhook_id == webhook_id).order_by(table.c.event_id.desc()).limit(limit)
        if state is not None:
            query = query.where(table.c.state == state.value)
        if before is not None:
            query = query.where(table.c.event_id < before)
        with self._database.read() as connection:
            return [_delivery(row) for row in connection.execute(query)]

    def failing(self, *, before: datetime) -> list[Webhook]:
        """Those that have not been reached since before this moment."""
        return [each for each in self.all() if each.failing_since is not None and each.failing_since <= before]

    @staticmethod
    def _prune(connection: sa.Connection, webhook_id: str) -> None:
        table = webhook_deliveries
        mine = table.c.webhook_id == webhook_id
        oldest = sa.select(table.c.event_id).where(mine).order_by(table.c.event_id.desc()).offset(KEEP).limit(1)
        last = connection.execute(oldest).scalar()
        if last is not None:
            connection.execute(table.delete().where(mine, table.c.event_id <= last))


def _row(webhook: Webhook) -> dict[str, Any]:
    return {name: getattr(webhook, name) for name in Webhook.__dataclass_fields__} | {"filter": dict(webhook.filter)}


def _delivery(row: Any) -> Delivery:
    return Delivery(**{**row._mapping, "state": DeliveryState(row.state)})
