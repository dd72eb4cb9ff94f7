"""For tests and rehearsals alone: a worker that does everything except training, and actions at fault points."""
