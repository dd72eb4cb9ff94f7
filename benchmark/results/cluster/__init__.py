"""What the computers of a cluster share through the database: who is a member, until when, and messages."""
