"""What starts runs: a plan as it is asked for, trials before it, and runs that answer a question."""
