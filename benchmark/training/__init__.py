"""Training one cell in a process of its own: the only package that imports Keras."""
