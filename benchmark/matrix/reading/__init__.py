"""The text of a matrix file becomes checked definitions and one specification; every mistake is noted with its line."""
