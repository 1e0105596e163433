"""Clusters of SageMaker HyperPod: what they are made of, made, looked at, changed and deleted."""
