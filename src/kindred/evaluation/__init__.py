"""How well a space answers: measures of ranked lists, and retrieval by words."""
