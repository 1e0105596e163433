"""The backend `trainingjob`: SageMaker Training Jobs."""
