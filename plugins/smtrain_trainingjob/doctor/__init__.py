"""Looking at an account, its storage and the target before anything is launched."""
