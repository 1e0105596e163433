"""smtrain's own trainer: supervised and preference tuning without padding and without logits."""
