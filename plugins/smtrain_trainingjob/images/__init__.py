"""AWS's Deep Learning Containers, by framework and version."""
