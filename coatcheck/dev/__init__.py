"""The embedded development stack: real parts as child processes on loopback."""
