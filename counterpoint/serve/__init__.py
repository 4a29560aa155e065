"""A trained workflow served as one chat model: the last message is the problem, the reply is the winning answer."""
