"""vLLM slots, the gateway in front of them, its keys and audit log, and the host process that owns them."""
