"""What runs beside the trainer on the target; the standard library alone."""
