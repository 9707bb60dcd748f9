"""People check pose and occlusion in the browser; what they said is kept, compared and decided."""
