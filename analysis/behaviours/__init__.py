"""The four behaviours, each a module with one `assess(record) -> Assessment`, generic over what a scenario declares."""
