"""What the chart knows of the code: its settings, and the providers whose addresses are known."""
