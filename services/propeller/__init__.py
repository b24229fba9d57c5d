"""Execution state: leads a shard, reconciles its executions, places their attempts."""
