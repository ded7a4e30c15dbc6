"""Logging: chatter on stderr, data on stdout."""

import logging
import sys

FORMAT = "%(asctime)s %(levelname)-7s %(message)s"

#: Third parties that log at INFO what no user of a stage needs.
NOISY = ("httpx", "urllib3", "alembic", "datasets", "filelock", "great_expectations", "matplotlib", "aiohttp.access",
         "mlflow.store.db.utils", "lm_eval", "compressed_tensors")


def setup_logging(*, verbose: bool = False) -> None:
    """Send log lines to stderr; called once by an entry point, never at import."""
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format=FORMAT, datefmt="%H:%M:%S",
                        stream=sys.stderr, force=True)
    if not verbose:
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.WARNING)
