"""The backend `local`: runs the bundle on this machine."""
