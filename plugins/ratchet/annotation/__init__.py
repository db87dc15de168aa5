"""What people say that feedback is about: which rows they should look at, what their labels amount to. Pure."""
