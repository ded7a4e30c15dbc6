"""The gateway's answer to a request it does not pass on, in OpenAI's error shape."""

import json

RETRY_AFTER_S = 5
_ERROR_TYPES = {
    401: "authentication_error", 403: "permission_error", 404: "not_found_error", 408: "timeout_error",
    429: "rate_limit_error", 500: "server_error", 503: "service_unavailable_error",
}  # fmt: skip


class Refusal(Exception):
    """The gateway's answer to a request it does not pass on, in OpenAI's error shape.

    Args:
        status: HTTP status.
        code: short name for programs.
        message: what is wrong and what to do, for people.
        param: the field at fault.
        retry_after_s: when to try again.
    """

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.retry_after_s = retry_after_s

    def body(self) -> bytes:
        """Return the JSON body."""
        kind = _ERROR_TYPES.get(self.status, "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return json.dumps({"error": error}, ensure_ascii=False).encode()


def unavailable(code: str, message: str) -> Refusal:
    """Return a 503 that asks to come back."""
    return Refusal(503, code, message, retry_after_s=RETRY_AFTER_S)


def bad(message: str, param: str | None, code: str = "invalid_value") -> Refusal:
    """Return a 400."""
    return Refusal(400, code, message, param=param)


def unsupported(message: str, param: str) -> Refusal:
    """Return a 400 for what is known but not offered here."""
    return bad(message, param, "unsupported_field")
