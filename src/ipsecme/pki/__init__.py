"""A small certificate authority in a folder, for those who have none."""
