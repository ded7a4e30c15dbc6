"""Logging: chatter on stderr, data on stdout."""

import logging
import sys

FORMAT = "%(asctime)s %(levelname)-7s %(message)s"

#: Third parties that log at INFO what no user of a stage needs.
NOISY = (
    "httpx",
    "urllib3",
    "alembic",
    "datasets",
    "filelock",
    "great_expectations",
    "matplotlib",
    "aiohttp.access",
    "mlflow.store.db.utils",
    "lm_eval",
    "compressed_tensors",
)

#: Third parties' warnings that ask nothing of the user (seen with --verbose): Python warnings, absent GPU kernels.
SILENT = ("py.warnings", "bitsandbytes", "transformers")


def setup_logging(*, verbose: bool = False) -> None:
    """Send log lines to stderr; called once by an entry point, never at import."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format=FORMAT,
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    logging.captureWarnings(True)
    if not verbose:
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.WARNING)
        for name in SILENT:
            logging.getLogger(name).setLevel(logging.ERROR)
