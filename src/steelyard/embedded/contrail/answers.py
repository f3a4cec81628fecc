"""How the controller refuses."""

from __future__ import annotations


class ApiError(Exception):
    """An answer other than 200. Its text is the whole body: the controller's errors are not JSON."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status
        self.text = text
