"""Token parity: the same conversation becomes the same tokens in training, in evaluation and when served."""
