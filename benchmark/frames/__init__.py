"""Results in Python: DataFrames and axes for notebooks. `import benchmark` imports none of it before it is used."""
