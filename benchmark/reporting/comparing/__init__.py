"""Two groups or selections set against each other: what differs, verdicts on it, gates and looks."""
