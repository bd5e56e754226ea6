"""The commands of `mmmae`: a module each, with `add_arguments` and `run`."""
