"""The processes of a run: how they are made, pinned, watched, and ended."""
