"""How long a test waits for what must happen: a limit against hanging for ever, on the slowest and busiest
machine, and never an expectation."""

PATIENCE = 1800.0  # seconds
