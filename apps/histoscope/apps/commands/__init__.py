"""One module a command: build the configuration, call one function, print the result."""
