"""Writes a run into the database while it goes on; `recorder` is the interface, the other modules its parts."""
