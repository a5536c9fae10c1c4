"""What a version is: reference, manifest, publish, resolve. Reads safetensors headers without torch."""
