"""What the HTML page of a report shows beside tables: facts, a part for each cell, and pictures."""
