"""The door (auth, routes), the engine (vLLM) and the metrics. Never imports training."""
