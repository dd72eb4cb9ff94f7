"""Everything that is written while a run goes on. `recorder` is the only door."""
