"""From merged bf16 weights to 4-bit ones."""
