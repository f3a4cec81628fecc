"""REST: reconcilers, for administrators."""

from __future__ import annotations

from fastapi import APIRouter

from steelyard.operations.reconcilers import PeriodicReconcilers
from steelyard.operations.views import ReconcilerAnswer, ReconcilerList, reconciler_view
from steelyard.web.context import Admin


def router(reconcilers: PeriodicReconcilers) -> APIRouter:
    routes = APIRouter(prefix="/reconcilers", tags=["operations"])

    @routes.get("")
    def list_reconcilers(caller: Admin) -> ReconcilerList:
        """List the work that nobody asked for: when it ran last, how long it took, what it changed."""
        return ReconcilerList(reconcilers=[reconciler_view(each) for each in reconcilers.all()])

    @routes.get("/{name}")
    def show_reconciler(caller: Admin, name: str) -> ReconcilerAnswer:
        """Show one."""
        return ReconcilerAnswer(reconciler=reconciler_view(reconcilers.get(name)))

    @routes.post("/{name}/run", status_code=202)
    def run_reconciler(caller: Admin, name: str) -> ReconcilerAnswer:
        """Have it run as soon as it can, not only at its next period. Signals that come while it runs make one more."""
        known = reconcilers.get(name)
        reconcilers.signal(name)
        return ReconcilerAnswer(reconciler=reconciler_view(known))

    return routes
