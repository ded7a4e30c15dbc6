"""llm-compressor 0.14.0.1 pins memory even where no accelerator exists, which torch refuses.

Drop this file when upstream asks `torch.accelerator.is_available()` first; `test_pinned_memory.py` fails on that day.
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unpinned_without_accelerator() -> Iterator[None]:
    """Make `IntermediatesCache.pin_memory` do nothing on a machine without an accelerator; restore it afterwards."""
    import torch
    from llmcompressor.pipelines.cache import IntermediatesCache

    if torch.accelerator.is_available():
        yield
        return
    original = IntermediatesCache.pin_memory
    # setattr: a plain assignment to a method is an error to the type checker.
    setattr(IntermediatesCache, "pin_memory", lambda self, *args, **kwargs: None)  # noqa: B010
    try:
        yield
    finally:
        setattr(IntermediatesCache, "pin_memory", original)  # noqa: B010
