"""End-to-end tests: real programs, real sockets, real time; run by `make e2e`."""
