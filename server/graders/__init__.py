"""Graders: how good one answer of a model is, by OpenAI's definitions and two of our own."""
