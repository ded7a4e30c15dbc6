"""Write what ms-swift's collator hands its model for an exported folder: python read_swift.py FILE"""

import json
import sys

import yaml
from swift.arguments import SftArguments
from swift.pipelines.train.sft import SwiftSft


def main() -> None:
    with open("train.yaml", encoding="utf-8") as stream:
        run = SwiftSft(SftArguments(**yaml.safe_load(stream)))
    dataset, _ = run._prepare_dataset()
    with open(sys.argv[1], "w", encoding="utf-8") as stream:
        for start in range(0, len(dataset), 4):
            batch = run.template.data_collator([dataset[place] for place in range(start, min(start + 4, len(dataset)))])
            for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
                kept = mask.bool()
                stream.write(json.dumps([ids[kept].tolist(), labels[kept].tolist()]) + "\n")
    args = run.args
    settings = {
        "steps": args.max_steps, "rows": args.per_device_train_batch_size, "rank": args.lora_rank,
        "alpha": args.lora_alpha, "targets": sorted(args.target_modules), "seed": args.seed,
        "learning_rate": args.learning_rate,
        "scheduler": str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
        "warmup": int(args.warmup_steps),
    }  # fmt: skip
    print(json.dumps(settings))


if __name__ == "__main__":  # processes that it starts import this file
    main()
