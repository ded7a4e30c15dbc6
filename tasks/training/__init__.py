"""Training: prepared chat rows and a base model to an adapter (QLoRA, LoRA or full), and the adapter into the base."""
