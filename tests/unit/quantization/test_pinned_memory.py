import pytest
import torch

from tasks.quantization.pinned_memory import unpinned_without_accelerator

pytestmark = pytest.mark.skipif(
    torch.accelerator.is_available(), reason="the fault needs a machine without accelerator"
)


@pytest.mark.slow
def test_upstream_still_needs_the_workaround():
    """On the day this fails, delete tasks/quantization/pinned_memory.py."""
    from llmcompressor.pipelines.cache import IntermediatesCache

    def cache():
        made = IntermediatesCache.empty(1, torch.device("cpu"))
        made.update(0, {"hidden": torch.zeros(2)})
        return made

    with pytest.raises(RuntimeError, match="accelerator"):
        cache().pin_memory(0)
    original = IntermediatesCache.pin_memory
    with unpinned_without_accelerator():
        cache().pin_memory(0)
    assert IntermediatesCache.pin_memory is original
