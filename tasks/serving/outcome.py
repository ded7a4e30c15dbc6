"""What became of a request, in words that stay few enough for a label."""

OK = "ok"
#: The caller went away before the answer was whole.
CALLER_LEFT = "caller_left"
#: The model server did not answer, broke off or failed.
UPSTREAM_LOST = "upstream_lost"
#: An error nobody foresaw; the log has it under its request id.
INTERNAL = "internal"

_OF_THE_MODEL_SERVER = frozenset({"upstream_lost", "upstream_failed"})
#: HTTP status of a request whose caller left (nginx's; nobody sees it but the series).
CALLER_LEFT_STATUS = 499


def of_refusal(code: str) -> str:
    """Return the outcome of a request that was refused, or lost on the way, by the refusal's code."""
    if code == INTERNAL:
        return INTERNAL
    return UPSTREAM_LOST if code in _OF_THE_MODEL_SERVER else f"refused:{code}"


def of_status(status: int) -> str:
    """Return the outcome of a request that reached the model server, by the status it ended with.

    Args:
        status: 200 where the answer was whole; `CALLER_LEFT_STATUS` where the caller left; a 5xx where the model
            server was lost; another 4xx where the model server itself refused.
    """
    if status < 400:
        return OK
    if status == CALLER_LEFT_STATUS:
        return CALLER_LEFT
    return UPSTREAM_LOST if status >= 500 else "refused:model"
