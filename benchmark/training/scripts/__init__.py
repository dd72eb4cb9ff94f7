"""Programs of users as cells: what they are told, what they tell, and how they are started and ended."""
