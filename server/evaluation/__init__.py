"""Evaluations of jobs: who is asked what, how the answers are graded, and the report."""
