"""What the services tell about themselves: logs, traces and metrics. Never slows or stops what it tells about."""
