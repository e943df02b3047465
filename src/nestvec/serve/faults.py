"""What a request is refused with: a status and a sentence, in the shape of OpenAI's errors."""

from __future__ import annotations

import json
from typing import Any

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


class Fault(Exception):
    """A request that is refused.

    status: of HTTP, 4xx or 5xx. message: one sentence. param: the field at fault, or None. code: a
    word for programs, or None. retry_after_s: when to come again, or None. close: whether the
    connection is given up, since the rest of the request is not read.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
        close: bool = False,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s
        self.close = close
        self._headers = headers

    def body(self) -> bytes:
        """The answer's JSON: {"error": {"message", "type", "param", "code"}}."""
        own = "server_error" if self.status >= 500 else "invalid_request_error"
        found: dict[str, Any] = {
            "message": self.message,
            "type": _TYPES.get(self.status, own),
            "param": self.param,
            "code": self.code,
        }
        return json.dumps({"error": found}, ensure_ascii=False).encode("utf-8", "replace")

    def headers(self) -> list[tuple[str, str]]:
        """The answer's headers but its length."""
        found = [("content-type", "application/json"), *self._headers]
        if self.retry_after_s is not None:
            found.append(("retry-after", str(self.retry_after_s)))
        if self.status == 401:
            found.append(("www-authenticate", "Bearer"))
        if self.close:
            found.append(("connection", "close"))
        return found
