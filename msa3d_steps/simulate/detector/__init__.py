"""What the detectors make of the light."""
