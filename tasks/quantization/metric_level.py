"""llm-compressor 0.14.0.1's GPTQ writes at a log level that it defines only where its log is on, and ends without it.

This project turns that log off (`LLM_COMPRESSOR_LOG_DISABLED` in tasks/core/project.py). Drop this file when upstream
defines the level in any case; `test_metric_level.py` says what goes wrong until then.
"""

LEVEL, NUMBER = "METRIC", 38


def define_metric_level() -> None:
    """Define loguru's level METRIC as llm-compressor does; nothing where it is defined."""
    from loguru import logger

    try:
        logger.level(LEVEL)
    except ValueError:
        logger.level(LEVEL, no=NUMBER)
