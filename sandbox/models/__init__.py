"""Who answers the loop: provider APIs, embedded GGUF weights, recorded choices."""
