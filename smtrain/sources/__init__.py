"""A folder of the user's own code, as files of a bundle."""
