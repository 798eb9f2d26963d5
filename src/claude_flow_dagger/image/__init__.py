"""Images of the runtime: built, scanned, listed, pushed and removed, through the docker or podman client."""
