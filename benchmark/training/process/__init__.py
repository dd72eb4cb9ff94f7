"""The process that trains: threads and device, SIGTERM, no network, and why it failed."""
