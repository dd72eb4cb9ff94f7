"""Programs beside training, each with a process of its own: prepare data, predict, explain."""
