"""The machines that runs are launched on: a dated catalogue, and whether one has what a run asks of it."""
