"""Saved views: questions to the inventory that somebody has given a name."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from steelyard.store.database import Database
from steelyard.store.inventory_tables import inventory_views as table


@dataclass(frozen=True, slots=True)
class SavedView:
    """One question with a name. Its owner alone sees it unless it is shared."""

    id: str
    user_id: str
    owner: str
    """The owner's name."""
    name: str
    shared: bool
    query: Mapping[str, Any]
    """`q`, `sort`, and filters as lists of values."""
    changed_at: datetime


class InventoryViews:
    """The repository of views."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def visible_to(self, user_id: str) -> list[SavedView]:
        """One's own and the shared ones, by name."""
        query = sa.select(table).where(sa.or_(table.c.user_id == user_id, table.c.shared.is_(True)))
        with self._database.read() as connection:
            return [_view(row) for row in connection.execute(query.order_by(table.c.name, table.c.user_name))]

    def save(
        self, *, user_id: str, owner: str, name: str, shared: bool, query: Mapping[str, Any], replace: bool
    ) -> SavedView | None:
        """Keep a view; with `replace`, in the place of the owner's view of this name. None: the name is taken."""
        values = {
            "user_name": owner, "shared": shared, "query": dict(query), "changed_at": datetime.now(UTC)
        }  # fmt: skip
        own = sa.and_(table.c.user_id == user_id, table.c.name == name)
        try:
            with self._database.write() as connection:
                known = connection.execute(sa.select(table.c.id).where(own).with_for_update()).scalar()
                if known is not None and not replace:
                    return None
                if known is None:
                    known = str(uuid.uuid4())
                    connection.execute(table.insert().values(id=known, user_id=user_id, name=name, **values))
                else:
                    connection.execute(table.update().where(table.c.id == known).values(**values))
                return _view(connection.execute(sa.select(table).where(table.c.id == known)).one())
        except sa.exc.IntegrityError:
            return None  # the same was saved at the same moment

    def delete(self, view_id: str) -> None:
        """Deleting what is gone succeeds."""
        with self._database.write() as connection:
            connection.execute(table.delete().where(table.c.id == view_id))


def _view(row: Any) -> SavedView:
    return SavedView(row.id, row.user_id, row.user_name, row.name, row.shared, row.query, row.changed_at)
