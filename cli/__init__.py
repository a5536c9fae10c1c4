"""The `chorus` command."""
