"""config.toml -> Config, assembled from each room's Settings."""
