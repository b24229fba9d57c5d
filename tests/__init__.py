"""What holds, checked: see the folders, from `unit` (pure, mirrors the modules) to `e2e` (the whole system)."""
