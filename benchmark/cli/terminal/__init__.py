"""How text reaches the terminal, and how a command ends."""
