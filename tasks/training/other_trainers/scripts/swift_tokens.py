"""For ms-swift's `external_plugins`: a model type and a template `tunegate` that take rows as they are tokenized."""

from typing import Any

from swift.model import ModelLoader, ModelMeta, register_model
from swift.template import Template, TemplateMeta, register_template

NAME = "tunegate"


class TokenizedRows(Template):
    """A template that renders nothing: ids and labels are those of the row."""

    def encode(self, inputs: Any, return_template_inputs: bool = False, return_length: bool = False) -> dict[str, Any]:
        """Return a row of the cached dataset as the trainer takes it; anything else is encoded as ms-swift does."""
        if not isinstance(inputs, dict) or "labels" not in inputs:
            encoded: dict[str, Any] = super().encode(inputs, return_template_inputs, return_length)
            return encoded
        row = {"input_ids": list(inputs["input_ids"]), "labels": list(inputs["labels"])}
        return row | ({"lengths": [len(row["input_ids"])]} if return_length else {})


register_template(
    TemplateMeta(NAME, prefix=[], prompt=["{{QUERY}}"], chat_sep=None, template_cls=TokenizedRows), exist_ok=True
)
register_model(ModelMeta(NAME, [], ModelLoader, template=NAME, model_arch=None), exist_ok=True)
