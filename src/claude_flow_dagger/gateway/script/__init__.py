"""The scripted model: an upstream that plays a YAML file of turns. `docs/model-script.md` describes the format."""
