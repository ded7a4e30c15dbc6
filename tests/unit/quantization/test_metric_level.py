"""GPTQ ends with an error where llm-compressor's log is off, unless its level is defined."""

import pytest
from loguru import logger

from tasks.quantization.metric_level import LEVEL, define_metric_level


def test_the_level_is_defined_once_and_can_be_written_at(monkeypatch):
    monkeypatch.setattr(logger._core, "levels_lookup", {**logger._core.levels_lookup})
    monkeypatch.setattr(logger._core, "levels", {**logger._core.levels})
    logger._core.levels_lookup.pop(LEVEL, None)
    logger._core.levels.pop(LEVEL, None)
    sink = logger.add(lambda _: None)
    try:
        with pytest.raises(ValueError, match="METRIC"):
            logger.log(LEVEL, "time 0.01s")
        define_metric_level()
        define_metric_level()
        logger.log(LEVEL, "time 0.01s")
    finally:
        logger.remove(sink)
