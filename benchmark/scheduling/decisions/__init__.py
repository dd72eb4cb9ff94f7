"""Pure decisions of a run: what is done already, what is next, and what follows from how an attempt ended."""
