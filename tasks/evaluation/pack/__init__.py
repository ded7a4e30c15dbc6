"""The domain pack: questions of eight kinds in one schema, how they are asked, how their answers are scored.

README.md in this folder is the schema.
"""

from tasks.evaluation.pack.generation import GenerationItem, generation_items, score
from tasks.evaluation.pack.likelihood import bits_per_byte, likelihood_tasks
from tasks.evaluation.pack.loading import Pack, load_pack
from tasks.evaluation.pack.schema import SUITES, Suite, pack_item_id, suite_named

__all__ = [
    "SUITES",
    "GenerationItem",
    "Pack",
    "Suite",
    "bits_per_byte",
    "generation_items",
    "likelihood_tasks",
    "load_pack",
    "pack_item_id",
    "score",
    "suite_named",
]
