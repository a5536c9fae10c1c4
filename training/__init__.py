"""A fine-tuning job: data, mask, LoRA loop, checkpoint, publish. Never imports the server."""
