"""The same job as a call of the SageMaker Python SDK."""
