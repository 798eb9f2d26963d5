"""Parts of the container runner: Docker's API, which Podman's socket speaks as well."""
