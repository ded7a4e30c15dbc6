"""Which of several gateways this is."""

import os
import socket
from functools import cache

LIMITS_VARIABLE, REPLICA_VARIABLE = "TUNEGATE_LIMITS_URL", "TUNEGATE_REPLICA"


@cache
def replica() -> str | None:
    """Return what this gateway is called among others, None where it is alone.

    $TUNEGATE_REPLICA, else the machine's name; each pod has its own.
    """
    if not os.environ.get(LIMITS_VARIABLE):
        return None
    return os.environ.get(REPLICA_VARIABLE) or socket.gethostname()
