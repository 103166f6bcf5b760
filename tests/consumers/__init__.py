"""Who uses the project without Python, and what it is packed in."""
