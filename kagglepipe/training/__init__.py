"""Training: features, heads, fine-tuning, temporal models, checkpoints, inference."""
