"""Fine-tune with Unsloth on the rows of this folder, which are tokenized: python train.py

Reads settings.json and rows.jsonl beside it, writes the adapter (or the model) to `out`. Needs CUDA, as Unsloth does.
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def read_settings() -> dict[str, Any]:
    """Return settings.json: `model`, `lora`, `arguments` of transformers' trainer."""
    settings: dict[str, Any] = json.loads((HERE / "settings.json").read_text(encoding="utf-8"))
    return settings


def read_rows() -> Any:
    """Return the rows: columns `input_ids` and `labels`, which carry the loss where they are not -100."""
    from datasets import Dataset

    with (HERE / "rows.jsonl").open(encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return Dataset.from_list([{name: row[name] for name in ("input_ids", "labels")} for row in rows])


def make_trainer(model: Any, tokenizer: Any, settings: dict[str, Any]) -> Any:
    """Return TRL's trainer over the rows as they are: nothing renders, tokenizes, masks, packs or cuts them."""
    from transformers import DataCollatorForSeq2Seq
    from trl import SFTConfig, SFTTrainer

    config = SFTConfig(
        output_dir=str(HERE / "out"), max_length=None, packing=False, remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True}, report_to="none", **settings["arguments"],
    )  # fmt: skip
    collator = DataCollatorForSeq2Seq(tokenizer, padding=True, label_pad_token_id=-100)
    return SFTTrainer(
        model=model, args=config, train_dataset=read_rows(), processing_class=tokenizer, data_collator=collator
    )


def main() -> None:
    """Load the model with Unsloth, train, save."""
    from unsloth import FastLanguageModel  # before transformers and trl: it changes them

    settings = read_settings()
    model, tokenizer = FastLanguageModel.from_pretrained(**settings["model"])
    if settings["lora"]:
        model = FastLanguageModel.get_peft_model(model, **settings["lora"])
    tokenizer.chat_template = (HERE / "chat_template.jinja").read_text(encoding="utf-8")
    trainer = make_trainer(model, tokenizer, settings)
    trainer.train()
    trainer.save_model(str(HERE / "out"))
    tokenizer.save_pretrained(str(HERE / "out"))


if __name__ == "__main__":
    main()
