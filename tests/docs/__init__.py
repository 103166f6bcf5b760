"""What the documents say: their commands are run, their lists compared with the code."""
