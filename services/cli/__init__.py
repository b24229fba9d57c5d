"""The airscrew command: a client of admin like any other, and the door to the standalone system."""
