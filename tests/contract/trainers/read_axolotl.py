"""Write what Axolotl's data loader holds for an exported folder: python read_axolotl.py FILE"""

import json
import sys

from axolotl.cli.config import load_cfg
from axolotl.loaders import load_tokenizer
from axolotl.utils.data.sft import prepare_datasets
from transformers import DataCollatorForSeq2Seq


def main() -> None:
    cfg = load_cfg("train.yaml")
    tokenizer = load_tokenizer(cfg)
    dataset, *_ = prepare_datasets(cfg, tokenizer)
    collate = DataCollatorForSeq2Seq(tokenizer, return_tensors="pt")
    with open(sys.argv[1], "w", encoding="utf-8") as stream:
        for start in range(0, len(dataset), 4):
            rows = [dataset[place] for place in range(start, min(start + 4, len(dataset)))]
            batch = collate([{name: row[name] for name in ("input_ids", "labels", "attention_mask")} for row in rows])
            for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
                kept = mask.bool()
                stream.write(json.dumps([ids[kept].tolist(), labels[kept].tolist()]) + "\n")
    settings = {
        "steps": cfg.max_steps, "rows": cfg.micro_batch_size, "rank": cfg.lora_r, "alpha": cfg.lora_alpha,
        "targets": sorted(cfg.lora_target_modules), "seed": cfg.seed, "learning_rate": float(cfg.learning_rate),
        "scheduler": str(getattr(cfg.lr_scheduler, "value", cfg.lr_scheduler)), "warmup": cfg.warmup_steps,
    }  # fmt: skip
    print(json.dumps(settings))


if __name__ == "__main__":  # processes that it starts import this file
    main()
