"""How one service calls another: typed, with deadlines and reconnecting streams."""
