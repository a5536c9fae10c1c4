"""All that knows about an inference engine; the only place that may import vllm."""
