"""The `airscrew` command: a client of `admin` like any other, plus the ways to start and operate a system."""
