"""Write what LLaMA-Factory's collator hands its model for an exported folder: python read_llamafactory.py FILE"""

import json
import sys

from llamafactory.data import SFTDataCollatorWith4DAttentionMask, get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args, read_args
from llamafactory.model import load_tokenizer


def main() -> None:
    sys.argv[1:], output = ["train.yaml"], sys.argv[1]
    model_args, data_args, training_args, finetuning_args, _ = get_train_args(read_args())
    module = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(module["tokenizer"], data_args)
    dataset = get_dataset(template, model_args, data_args, training_args, stage="sft", **module)["train_dataset"]
    # As llamafactory/train/sft/workflow.py makes it.
    collate = SFTDataCollatorWith4DAttentionMask(
        template=template, model=None, pad_to_multiple_of=8, label_pad_token_id=-100, **module
    )
    with open(output, "w", encoding="utf-8") as stream:
        for start in range(0, len(dataset), 4):
            batch = collate([dataset[place] for place in range(start, min(start + 4, len(dataset)))])
            for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
                kept = mask.bool()
                stream.write(json.dumps([ids[kept].tolist(), labels[kept].tolist()]) + "\n")
    settings = {
        "steps": training_args.max_steps, "rows": training_args.per_device_train_batch_size,
        "rank": finetuning_args.lora_rank, "alpha": finetuning_args.lora_alpha,
        "targets": sorted(finetuning_args.lora_target), "seed": training_args.seed,
        "learning_rate": training_args.learning_rate, "scheduler": str(training_args.lr_scheduler_type.value),
        "warmup": training_args.warmup_steps,
    }  # fmt: skip
    print(json.dumps(settings))


if __name__ == "__main__":  # processes that it starts import this file
    main()
