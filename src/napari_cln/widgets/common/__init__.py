"""Parts that several docks use; they know no dock."""
