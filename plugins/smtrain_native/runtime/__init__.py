"""What runs on the target; it knows nothing of the compiler, and only its steps import torch."""
