"""Black boxes as sources of predictions."""
