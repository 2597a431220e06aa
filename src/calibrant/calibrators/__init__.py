"""Maps from logits to logits, fitted after training."""
