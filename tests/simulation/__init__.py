"""The whole system on virtual time, with faults: `python -m tests.simulation`."""
