"""Why a job could not run on Kubernetes, found before anything is sent."""
