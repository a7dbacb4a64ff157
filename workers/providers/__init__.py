"""A folder for each kind of provider, all behind `workers.provider_interface`; local models have their own room."""
