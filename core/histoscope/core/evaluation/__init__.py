"""Metrics, intervals and paired comparison."""
