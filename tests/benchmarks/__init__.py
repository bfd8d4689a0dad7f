"""Hot paths, measured as ratios within one run: the machine may be shared and noisy, so absolutes are only printed."""
