"""The order in which new work reaches leaders. Holds keys only: losing it loses no work."""
