"""Region Attention Networks for pose- and occlusion-robust facial expression recognition."""
