"""The system as real processes, real faults at random moments, and a checker of what really happened."""
