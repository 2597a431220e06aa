"""What comes from outside: tensors that are checked, code that the user names, text that a terminal may not obey."""
