"""Which cell runs when and where: the graph of cells, resources, processes, retries."""
