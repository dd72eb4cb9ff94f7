"""What a run looks like while it goes on: the live display, the plain log, the summary at its end."""
