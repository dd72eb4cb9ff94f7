"""Rows of the database as groups of seeds, with their statistics: what every table and figure is made of."""
