"""The backend `hyperpod_eks`: Kubernetes jobs."""
