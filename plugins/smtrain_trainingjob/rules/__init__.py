"""What SageMaker refuses, or charges for nothing, and what it takes to say so before."""
