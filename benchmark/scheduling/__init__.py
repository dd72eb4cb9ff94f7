"""Runs the cells of a plan, each in a process of its own, and records how they end.

Imports go one way, each folder knowing those before it alone: `run_options` (what a run is asked to do), `processes` (how
workers are made, bounded and heard), `decisions` (what runs, in which order, and what an end means; knows no process),
`programs` (what a command starts and waits for: preparation, inference, trials), `loop` (the cells of one run), and
`run`, which tells the whole run from beginning to end.
"""
