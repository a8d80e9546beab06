"""What can go wrong, by the codes of Connect's protocol (connectrpc.com/docs/protocol)."""

from __future__ import annotations

from typing import Optional


class SkeinError(Exception):
    """A refusal or failure that the cluster tells.

    code is one of Connect's: "invalid_argument", "unauthenticated", "permission_denied", "not_found", "resource_exhausted", "unavailable",
    "deadline_exceeded", "unimplemented", "internal", "canceled", …
    """

    def __init__(self, code: str, message: str, status: int = 200, request_id: str = "", retry_after: Optional[float] = None):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status  # of HTTP; 200 where a stream had begun
        self.request_id = request_id
        self.retry_after = retry_after  # seconds after which it may be worth trying again; None = not told


class Disconnected(SkeinError):
    """The cluster was not reached, or the connection ended in the middle of an answer."""

    def __init__(self, message: str):
        super().__init__("unavailable", message, status=0)


# CODES are what statuses of HTTP mean where the body does not say it.
CODES = {
    400: "internal",
    401: "unauthenticated",
    403: "permission_denied",
    404: "unimplemented",
    429: "unavailable",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}
