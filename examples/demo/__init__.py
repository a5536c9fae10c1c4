"""The demo: three brands learnt, hot-loaded, streamed and measured with the unmodified `openai` package."""
