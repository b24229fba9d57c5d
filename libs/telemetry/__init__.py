"""What the services tell about themselves: logs and traces. Never slows or stops what it tells about."""
