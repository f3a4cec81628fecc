"""A client of Steelyard's REST API; the command line stands on it and on nothing else of Steelyard."""

from __future__ import annotations

from steelyard.client.errors import ApiError, ClientError, NotConfigured, OperationFailed

__all__ = ["ApiError", "ClientError", "NotConfigured", "OperationFailed"]
