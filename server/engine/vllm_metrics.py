"""vLLM's own metrics, where they would not stay small."""

from __future__ import annotations

from typing import Any


def forget_names(client: Any) -> None:
    """Take `vllm:lora_requests_info` from an engine client's loggers: it keeps a series for every combination
    of adapters that a step ever had, which a thousand brands never end to make."""
    for logger in client.logger_manager.stat_loggers if client.logger_manager else ():
        if getattr(logger, "gauge_lora_info", None) is not None:
            logger.gauge_lora_info = None
