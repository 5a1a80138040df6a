"""What is kept: files by their digest, and the tables that say what they are."""
