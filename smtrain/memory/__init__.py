"""How much memory each GPU will need: shapes of models, the estimate, and what a plan says of it."""
