"""Where the artifacts of a database lie: a folder of each computer, or one URL for all of them."""
