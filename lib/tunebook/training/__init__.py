"""Training: the trainers of TRL, made fast where no GPU is, and what they leave behind."""
