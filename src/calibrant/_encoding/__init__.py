"""What stored numbers stand for, inferred from the numbers themselves: scores of which unit, labels of which class."""
