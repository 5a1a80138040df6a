"""The door out: an outbox, a sender, storage commitment."""
