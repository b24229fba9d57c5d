"""How a process lives: its clock, its back-off, its signals, its tasks and its end. Knows no service and no wire."""
