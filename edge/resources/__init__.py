"""What answers on each route: reads the call, asks, writes the answer."""
